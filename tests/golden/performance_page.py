"""The tables of docs/performance.md, and the three figures of the README, from the figures in docs/performance.json.

`rewrite_figures(text)` is a page with its figures made anew.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.golden.speed_picture import AS_INSTALLED, read_figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "docs" / "performance.md", ROOT / "README.md")
_PART = re.compile(r"(<!-- figures: ([a-z-]+) -->\n?).*?(<!-- end -->)", re.DOTALL)
LOADS = (1, 32, 64)
SERVERS = {
    "ours": "Timewarden",
    "ours, sealed": "with its keeper",
    "kept": "unprotected, tuned",
    "stock": "unprotected",
    "Cerbos": "Cerbos",
    "naive": "naive",
}


def rewrite_figures(text: str) -> str:
    """The page, its figures being the newest that were kept."""
    figures = read_figures()
    parts = {
        "machines": list_machines,
        "reads": reads_table,
        "requests": requests_table,
        "growth": growth_table,
        "pages": pages_table,
        "overload": overload_table,
        "three": three_figures,
    }
    return _PART.sub(lambda found: f"{found[1]}{parts[found[2]](figures)}{found[3]}", text)


def list_machines(figures: Mapping[str, Any]) -> str:
    """Where and when each benchmark was measured; those that were measured alike in one line."""
    measured: dict[str, list[str]] = {}
    for benchmark, told in sorted(figures["machines"].items()):
        where = f"{told['day']}, {told['cores']} cores of an {told['processor']}, Python {told['Python']}"
        measured.setdefault(where, []).append(benchmark)
    return "".join(f"- {', '.join(benchmarks)}: {where}\n" for where, benchmarks in measured.items())


def reads_table(figures: Mapping[str, Any]) -> str:
    """Reads of the service and its rivals, on what is installed; then those of the service over longer logs."""
    states = dict(sorted(figures["http"].items()))
    installed = states.pop(AS_INSTALLED)
    lines = [
        _reads(installed, name, title) for name, title in SERVERS.items() if f"{name} at 32" in installed["measured"]
    ]
    lines += [_reads(found, "ours", f"Timewarden, {log}") for log, found in states.items()]
    return _table(["reads a second", "1 connection", "32", "64, 2 workers", "CPU at 32", "statements at 1, 32"], lines)


def _reads(found: Mapping[str, Any], name: str, title: str) -> list[str]:
    values = [found["measured"].get(f"{name} at {count}") for count in LOADS]
    statements = ", ".join(f"{number:.1f}" for number in found["statements"].get(name, ()))
    cost = f"{values[1]['server']:,.0f} + {values[1]['postgres']:,.0f}"
    return [title, *(f"{value['rate']:,.0f}" if value else "" for value in values), cost, statements]


def requests_table(figures: Mapping[str, Any]) -> str:
    """Other requests beside their rivals."""
    found = figures["protection"]
    pairs = sorted((name, value) for name, value in found.items() if "ratio" in value and name != "read / kept")
    lines = [
        [
            name,
            f"{value['ratio']:.2f}",
            f"{value['server']:,.0f} + {value['postgres']:,.0f}",
            f"{value['statements']:.0f}",
        ]
        for name, value in pairs
    ]
    size, cycles = found["bytes"], found["cycles"]
    others = (
        f"\nA decision takes {size['disk']:,.0f} bytes on disk and {size['wal']:,.0f} of WAL."
        f" {cycles['rate']:.0f} weeks a second pass from creation to approval,\nwith {cycles['statements']:.0f}"
        " statements in eight requests."
        f" An event is in Redis {found['lag']['p50']:.0f} ms after the answer.\n"
    )
    return _table(["request / rival", "ratio", "CPU", "statements"], lines) + others


def growth_table(figures: Mapping[str, Any]) -> str:
    """The cost of a read as one thing grows, and in an installation in which everything is large."""
    lines = []
    for dimension, points in {**figures["growth"], "all of these": figures.get("large", {})}.items():
        ordered = sorted((int(size), value) for size, value in points.items())
        if not ordered:
            continue
        costs = [f"{size:,}: {value['server']:,.0f} + {value['postgres']:,.0f}" for size, value in ordered]
        lines.append([dimension, *costs, *[""] * (3 - len(costs))])
    return _table(["CPU of a read", "smallest", "", "largest"], lines)


def pages_table(figures: Mapping[str, Any]) -> str:
    """The console's pages at demo size, and in the large installation. Of the filters of a search, the slowest."""
    demo, large = (figures["pages"].get(size, {}) for size in ("demo", "large"))
    groups: dict[str, list[str]] = {}
    for name in demo:
        what, by, _ = name.partition(", by ")
        groups.setdefault(f"{what}, slowest of its filters" if by else what, []).append(name)
    lines = []
    for title, names in groups.items():
        slowest = max(names, key=lambda name: (large or demo)[name]["median"])
        times = [
            f"{pages[slowest]['median']:,.0f}, {pages[slowest]['worst']:,.0f}" if pages else ""
            for pages in (demo, large)
        ]
        page = (large or demo)[slowest]
        costs = [f"{page[figure]:,.0f}" for figure in ("processor", "calls")]
        lines.append([title, *times, *costs, f"{page['bytes'] / 1e3:,.0f}"])
    return _table(["page", "demo: median, worst ms", "large: median, worst ms", "CPU ms", "API requests", "kB"], lines)


def overload_table(figures: Mapping[str, Any]) -> str:
    """What callers get beyond capacity, of each mix of requests."""
    lines, told, slowest = [], [], 0.0
    for mix, found in figures["overload"].items():
        lines.append([f"*{mix}*, {found['capacity']:,.0f} a second", *[""] * 7])
        for value in found["loads"]:
            shares = [f"{value[name]:.2f}" for name in ("share", "work")]
            answers = [f"{value[name]:.1f} %" for name in ("good", "refused", "none")]
            times = [", ".join(f"{time:,.0f}" for time in value[name] or ()) for name in ("good_ms", "refused_ms")]
            lines.append([value["load"], *shares, *answers, *times])
            slowest = max(slowest, value["ready_ms"])
            if value["load"] == "10 x capacity":
                told.append(f"{value['refusal']:.0f} µs beside {found['loads'][0]['success']:,.0f} µs ({mix})")
    heads = ["load", "share", "work", "served", "refused", "no answer", "served: p50, p99 ms", "refused: p50, p99"]
    costs = f"\nAt ten times capacity a refusal takes {' and '.join(told)} for a success. Readiness"
    return _table(heads, lines) + f"{costs} answered\nwithin {slowest:.0f} ms.\n"


def three_figures(figures: Mapping[str, Any]) -> str:
    """The sentences of the README."""
    kept, cerbos = (figures["http"][AS_INSTALLED]["ratios"][f"ours / {rival}"] for rival in ("kept", "Cerbos"))
    grown = [value["server"] + value["postgres"] for points in figures["growth"].values() for value in points.values()]
    compared = f", and {cerbos['32']:.2f} times that of Cerbos" if cerbos else ""
    return (
        f"A read that is authorized and recorded has {kept['32']:.2f} times the rate of the same read"
        f" unprotected{compared}.\nIt costs {min(grown):.0f} to {max(grown):.0f} µs of processor time, however much"
        " policy, directory and log grow ([figures](docs/performance.md)).\n"
    )


def _table(heads: list[str], lines: Iterable[list[str]]) -> str:
    return "".join(f"|{'|'.join(row)}|\n" for row in [heads, ["---"] * len(heads), *lines])
