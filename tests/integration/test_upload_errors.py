"""`timewarden upload` where the file is not read: an error has another exit code than a refused row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.command_line import run_command
from tests.local_http import Answering, http_server

if TYPE_CHECKING:
    from pathlib import Path

PROBLEM = {"title": "Try later", "detail": "The database does not answer"}
REFUSED = {"title": "A field is not valid", "detail": "line 1", "fields": [{"field": "line 1", "message": "is UTF-16"}]}


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (422, REFUSED, 1),
        (401, PROBLEM, 2),
        (429, PROBLEM, 2),
        (503, PROBLEM, 2),
        (200, [], 2),
        (200, {}, 2),
        (502, [], 2),
        (404, {"message": "no such page"}, 2),
    ],
)
def test_only_what_the_service_says_of_the_file_has_the_exit_code_of_a_refusal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, body: object, code: int
) -> None:
    class Api(Answering):
        def respond(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(json.dumps(body).encode(), status)

    (tmp_path / "hours.csv").write_text("owner,day,project,minutes,external_ref\n")
    with http_server(Api) as address:
        monkeypatch.setenv("TIMEWARDEN_API", address)
        monkeypatch.setenv("TIMEWARDEN_TOKEN", "x")
        for words in ((), ("--json",)):
            ended = run_command("upload", str(tmp_path / "hours.csv"), *words)
            assert ended.returncode == code
            if body in (REFUSED, PROBLEM):
                printed = ended.stdout if words or code == 1 else ended.stderr
                assert "is UTF-16" in printed or "does not answer" in printed
            else:
                assert f"timewarden: {status}: " in ended.stderr
                assert ended.stdout == ""


def test_an_address_that_is_none_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "hours.csv").write_text("x\n")
    monkeypatch.setenv("TIMEWARDEN_API", "http://[::1")
    monkeypatch.setenv("TIMEWARDEN_TOKEN", "x")
    ended = run_command("upload", str(tmp_path / "hours.csv"))
    assert (ended.returncode, "is not an API address" in ended.stderr) == (2, True)
