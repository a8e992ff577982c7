"""Keeps what benchmarks measured, for the chart and the tables: `.local/bench/figures.json`. Owns that file."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Beside the benchmarks, in a file of figures: the day and the machine of each.
MACHINES = "machines"
MEASURED = Path(__file__).resolve().parents[2] / ".local" / "bench" / "figures.json"


def keep(benchmark: str, values: Mapping[str, Any]) -> None:
    """Keep the figures of a benchmark and where they are from, in place of earlier ones, to two decimals."""
    whole = read_figures(MEASURED)
    whole[benchmark] = json.loads(json.dumps(values), parse_float=lambda digits: round(float(digits), 2))
    whole.setdefault(MACHINES, {})[benchmark] = {
        "day": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "Python": platform.python_version(),
    }
    MEASURED.parent.mkdir(parents=True, exist_ok=True)
    MEASURED.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_figures(file: Path) -> dict[str, Any]:
    """The figures of a file; none where there is no file."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
