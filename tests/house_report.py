"""The import graph by room and the sizes of files, read from the code: `python -m tests.house_report`."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path
from statistics import median, quantiles
from textwrap import fill

ROOT = Path(__file__).resolve().parents[1]
# Modules that lie in service/ itself: the composition root, and small modules that every room may import.
OUTSIDE = "(no room)"
MAX_LINES_OF_A_FLOOR = 5


def room_of(module: str) -> str:
    """The deepest folder of at most two that a module lies in, as a path below service/."""
    first, *parts = module.split(".")
    if first == "events":
        return "events"
    folders = ["/".join(parts[:depth]) for depth in (2, 1) if parts]
    return next((name for name in folders if (ROOT / "service" / name / "__init__.py").is_file()), OUTSIDE)


def sources() -> dict[Path, str]:
    paths = [*ROOT.glob("service/**/*.py"), *ROOT.glob("events/**/*.py")]
    return {path: room_of(".".join(path.relative_to(ROOT).with_suffix("").parts)) for path in paths}


def imports_by_room() -> dict[str, set[str]]:
    """The rooms, each with the other rooms that its files import from."""
    imports: dict[str, set[str]] = defaultdict(set)
    for path, room in sources().items():
        imports[room] |= imported_rooms(path) - {room, OUTSIDE}
    return imports


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a file imports from."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {room_of(name) for name in names if re.match(r"(service|events)\b", name)}


def main() -> None:
    imports = imports_by_room()
    lines: dict[str, int] = defaultdict(int)
    lengths = []
    for path, room in sources().items():
        length = len(path.read_text(encoding="utf-8").splitlines())
        lengths.append((length, str(path.relative_to(ROOT))))
        lines[room] += length
    print("room                        lines  imports from")
    # A floor that only holds rooms has a docstring and nothing else.
    for room in sorted(room for room in imports if lines[room] > MAX_LINES_OF_A_FLOOR):
        others = fill(" ".join(sorted(imports[room])), 120, subsequent_indent=" " * 35)
        print(f"{room:26} {lines[room]:6}  {others}".rstrip())
    counts = [length for length, _ in lengths]
    largest = ", ".join(f"{path} {length}" for length, path in sorted(lengths)[:-4:-1])
    print(f"{len(counts)} files: median {median(counts):.0f} lines, p90 {quantiles(counts, n=10)[-1]:.0f}; {largest}")


if __name__ == "__main__":
    main()
