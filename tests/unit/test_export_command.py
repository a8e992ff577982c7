"""`timewarden audit export` and `audit search` against a server that refuses, breaks off or returns damaged records."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, ClassVar

import pytest
from click.testing import CliRunner

from service.commands.audit_export import _span, export
from service.commands.audit_retention import retain
from service.commands.audit_search import _show, _step
from service.commands.tables import when

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

LINE = b'{"position":0,"leaf":"","record":{}}\n'


class Server(BaseHTTPRequestHandler):
    """Refuses exports from position 9 on; closes the connection in the middle of others."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if "from=9" in self.path:
            self.send_response(422)
            self.end_headers()
            self.wfile.write(b'{"detail": "query.from: must be at most 5"}')
            return
        self.send_response(200)
        self.send_header("Audit-Positions", "0-2")
        self.send_header("Content-Length", str(2 * len(LINE)))
        self.end_headers()
        self.wfile.write(LINE)

    def log_message(self, *_: object) -> None:
        """Nobody reads along."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def run_export(address: str, output: Path, *more: str) -> Result:
    environment = {"TIMEWARDEN_API": address, "TIMEWARDEN_TOKEN": "t"}
    return CliRunner().invoke(export, ["--output", str(output), *more], env=environment)


def test_a_refused_export_leaves_no_file(address: str, tmp_path: Path) -> None:
    result = run_export(address, tmp_path / "out", "--from", "9")
    assert result.exit_code == 1
    assert "must be at most 5" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_refused_resumption_keeps_the_file(address: str, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(LINE.replace(b":0", b":8"))
    assert run_export(address, tmp_path / "out", "--resume").exit_code == 1
    assert (tmp_path / "out").read_bytes() == LINE.replace(b":0", b":8")


def test_an_interrupted_export_can_be_resumed_if_the_format_allows(address: str, tmp_path: Path) -> None:
    assert "continue it with --resume" in run_export(address, tmp_path / "out").output
    assert (tmp_path / "out").read_bytes() == LINE
    assert "start again" in run_export(address, tmp_path / "table", "--format", "parquet").output
    assert not (tmp_path / "table").exists()


def test_an_interrupted_bundle_of_a_period_resumes_by_position(address: str, tmp_path: Path) -> None:
    period = ("--bundle", "--since", "2026-03-01T00:00:00Z")
    run_export(address, tmp_path / "out", *period)
    assert "/v1/audit/bundle?since=2026-03-01" in Server.asked[-1]
    (tmp_path / "out").write_bytes(b'{"from":5,"to":8}\n' + LINE.replace(b":0", b":5"))
    run_export(address, tmp_path / "out", *period, "--resume")
    assert Server.asked[-1] == "/v1/audit/bundle?from=6&to=8"


def test_positions_are_shown_as_the_verifier_shows_them() -> None:
    assert [_span(item) for item in ("0-168", "7-8", "9-9")] == [
        "positions 0 to 167",
        "positions 7 to 7",
        "no positions",
    ]


@pytest.mark.parametrize("age", ["9999y", "101y", "0d", "1", "-3mo"])
def test_an_impossible_age_is_refused_before_any_request(age: str) -> None:
    result = CliRunner().invoke(retain, ["--older-than", age, "--dry-run"])
    assert result.exit_code == 2
    assert "for example" in result.output


def test_changes_within_a_state_show_their_version() -> None:
    before, after = {"state": "draft", "version": 2}, {"state": "draft", "version": 3}
    assert _step({"from": before, "to": after}) == "draft, version 3"
    assert _step({"from": before, "to": {"state": "submitted"}}) == "draft → submitted"
    assert _step({"from": {}, "to": after}) == "- → draft"
    assert _step({}) == ""


def test_an_invalid_time_is_shown_as_stored() -> None:
    assert when("2026-03-01T00:00:00.000000Z") == "2026-03-01 00:00:00Z"
    assert (when("infinity"), when(None)) == ("infinity", "")


@pytest.mark.parametrize(("terminal", "lines"), [(True, 7), (False, 5)])
def test_ids_are_not_cut_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, terminal: bool, lines: int
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR" if terminal else "TERM", "1" if terminal else "dumb")
    uids = ["0198c0de-4f2a-7000-8000-00000000002a", "0198c0de-0000-7000-8000-000000000001"]
    record = {
        "decided_at": "2026-03-01T00:00:00.000000Z",
        "action": "approve",
        "outcome": "allow",
        "rules": ["[red]approve-team"],
        "resource": {"kind": "timesheet", "id": uids[1]},
    }
    _show(iter([{"id": uids[0], "kind": "decision", "at": "", "names": {}, "record": record}]), as_json=False)
    result = capsys.readouterr().out
    assert all(uid in result for uid in uids)
    assert "[red]approve-team" in result
    assert len(result.strip("\n").splitlines()) == lines
