"""A misspelt variable stops every command and process and names what was meant; those of others are left alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service import settings as configuration
from service.errors import Misconfigured
from service.settings import variables
from service.variables import COMMAND_VARIABLES, DEPLOYMENT_VARIABLES, refuse_unknown_variables
from tests.command_line import run_command

ROOT = Path(__file__).resolve().parents[2]
# As Kubernetes sets them for a Service of this name with two ports (its documentation, "Environment variables").
KUBERNETES = {
    "{0}_SERVICE_HOST": "10.0.0.11",
    "{0}_SERVICE_PORT": "8080",
    "{0}_SERVICE_PORT_HTTP": "8080",
    "{0}_SERVICE_PORT_HEALTH_CHECK": "8081",
    "{0}_PORT": "tcp://10.0.0.11:8080",
    "{0}_PORT_8080_TCP": "tcp://10.0.0.11:8080",
    "{0}_PORT_8080_TCP_PROTO": "tcp",
    "{0}_PORT_8080_TCP_PORT": "8080",
    "{0}_PORT_8080_TCP_ADDR": "10.0.0.11",
}


def of_service(name: str) -> dict[str, str]:
    return {variable.format(name): value for variable, value in KUBERNETES.items()}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("TIMEWARDEN_ISUER", "TIMEWARDEN_ISSUER"),
        ("TIMEWARDEN_ISSUER_FILE", "TIMEWARDEN_ISSUERS_FILE"),
        ("timewarden_client_rates", "TIMEWARDEN_CLIENT_RATE"),
        ("TIMEWARDENISSUER", "TIMEWARDEN_ISSUER"),
        ("TIMEWARDEN_TOKENS", "TIMEWARDEN_TOKEN"),
        ("TIMEWARDEN_DPOP_REQUIRE", "TIMEWARDEN_DPOP_REQUIRED"),
        ("TIMEWARDEN__PORT", "TIMEWARDEN_PORT"),
        ("TIMEWARDEN_SERVICE_PORT", None),
        ("TIMEWARDEN_PORT_8080_TCP", None),
        ("TIMEWARDEN_QUITE_ANOTHER_THING", None),
    ],
)
def test_a_variable_that_nothing_reads_is_an_error_that_names_what_was_meant(written: str, meant: str | None) -> None:
    with pytest.raises(Misconfigured, match=f"{written} is no setting") as refused:
        refuse_unknown_variables({"PATH": "/bin", written: "a secret"}, variables)
    assert "a secret" not in refused.value.public
    if meant is not None:
        assert f"did you mean {meant}?" in refused.value.public


def test_what_settings_commands_and_deployments_read_is_known() -> None:
    names = variables() | COMMAND_VARIABLES | DEPLOYMENT_VARIABLES
    refuse_unknown_variables(dict.fromkeys(names, ""), variables)
    refuse_unknown_variables({name.lower(): "" for name in names}, variables)


@pytest.mark.parametrize("service", ["TIMEWARDEN", "TIMEWARDEN_API", "TIMEWARDEN_LOG_KEEPER_2"])
def test_what_kubernetes_sets_for_a_service_is_left_alone(service: str) -> None:
    refuse_unknown_variables(of_service(service), variables)


def test_a_port_that_kubernetes_set_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in of_service("TIMEWARDEN").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match=r"TIMEWARDEN_PORT: .*enableServiceLinks: false"):
        configuration.load()
    monkeypatch.setenv("TIMEWARDEN_PORT", "8080")
    assert configuration.load().port == 8080


def test_settings_are_not_loaded_with_a_misspelt_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMEWARDEN_CURSOR_KEYS", "secret")
    with pytest.raises(Misconfigured, match="did you mean TIMEWARDEN_CURSOR_KEY"):
        configuration.load()


@pytest.mark.parametrize(
    "command",
    ["serve", "keep", "migrate", "health", "policy test", "audit verify x", "token explain", "upload x", "up", "demo"],
)
def test_every_command_refuses_a_misspelt_variable(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMEWARDEN_ISUER", "x")
    ended = run_command(*command.split())
    assert ended.returncode == 2
    assert ended.stderr.startswith(
        "timewarden: TIMEWARDEN_ISUER is no setting (did you mean TIMEWARDEN_ISSUER?); docs/"
    )


def test_every_variable_that_documents_and_deployments_name_is_known() -> None:
    examples = [path for path in ROOT.glob("docs/examples/**/*") if path.is_file()]
    files = [*ROOT.glob("docs/**/*.md"), *examples, ROOT / "README.md", ROOT / "Dockerfile"]
    files += [ROOT / "docker-compose.yml", ROOT / ".env.example"]
    named = {name for file in files for name in re.findall(r"\bTIMEWARDEN_[A-Z0-9_]*[A-Z0-9]\b", file.read_text())}
    assert named >= {"TIMEWARDEN_ISSUER", "TIMEWARDEN_OWNER_PASSWORD"}
    of_kubernetes = {variable.format("TIMEWARDEN") for variable in KUBERNETES}
    assert named <= variables() | COMMAND_VARIABLES | DEPLOYMENT_VARIABLES | of_kubernetes
