"""Runs benchmarks: `python -m tests.benchmarks [NAME ...]`, all of them without a name. Figures only, no verdicts.

A benchmark is a module of this folder with a `main()` that takes no arguments and prints.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


def main() -> None:
    found = sorted(one.name for one in pkgutil.iter_modules([str(Path(__file__).parent)]))
    known = {name: module for name in found if name != "__main__" and (module := _module(name)) is not None}
    asked = sys.argv[1:] or list(known)
    # A benchmark's own arguments are for when it is run by itself.
    sys.argv[1:] = []
    if unknown := [name for name in asked if name not in known]:
        sys.exit(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    for name in asked:
        print(f"\n== {name}: {(known[name].__doc__ or '').splitlines()[0]}", flush=True)
        known[name].main()


def _module(name: str) -> ModuleType | None:
    module = importlib.import_module(f"tests.benchmarks.{name}")
    takes_nothing = hasattr(module, "main") and not inspect.signature(module.main).parameters
    return module if takes_nothing else None


if __name__ == "__main__":
    main()
