"""A proxy that the environment names is not asked for this machine: it could not reach it, and would see tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from service.development.panel import print_panel
from service.standalone.client import Timewarden, client_credentials
from service.standalone.verify.fetching import Fetcher
from service.standalone.verify.findings import Report
from tests.command_line import run_command
from tests.local_http import Answering, http_server

if TYPE_CHECKING:
    from pathlib import Path


class Service(Answering):
    def respond(self) -> None:
        body = {"access_token": "a", "token_type": "Bearer"} if self.path == "/token" else {"path": self.path}
        self.answer(json.dumps(body).encode(), Content_Type="application/json")


@pytest.fixture(autouse=True)
def proxy_that_nobody_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


async def test_the_client_and_its_tokens_reach_this_machine_without_the_proxy() -> None:
    with http_server(Service) as url:
        async with Timewarden(url, client_credentials(f"{url}/token", "job", "secret"), attempts=1) as api:
            assert (await api.send("GET", "/v1/me")).json() == {"path": "/v1/me"}


def test_the_verifier_reaches_this_machine_without_the_proxy() -> None:
    with http_server(Service) as url:
        fetcher = Fetcher(url, Report(quiet=True))
        assert json.loads(fetcher.get("checkpoint").data) == {"path": "/checkpoint"}
        fetcher.close()


@pytest.mark.parametrize(
    "words", [["policy", "list"], ["upload", "hours.csv"], ["audit", "export", "--output", "out.jsonl"]], ids=" ".join
)
def test_commands_ask_a_service_elsewhere_through_the_proxy_by_tls_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str]
) -> None:
    asked: list[str] = []

    class Proxy(Answering):
        def do_CONNECT(self) -> None:  # noqa: N802 — as http.server names it
            asked.append(self.path)
            assert "Authorization" not in self.headers
            self.answer(b"", 502)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "hours.csv").write_text("owner,day\n")
    monkeypatch.setenv("TIMEWARDEN_TOKEN", "secret")
    with http_server(Proxy) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        for api in ("https://api.example", "http://127.0.0.1:1"):
            monkeypatch.setenv("TIMEWARDEN_API", api)
            assert run_command(*words).returncode == 2
    assert asked == ["api.example:443"]


@pytest.mark.parametrize("excepted", ["", "127.0.0.1"])
def test_the_panel_takes_its_commands_past_the_proxy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, excepted: str
) -> None:
    monkeypatch.setenv("no_proxy", excepted)
    print_panel("http://api", "", "http://sign-in", tmp_path, 1, differs=False)
    assert ("export no_proxy=127.0.0.1," in capsys.readouterr().out) == (not excepted)
