"""Runs benchmarks: `python -m tests.benchmarks [NAME [--OPTION NUMBER ...] ...]`, all of them without a name.

Figures only, no verdicts. A benchmark is a module of this folder with a `main()` that needs no arguments and prints. An
option sets the parameter of that name, as in `http --records 1000000`. One that says `LONG = True` takes half an hour
or more, and runs only by its name.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


def main() -> None:
    found = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    known = {name: module for name in found if name != "__main__" and (module := _module(name)) is not None}
    asked = _parse(sys.argv[1:]) or {name: {} for name, module in known.items() if not getattr(module, "LONG", False)}
    # A benchmark's own arguments are for when it is run by itself.
    sys.argv[1:] = []
    if unknown := [name for name in asked if name not in known]:
        sys.exit(f"Unknown benchmark {', '.join(unknown)}; known are {', '.join(known)}")
    for name, options in asked.items():
        print(f"\n== {name}: {(known[name].__doc__ or '').splitlines()[0]}", flush=True)
        running = known[name].main(**options)
        if inspect.iscoroutine(running):
            asyncio.run(running)


def _parse(words: list[str]) -> dict[str, dict[str, int]]:
    """The named benchmarks with their options."""
    asked: dict[str, dict[str, int]] = {}
    remaining = iter(words)
    for word in remaining:
        if word.startswith("--") and asked:
            asked[list(asked)[-1]][word.removeprefix("--")] = int(next(remaining, "0"))
        else:
            asked[word] = {}
    return asked


def _module(name: str) -> ModuleType | None:
    module = importlib.import_module(f"tests.benchmarks.{name}")
    needed = inspect.signature(module.main).parameters.values() if hasattr(module, "main") else [None]
    return (
        module
        if all(parameter is not None and parameter.default is not parameter.empty for parameter in needed)
        else None
    )


if __name__ == "__main__":
    main()
