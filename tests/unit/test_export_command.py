"""`timewarden audit export` and `audit search` against a server that refuses, breaks off or returns damaged records."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from click.testing import CliRunner

from service.commands.audit_export import _span, export
from service.commands.audit_retention import retain
from service.commands.audit_search import _cells, _show, _step, search
from service.commands.audit_show import _lines_of_record, show
from service.commands.groups import UNREAD
from service.commands.tables import print_rows, when
from service.log.key_files import make_key
from tests.command_line import run_command
from tests.local_http import Answering, http_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

LINE = b'{"position":0,"leaf":"","record":{}}\n'
HEADER = b'{"format":"timewarden-bundle/1","from":5,"to":8}\n'
BUNDLE_LINE = b'{"position":5,"sealed":"","uid":null,"leaf":null,"body":null,"columns":null,"texts":null}\n'
CSV = b"\xef\xbb\xbfposition,uid,kind,leaf\r\n5,,decision,\r\n"
EVENT = b'{"activity_id":2,"metadata":{"sequence":5}}\n'
# An incomplete last line of each kind, which resuming would cut off.
FILES = {
    "bundle": HEADER + BUNDLE_LINE + b'{"pos',
    "csv": CSV + b"6,",
    "jsonl": LINE + b'{"pos',
    "ocsf": EVENT + b'{"act',
}


UID = "0198c0de-4f2a-7000-8000-00000000002a"
FOUND = {"id": UID, "kind": "decision", "at": "", "position": 7, "leaf": "", "names": {}}


def answer_with(*records: bytes) -> bytes:
    """A page of records with these bytes."""
    found = json.dumps(FOUND).encode()[:-1]
    return b'{"items":[%b],"next_cursor":null}' % b",".join(b'%b,"record":%b}' % (found, record) for record in records)


class Server(Answering):
    """Refuses exports from position 9 on; closes the connection in the middle of others. Answers a search and the
    record UID with `PAGE` and its first record, and a request for a consistency proof."""

    PAGE: ClassVar[bytes] = answer_with(b'{"action":"approve","note":%b}' % (b"9" * 5_000), b'{"action":"reject"}')

    asked: ClassVar[list[str]] = []

    def respond(self) -> None:
        self.asked.append(self.path)
        if "to=3000" in self.path:
            self.send_response(200)
            self.send_header("Audit-Positions", "0-3000")
            self.end_headers()
            self.wfile.write(LINE * 3000)
            return
        if "from=9" in self.path:
            self.send_response(422)
            self.end_headers()
            self.wfile.write(b'{"detail": "query.from: must be at most 5"}')
            return
        if "=foo&" in self.path:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer_with())
            return
        if "/v1/audit/records" in self.path:
            begin, end = (len(b'{"items":['), self.PAGE.index(b',{"id"')) if UID in self.path else (0, None)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.PAGE[begin:end])
            return
        if "/v1/audit/consistency" in self.path:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"from":1,"to":2}')
            return
        self.send_response(200)
        self.send_header("Audit-Positions", "0-2")
        self.send_header("Content-Length", str(2 * len(LINE)))
        self.end_headers()
        self.wfile.write(LINE)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with http_server(Server) as url:
        yield url


def run_export(address: str, output: Path, *more: str) -> Result:
    environment = {"TIMEWARDEN_API": address, "TIMEWARDEN_TOKEN": "t"}
    return CliRunner().invoke(export, ["--output", str(output), *more], env=environment)


def test_a_refused_export_leaves_no_file(address: str, tmp_path: Path) -> None:
    result = run_export(address, tmp_path / "out", "--from", "9")
    assert result.exit_code == 1
    assert "must be at most 5" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["localhost:8080", "http://[::1"])
def test_an_address_that_is_none_is_explained(address: str, tmp_path: Path) -> None:
    result = run_export(address, tmp_path / "out")
    assert f"{address} is not an API address: TIMEWARDEN_API must be a URL" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_refused_resumption_keeps_the_file(address: str, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(LINE.replace(b":0", b":8"))
    assert run_export(address, tmp_path / "out", "--resume").exit_code == 1
    assert (tmp_path / "out").read_bytes() == LINE.replace(b":0", b":8")


@pytest.mark.parametrize("command", ["export", "consistency --from 1", "verifier"])
def test_a_folder_that_does_not_exist_is_one_line_and_no_traceback(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("TIMEWARDEN_API", address)
    monkeypatch.setenv("TIMEWARDEN_TOKEN", "t")
    output = tmp_path / "missing" / "out"
    ended = run_command("audit", *command.split(), "--output", str(output))
    assert (ended.returncode, ended.stderr) == (2, f"timewarden: {output}: No such file or directory\n")


def test_an_interrupted_export_can_be_resumed_if_the_format_allows(address: str, tmp_path: Path) -> None:
    assert "continue it with --resume" in run_export(address, tmp_path / "out").output
    assert (tmp_path / "out").read_bytes() == LINE
    assert "start again" in run_export(address, tmp_path / "table", "--format", "parquet").output
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("limit", [0, 50_000])
def test_an_export_that_fills_the_disk_names_the_file_and_the_next_step(
    address: str, tmp_path: Path, form: str, limit: int
) -> None:
    output = tmp_path / "out"
    words = ("audit", "export", "--to", "3000", "--format", form, "--output", str(output))
    ended = subprocess.run(
        [sys.executable, "-m", "service", *words],
        env={**os.environ, "TIMEWARDEN_API": address, "TIMEWARDEN_TOKEN": "t"},
        # As on a full disk, a write takes what fits, and the next one fails.
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    can_go_on = form == "jsonl" and limit > 0
    then = "continue it with --resume" if can_go_on else "start again"
    sentence = f"timewarden: {output} cannot be written: File too large; {then}\n"
    assert (ended.returncode, ended.stderr) == (2, sentence)
    assert output.exists() is can_go_on
    if can_go_on:
        assert output.stat().st_size == limit
        assert run_export(address, output, "--to", "3000", "--resume").exit_code == 0
        content = output.read_bytes()
        assert content[: limit // len(LINE) * len(LINE)] == LINE * (limit // len(LINE))
        assert set(content.splitlines(keepends=True)) == {LINE}


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("words", ["--version", "--help", "token --help", "audit key show key"])
def test_standard_output_on_a_full_disk_is_one_line_and_no_traceback(
    tmp_path: Path, words: str, *, buffered: bool
) -> None:
    make_key(tmp_path / "key", "a.example/log")
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    command = [sys.executable, "-m", "service", *words.split()]
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            command, cwd=tmp_path, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    sentence = "timewarden: standard output cannot be written: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (2, sentence)


def test_an_error_keeps_its_own_sentence_if_standard_output_cannot_be_written(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service", "audit", "key", "show", str(tmp_path / "none")]
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"timewarden: There is no key file {tmp_path / 'none'}: restore the log's key")
    assert ended.stderr.count("\n") == 1


POLICY_TEST = f"policy test --directory {Path(__file__).resolve().parents[2] / 'policies'}"


# Help texts, tables and JSON are written by different libraries.
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    "words",
    ["", "--version", "--help", "policy", "policy --help", POLICY_TEST, "doctor", "audit key show key"],
)
def test_a_command_whose_output_nobody_reads_says_nothing_and_has_one_exit_code(
    tmp_path: Path, words: str, *, buffered: bool
) -> None:
    make_key(tmp_path / "key", "a.example/log")
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "service", *words.split()],
        cwd=tmp_path,
        env=environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (UNREAD, "")


def test_an_interrupted_bundle_of_a_period_resumes_by_position(address: str, tmp_path: Path) -> None:
    period = ("--bundle", "--since", "2026-03-01T00:00:00Z")
    run_export(address, tmp_path / "out", *period)
    assert "/v1/audit/bundle?since=2026-03-01" in Server.asked[-1]
    (tmp_path / "out").write_bytes(HEADER + BUNDLE_LINE)
    run_export(address, tmp_path / "out", *period, "--resume")
    assert Server.asked[-1] == "/v1/audit/bundle?from=6&to=8"


@pytest.mark.parametrize(
    ("kind", "content"),
    [(kind, content) for kind in FILES for other, content in FILES.items() if kind != other]
    + [(kind, b"notes of my own") for kind in FILES]
    + [
        ("bundle", HEADER + LINE),
        ("jsonl", LINE + BUNDLE_LINE),
        ("bundle", b'{"format":"timewarden-bundle/1","to":8}\n'),
    ],
)
def test_a_file_of_another_kind_is_not_resumed_and_not_changed(
    address: str, tmp_path: Path, kind: str, content: bytes
) -> None:
    (tmp_path / "out").write_bytes(content)
    asked, form = len(Server.asked), ("--bundle",) if kind == "bundle" else ("--format", kind)
    result = run_export(address, tmp_path / "out", *form, "--resume")
    assert (result.exit_code, len(Server.asked)) == (1, asked)
    # Any other exception would be a traceback.
    assert isinstance(result.exception, SystemExit)
    assert (tmp_path / "out").read_bytes() == content


@pytest.mark.parametrize(("kind", "following"), [("bundle", 6), ("csv", 6), ("jsonl", 1), ("ocsf", 6)])
def test_an_incomplete_line_is_cut_off_and_the_rest_fetched(
    address: str, tmp_path: Path, kind: str, following: int
) -> None:
    (tmp_path / "out").write_bytes(FILES[kind])
    run_export(address, tmp_path / "out", *(("--bundle",) if kind == "bundle" else ("--format", kind)), "--resume")
    assert f"from={following}" in Server.asked[-1]
    assert (tmp_path / "out").read_bytes().startswith(FILES[kind][: FILES[kind].rfind(b"\n") + 1])


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_goes_to_the_given_position_is_complete(address: str, tmp_path: Path, kind: str) -> None:
    content = FILES[kind].replace(b'"to":8', b'"to":6').replace(b'"position":0', b'"position":5')
    (tmp_path / "out").write_bytes(content)
    form = ("--bundle",) if kind == "bundle" else ("--format", kind)
    result = run_export(address, tmp_path / "out", *form, "--to", "6", "--resume")
    assert (result.exit_code, result.output) == (0, f"{tmp_path / 'out'} is complete.\n")


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


def test_a_number_of_thousands_of_digits_does_not_hide_the_other_records_of_a_page(address: str) -> None:
    environment = {"TIMEWARDEN_API": address, "TIMEWARDEN_TOKEN": "t"}
    result = CliRunner().invoke(search, ["--all"], env=environment)
    assert (result.exit_code, "approve" in result.output, "reject" in result.output) == (0, True, True)
    result = CliRunner().invoke(show, [UID], env=environment)
    assert (result.exit_code, "note  (damaged: a number of 5,000 digits)" in result.output) == (0, True)


def test_ids_of_long_rows_are_whole_through_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    sheet, uid = "0198c0de-0000-7000-8000-000000000001", "0198c0de-4f2a-7000-8000-00000000002a"
    record = {
        "decided_at": "2026-03-01T00:00:00.000000Z",
        "action": "approve",
        "outcome": "allow",
        "principal": {"person": "p1", "client": "timewarden-console-of-the-head-office"},
        "rules": ["approve-team-after-second-factor"] * 4,
        "resource": {"kind": "timesheet", "id": sheet, "owner": "p2"},
    }
    names = {"p1": "Mia Rossi-Bianchi of the head office", "p2": "Ana Lima " * 8}
    _show(iter([{"id": uid, "kind": "decision", "at": "", "names": names, "record": record}]), as_json=False)
    printed = capsys.readouterr().out
    assert (sheet in printed, uid in printed) == (True, True)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_cell_of_several_lines_cannot_control_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, terminal: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR" if terminal else "TERM", "1" if terminal else "dumb")
    print_rows(["id", "reason"], [["1", "first\n\x1b[2Jsecond [red]third"]], ids={})
    printed = capsys.readouterr().out
    assert "\x1b[2J" not in printed
    assert "second [red]third" in printed


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize("option", ["--resource", "--request-id", "--action"])
def test_an_empty_answer_says_that_an_id_may_be_mistyped(address: str, option: str, form: list[str]) -> None:
    environment = {"TIMEWARDEN_API": address, "TIMEWARDEN_TOKEN": "t"}
    result = CliRunner().invoke(search, [option, "foo", *form], env=environment)
    # An unknown action is refused, so an empty answer says enough.
    assert ("may mean a mistyped id" in result.stderr) == (option != "--action")
    assert "mistyped" not in result.stdout


@pytest.mark.parametrize("name", ["principal", "resource", "change", "from", "entries", "actors", "rules", "applied"])
@pytest.mark.parametrize("odd", ["x", 5, True, ["x", 5, None], {"person": 5, "owner": ["x"], "entries": [5]}])
def test_a_member_of_the_wrong_type_is_shown_as_damaged(name: str, odd: object) -> None:
    record: dict[str, Any] = {"action": odd, "outcome": odd, "reason": odd, "decided_at": odd}
    if name in {"from", "entries"}:
        record["change"] = {"from": odd} if name == "from" else {"to": {"entries": odd}}
    else:
        record |= {"principal": {"actors": odd}} if name == "actors" else {name: odd}
    found = {**FOUND, "record": record}
    assert all(isinstance(cell, str) for cell in _cells(found))
    lines = list(_lines_of_record(found))
    assert all(isinstance(text, str) for line in lines for text in line)
    if name in {"principal", "resource", "change"} and not isinstance(odd, dict):
        assert [text for title, text in lines if title == name and text.startswith("(damaged) ")]


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
