"""Standalone modules import nothing of the service, and the client only its two libraries."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "service" / "standalone"
LIBRARIES = {"httpx2", "msgspec"}


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
def test_standalone_modules_import_nothing_of_the_service(path: Path) -> None:
    neighbours = {f".{module.stem}" for module in FOLDER.glob(f"{path.stem.partition('_')[0]}*.py")}
    foreign = list_imports(path) - set(sys.stdlib_module_names) - neighbours
    assert not foreign & {"service", "events", "tests"}
    assert not {module for module in foreign if module.startswith(".")}
    if path.stem.startswith("client"):
        assert foreign <= LIBRARIES


def test_the_client_imports_its_neighbours() -> None:
    assert {".client_transport", ".client_tokens", ".client_shapes"} <= list_imports(FOLDER / "client.py")
