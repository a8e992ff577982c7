"""The page of the client is executed, example by example, and prints what it shows; and what it shows no example of."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from service.development.authorization_server import token_endpoint
from service.standalone.client import Conflict, Project, Stale
from tests.acceptance.caller import submit_week
from tests.acceptance.running_service import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.caller import Callers
    from tests.acceptance.running_service import RunningService

PAGE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# The app in each language, what it prints, and the examples of the rest of the page.
FIRST, REST = PAGE.split("\n## Submit a week\n")
APPS = dict(BLOCK.findall(FIRST))
SHOWN = APPS.pop("text")
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", REST, re.MULTILINE | re.DOTALL)


async def run_example(program: str, names: dict[str, Any]) -> str:
    """Run a program with top-level awaits and return its output. `names` keeps its variables."""
    program = program.replace("timewarden_client", "service.standalone.client")
    code = compile(program, "docs/client.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        waiting = eval(code, names)  # noqa: S307 — our own page
        if waiting is not None:
            await waiting
    return printed.getvalue()


def test_every_example_of_the_page_says_what_it_prints() -> None:
    assert len(EXAMPLES) == REST.count("```python") == 9
    assert APPS.keys() == {"sh", "python", "typescript"}


@pytest.mark.parametrize("language", ["sh", "python"])
async def test_the_app_prints_the_same_in_a_shell_and_in_python(
    callers: Callers, service: RunningService, tmp_path: Path, language: str
) -> None:
    program = APPS[language].replace("timewarden_client", "service.standalone.client")
    (tmp_path / "app").write_text(program, encoding="utf-8")
    token = (await callers("ana")).token or ""
    ended = await asyncio.to_thread(
        lambda: subprocess.run(
            ["sh" if language == "sh" else sys.executable, "app"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "API": service.addresses.api, "TOKEN": token},
            capture_output=True,
            text=True,
            check=False,
        )
    )
    # Tests beside this one may let more people approve.
    assert set(SHOWN.splitlines()) <= set(ended.stdout.splitlines()), ended.stdout + ended.stderr
    assert ended.stderr == ""


@pytest.mark.usefixtures("nothing_unexpected")
async def test_every_example_of_the_page_prints_what_it_shows(callers: Callers, service: RunningService) -> None:
    names: dict[str, Any] = {
        "API": service.addresses.api,
        "TOKEN_ENDPOINT": service.addresses.issuer.rstrip("/") + token_endpoint.PATH,
        **{name.upper(): (await callers(name)).token for name in ("ana", "mia", "audrey")},
    }
    for program, shown in EXAMPLES:
        assert await run_example(program, names) == shown, program


async def test_many_weeks_are_approved_by_the_client_at_once_or_one_by_one(callers: Callers) -> None:
    ana, mia = await callers("ana"), (await callers("mia")).api
    sheets = [await ana.api.timesheet((await submit_week(ana)).json()["id"]) for _ in range(3)]
    await mia.reject(sheets[2], "Friday is missing")

    with pytest.raises(Conflict, match=r"items\[2\]"):
        await mia.approve_all(sheets)
    assert (await ana.api.timesheet(sheets[0].id)).state == "submitted"
    done = await mia.approve_all(sheets, per_item=True)
    assert (done.changed, [item.status for item in done.items]) == (2, [200, 200, 412])
    assert done.items[2].problem is not None
    assert done.items[2].problem["type"].endswith(":precondition-failed")


async def test_a_project_is_changed_in_the_version_that_was_read(callers: Callers) -> None:
    adam = (await callers("adam")).api
    vesta = await adam.call(Project, "POST", "/v1/projects", body={"code": "VESTA", "name": "Vesta"})
    closed = await adam.replace_project(vesta, name="Vesta", active=False)
    assert (vesta.version, closed.version, closed.active) == (1, 2, False)
    with pytest.raises(Stale) as stale:
        await adam.replace_project(vesta, name="Vesta, second phase", active=True)
    assert stale.value.slug == "precondition-failed"
