"""The client imports nothing of the service, and only its two libraries; the key of bound tokens one more."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from service import VERSION
from service.development.client_packages import make_sync
from service.standalone import client, verify
from service.timesheets.timesheet import State

FOLDER = Path(client.__file__).parent


def list_imports(path: Path) -> set[str]:
    """All imports of a module, neighbours as `.name`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found.add("." * node.level + module if node.level else module.partition(".")[0])
    return found


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_the_client_imports_its_neighbours_and_its_libraries(path: Path) -> None:
    libraries = {"httpx2", "msgspec", *(["cryptography"] if path.stem == "dpop" else [])}
    neighbours = {f".{module.stem}" for module in FOLDER.glob("*.py")}
    assert list_imports(path) - set(sys.stdlib_module_names) - neighbours <= libraries


def test_packages_have_the_version_of_the_service() -> None:
    assert client.VERSION == verify.VERSION == VERSION


def test_the_states_that_a_type_checker_knows_are_those_of_the_service() -> None:
    (words,) = re.findall(r"State: TypeAlias = Literal\[(.*)\]", (FOLDER / "shapes.py").read_text(encoding="utf-8"))
    assert ast.literal_eval(f"[{words}]") == [state.value for state in State]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_nothing_async_is_left_in_the_sync_client(path: Path) -> None:
    """`make clients` checks it by mypy; this notices at once that a new word needs a replacement."""
    left = []
    for node in ast.walk(ast.parse(make_sync(path.read_text(encoding="utf-8")))):
        name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None)
        if isinstance(name, str) and re.search(r"[aA]sync|^(aclose|aread|aiter_)", name):
            left.append(name)
        elif isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith):
            left.append(ast.unparse(node))
    assert left == []
