"""Puts the newest figures into docs/performance.json, and from there into chart, page and README; measures nothing.

Run it after the benchmarks whose figures it shows: `make bench ARGS="http protection growth chart"`.
"""

from __future__ import annotations

import json

from tests.benchmarks.figures import MACHINES, MEASURED, read_figures
from tests.golden import performance_page, pictures
from tests.golden.speed_picture import FIGURES

# Not after each run of all benchmarks, which would change files of the repository.
LONG = True


def main() -> None:
    shown, measured = read_figures(FIGURES), read_figures(MEASURED)
    machines = {**shown.get(MACHINES, {}), **measured.get(MACHINES, {})}
    whole = {**shown, **measured, MACHINES: machines}
    FIGURES.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for name, text in pictures.draw_all().items():
        (pictures.FOLDER / name).write_text(text, encoding="utf-8")
    for page in performance_page.PAGES:
        page.write_text(performance_page.rewrite_figures(page.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{FIGURES.name}, the chart, the tables of the page and the figures of the README are those measured last")
