"""The containers stay in step with settings, roles and the command line, and hold nothing of development.

No engine is needed: what the image would hold is put into a directory and run from there.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from service.__main__ import timewarden
from service.settings import Settings, variable
from tests.image_content import ROOT, copies, copy_image, instructions, is_ignored, last_stage

if TYPE_CHECKING:
    from pathlib import Path

COMPOSE = ROOT / "docker-compose.yml"
SETTINGS = {variable(name): field for name, field in Settings.model_fields.items()}
ROLES_SQL = (ROOT / "service/migrations/roles.sql").read_text(encoding="utf-8")
OF_ROLES = set(re.findall(r"^\\getenv \w+ (\w+)$", ROLES_SQL, re.MULTILINE))
OF_OTHER_IMAGES = {"POSTGRES_PASSWORD", "PGPASSWORD", "REDISCLI_AUTH"}
ROLE_OF = {
    "migrate": "timewarden_owner",
    "bootstrap": "timewarden_owner",
    "api": "timewarden_app",
    "keeper": "timewarden_keeper",
}
WAITS_FOR = {
    "roles": {"postgres": "service_healthy"},
    "migrate": {"roles": "service_completed_successfully"},
    "bootstrap": {"migrate": "service_completed_successfully"},
    "api": {"bootstrap": "service_completed_successfully"},
    "keeper": {
        "bootstrap": "service_completed_successfully",
        "key": "service_completed_successfully",
        "redis": "service_healthy",
    },
    "console": {"redis": "service_healthy"},
}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    return found


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("image")
    copy_image(target)
    return target


def run_in(image: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code as the image would: its own files and the libraries; the checkout, installed for editing, is hidden."""
    hidden = "sys.meta_path[:] = [finder for finder in sys.meta_path if '__editable__' not in repr(finder)]; "
    first = f"import sys; sys.path.insert(0, {str(image)!r}); {hidden}"
    return subprocess.run(
        [sys.executable, "-I", "-B", "-c", first + code], cwd=image, env={}, capture_output=True, text=True, check=False
    )


def command_of(words: list[str]) -> click.Command:
    """The command that these words name, its options checked."""
    assert words[0] == "timewarden"
    found: click.Command = timewarden
    for word in words[1:]:
        if word.startswith("-"):
            assert any(word in param.opts for param in found.params), word
        elif word.startswith("/"):
            assert any(param.param_type_name == "argument" for param in found.params), word
        else:
            assert isinstance(found, click.Group), word
            below = found.get_command(click.Context(found), word)
            assert below is not None, word
            found = below
    assert not isinstance(found, click.Group), words
    return found


def test_every_container_is_there_and_waits_for_what_it_needs(services: dict[str, Any]) -> None:
    assert set(services) == {"postgres", "redis", "key", *WAITS_FOR}
    assert "depends_on" not in services["key"], "it needs nothing but its volume"
    for name, waits in WAITS_FOR.items():
        assert {service: of["condition"] for service, of in services[name]["depends_on"].items()} == waits
    for name in ("postgres", "redis", "api", "keeper", "console"):
        assert services[name]["restart"] == "unless-stopped"
    for name in ("postgres", "redis", "keeper", "console"):
        assert services[name]["healthcheck"]["test"]
    assert "healthcheck" not in services["api"], "the image's own check is the API's"
    for name in ("roles", "migrate", "bootstrap", "key"):
        assert services[name]["restart"] == "no"


def test_every_variable_of_a_container_is_one_that_something_reads(services: dict[str, Any]) -> None:
    for name, service in services.items():
        known = set(SETTINGS) if name in {"key", "console", *ROLE_OF} else OF_ROLES | OF_OTHER_IMAGES
        assert set(service["environment"]) <= known, name
    assert set(services["roles"]["environment"]) >= OF_ROLES
    for instruction in last_stage():
        if instruction.word == "ENV":
            names = {word.partition("=")[0] for word in instruction.words()}
            assert {name for name in names if name.startswith("TIMEWARDEN_")} <= set(SETTINGS)


def test_every_process_has_the_role_that_fits_it_and_no_other_password(services: dict[str, Any]) -> None:
    for name, role in ROLE_OF.items():
        url = services[name]["environment"]["TIMEWARDEN_DATABASE_URL"]
        password = f"${{TIMEWARDEN_{role.removeprefix('timewarden_').upper()}_PASSWORD}}"
        assert url == f"postgresql://{role}:{password}@postgres:5432/timewarden"
        assert role in ROLES_SQL
        others = [value for key, value in services[name]["environment"].items() if key != "TIMEWARDEN_DATABASE_URL"]
        assert not any("_PASSWORD}" in value for value in others if "REDIS" not in value)
    assert services["roles"]["environment"]["TIMEWARDEN_DATABASE"] == "timewarden"


def test_nothing_secret_has_a_default_and_every_other_default_is_that_of_the_settings() -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    required = set(re.findall(r"\$\{(\w+):\?[^}]{20,}\}", text))
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    used = set(re.findall(r"\$\{(\w+)", text))
    assert used == required | set(defaults)
    assert {"TIMEWARDEN_ISSUER", "TIMEWARDEN_AUDIENCE", "TIMEWARDEN_CURSOR_KEY"} <= required
    assert {name for name in used if name.endswith(("_PASSWORD", "_KEY"))} <= required
    for name, value in defaults.items():
        assert value == str(SETTINGS[name].default), name
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    offered = set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    assert required <= offered <= used


def test_api_and_keeper_are_given_all_that_they_refuse_to_start_without(services: dict[str, Any]) -> None:
    assert {"TIMEWARDEN_DATABASE_URL", "TIMEWARDEN_ISSUER", "TIMEWARDEN_AUDIENCE", "TIMEWARDEN_CURSOR_KEY"} <= set(
        services["api"]["environment"]
    )
    assert {"TIMEWARDEN_REDIS_URL", "TIMEWARDEN_PUBLIC_URL"} <= set(services["api"]["environment"]), "for DPoP"
    assert {"TIMEWARDEN_DATABASE_URL", "TIMEWARDEN_REDIS_URL"} <= set(services["keeper"]["environment"])
    assert {"TIMEWARDEN_LOG_ORIGIN", "TIMEWARDEN_LOG_KEY_FILE", "TIMEWARDEN_LOG_ANCHOR_FILE"} <= set(
        services["keeper"]["environment"]
    )


def test_the_key_and_the_anchor_lie_in_one_volume_that_postgres_does_not_have(services: dict[str, Any]) -> None:
    (volume,) = services["keeper"]["volumes"]
    name, _, folder = volume.partition(":")
    assert services["key"]["volumes"] == [volume]
    assert [named for named, service in services.items() if f"{name}:" in str(service.get("volumes"))] == [
        "key",
        "keeper",
    ]
    places = [services["keeper"]["environment"][f"TIMEWARDEN_LOG_{kind}_FILE"] for kind in ("KEY", "ANCHOR")]
    assert all(place.startswith(f"{folder}/") for place in places)
    assert command_of(services["key"]["command"]).name == "new"
    assert services["key"]["command"][-1] == places[0]


def test_every_command_of_a_container_is_one_of_the_command_line(services: dict[str, Any]) -> None:
    for name in ROLE_OF:
        command_of(services[name]["command"])
    kind, *words = services["keeper"]["healthcheck"]["test"]
    assert kind == "CMD"
    assert command_of(words).name == "health"
    (default,) = [instruction for instruction in last_stage() if instruction.word == "CMD"]
    assert command_of(default.words()).name == "serve"


def test_every_image_is_pinned_and_only_api_and_console_are_reached_from_here(services: dict[str, Any]) -> None:
    images = [service["image"] for service in services.values()]
    # A build without a registry gives another base than the default (.ci/image).
    [base] = [given.rest for given in instructions() if given.word == "ARG" and given.rest.startswith("BASE=")]
    stages = [instruction.rest.split()[0] for instruction in instructions() if instruction.word == "FROM"]
    assert set(stages) == {"${BASE}"}
    images.append(base.removeprefix("BASE="))
    assert all(re.fullmatch(r"[a-z-]+:\d+(\.\d+)*(-[a-z]+)*(@sha256:[0-9a-f]{64})?", image) for image in images), images
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert {services[name]["image"] for name in ROLE_OF} == {f"timewarden:{version}"}
    assert services["postgres"]["image"].startswith("postgres:18")
    assert services["redis"]["image"].startswith("redis:8")
    assert [name for name, service in services.items() if "ports" in service] == ["api", "console"]
    assert services["console"]["image"] == f"timewarden-console:{version}"
    assert all(port.startswith("127.0.0.1:") for name in ("api", "console") for port in services[name]["ports"])


def test_our_containers_are_not_root_and_cannot_write(services: dict[str, Any]) -> None:
    (user,) = [instruction.rest for instruction in last_stage() if instruction.word == "USER"]
    assert int(user.split(":")[0]) >= 1000
    for name in ROLE_OF:
        assert services[name]["read_only"]
        assert services[name]["cap_drop"] == ["ALL"]


def test_mounted_and_copied_files_exist_and_reach_the_builder(services: dict[str, Any]) -> None:
    for service in services.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert not source.startswith("./") or (ROOT / source).is_file()
    wanted = [source for source, _ in copies()]
    wanted += [
        instruction.words()[0]
        for instruction in instructions()
        if instruction.word == "COPY" and instruction.stage == 0
    ]
    assert {"service/", "events/", "policies/", "requirements.lock"} <= set(wanted)
    for source in wanted:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source.rstrip("/")), source


def test_the_image_has_both_programs_and_each_starts(image: Path) -> None:
    (made,) = [instruction.rest for instruction in instructions() if "printf" in instruction.rest]
    programs = dict(re.findall(r"python -m (service[a-z.]*) .*?> /opt/timewarden/bin/([a-z-]+)", made))
    assert programs == {"service": "timewarden", "service.standalone.verify": "timewarden-verify"}
    for module in programs:
        started = run_in(
            image, f"import runpy; sys.argv = ['program', '--help']; runpy.run_module({module!r}, run_name='__main__')"
        )
        assert started.returncode == 0, started.stderr
        assert "Usage" in started.stdout or "usage" in started.stdout


def test_the_image_installs_the_runtime_lock_with_hashes_and_nothing_of_development() -> None:
    installs = [
        instruction.rest
        for instruction in instructions()
        if instruction.word == "RUN" and "install" in instruction.rest and "pip" in instruction.rest
    ]
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert '--requirement "$LOCK"' in installs[0]
    assert any(instruction.rest == "LOCK=requirements.lock" for instruction in instructions())
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for needs in extras.values():
        assert not locked & {re.split(r"[<>=\[;]", need)[0].strip() for need in needs}


def test_no_file_of_the_image_is_of_development_or_needs_it(image: Path) -> None:
    assert (image / "service/app.py").is_file()
    assert (image / "service/migrations/roles.sql").is_file()
    assert not (image / "service/development").exists()
    assert not (image / "tests").exists()
    for file in image.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith("service.development") for name in names), file


def test_the_command_line_works_in_the_image_without_the_development_commands(image: Path) -> None:
    done = run_in(image, "sys.argv = ['timewarden', '--help']; from service.__main__ import main; main()")
    assert done.returncode == 0, done.stderr
    for name in ("serve", "keep", "migrate", "health", "policy", "token"):
        assert re.search(rf"\b{name}\b", done.stdout)
    for name in ("up", "demo"):
        assert not re.search(rf"^\W*{name}\b", done.stdout, re.MULTILINE)


def test_the_image_can_build_the_app_its_documentation_and_its_policy(image: Path) -> None:
    code = """
import service, service.app
from pathlib import Path
from service.policy.policy_file import PolicyText
from service.settings import Settings
from service.web.openapi.document import build_document
assert Path(service.__file__).is_relative_to(Path.cwd()), service.__file__
settings = Settings(issuer='https://issuer.example', audience='https://api.example', cursor_key='0' * 32)
app = service.app.build(settings).frame.app
print(len(build_document(app)['paths']), len(PolicyText.read(Path('policies')).rules))
"""
    done = run_in(image, f"exec({code!r})")
    assert done.returncode == 0, done.stderr
    paths, rules = map(int, done.stdout.split())
    assert paths > 10
    assert rules > 100
