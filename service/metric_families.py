"""Counters, gauges and histograms of one process, how those of several processes are added up, and their text format.

Only the thread of the event loop changes them, so counting takes no lock. A process owns its numbers; nothing is
durable. docs/decisions/0048-metrics-by-report.md says why this is not prometheus_client.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping, Sequence

    # The series of a family by their label values: one number, or those of a histogram.
    Series: TypeAlias = MutableMapping[tuple[str, ...], list[float]]

FamilyKind: TypeAlias = Literal["counter", "gauge", "histogram"]
# Further label values of a family are counted together, as OTHER. Labels come from fixed sets, so this is a fuse.
MAX_SERIES_PER_FAMILY: Final = 2_000
OTHER: Final = "_OTHER"
# Distinguishes the gauges of several processes.
WORKER: Final = "worker"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Family:
    """A metric with all its series. `labels` are the names of the labels. With `newest`, the first label is a number
    that grows for ever, such as a version: only the series of its so many highest values are kept."""

    kind: FamilyKind

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = (), *, newest: int = 0) -> None:
        self.name, self.meaning, self.labels, self.newest = name, meaning, tuple(labels), newest
        self.series: dict[tuple[str, ...], list[float]] = {}

    def _begin(self, labels: tuple[str, ...], numbers: int = 1) -> list[float]:
        """The numbers of a new series; those of OTHER if there are too many."""
        if len(self.series) >= MAX_SERIES_PER_FAMILY:
            labels = (OTHER,) * len(labels)
        found = self.series.setdefault(labels, [0] * numbers)
        if self.newest:
            drop_oldest(self.series, self.newest)
        return found


class Counter(Family):
    """A number that only grows while its process lives."""

    kind = "counter"

    def add(self, labels: tuple[str, ...] = (), amount: float = 1) -> None:
        """Count."""
        numbers = self.series.get(labels)
        if numbers is None:
            numbers = self._begin(labels)
        numbers[0] += amount

    def set(self, value: float, labels: tuple[str, ...] = ()) -> None:
        """Take over what is counted elsewhere in this process."""
        (self.series.get(labels) or self._begin(labels))[0] = float(value)


class Gauge(Family):
    """A number of this moment. `series` may be cleared, where the number is not known."""

    kind = "gauge"

    def set(self, value: float, labels: tuple[str, ...] = ()) -> None:
        """Say the number."""
        (self.series.get(labels) or self._begin(labels))[0] = float(value)


class Histogram(Family):
    """How often a value was up to each of the ascending `bounds`. Its numbers: one for each bound, one for all larger
    values, and the sum of the values."""

    kind = "histogram"

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = (), *, bounds: Sequence[float]) -> None:
        super().__init__(name, meaning, labels)
        self.bounds = tuple(bounds)

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """Count a value."""
        numbers = self.series.get(labels)
        if numbers is None:
            numbers = self._begin(labels, len(self.bounds) + 2)
        numbers[bisect_left(self.bounds, value)] += 1
        numbers[-1] += value


class FamilySnapshot(msgspec.Struct, array_like=True):
    """The numbers of a family at a moment, as a worker reports them."""

    name: str
    series: list[tuple[tuple[str, ...], list[float]]]


def take_snapshot(families: Iterable[Family]) -> list[FamilySnapshot]:
    """The numbers of this process now, without families that have none."""
    return [FamilySnapshot(family.name, list(family.series.items())) for family in families if family.series]


class Totals:
    """Adds up what several processes counted, also those that have ended. A gauge keeps its process as a label."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = {family.name: family for family in families}
        self._series: dict[str, dict[tuple[str, ...], list[float]]] = {}

    def add(self, snapshot: Iterable[FamilySnapshot], worker: str | None = None) -> None:
        """Add the numbers of a process. Its gauges get the label `worker`; None leaves them out: it has ended."""
        for found in snapshot:
            family = self._families[found.name]
            series = self._series.setdefault(found.name, {})
            for labels, numbers in found.series:
                if family.kind == "gauge":
                    if worker is not None:
                        series[*labels, worker] = numbers
                elif (known := series.get(labels)) is None:
                    series[labels] = [*numbers]
                else:
                    series[labels] = [old + new for old, new in zip(known, numbers, strict=True)]
            if family.newest:
                drop_oldest(series, family.newest)

    def snapshot(self) -> list[FamilySnapshot]:
        """The sums."""
        return [FamilySnapshot(name, list(series.items())) for name, series in self._series.items()]


def drop_oldest(series: Series, newest: int) -> None:
    """Drop the series whose first label is not among its `newest` highest numbers."""
    numbers = {int(labels[0]) for labels in series if labels[0].isdecimal()}
    if len(numbers) > newest:
        kept = {str(number) for number in sorted(numbers)[-newest:]}
        for labels in [labels for labels in series if labels[0].isdecimal() and labels[0] not in kept]:
            del series[labels]


def format_text(families: Iterable[Family], snapshot: Iterable[FamilySnapshot]) -> bytes:
    """The numbers in Prometheus's text format 0.0.4, in the order of the families."""
    found = {part.name: dict(part.series) for part in snapshot}
    lines: list[str] = []
    for family in families:
        series = found.get(family.name)
        if series:
            lines += [f"# HELP {family.name} {family.meaning}", f"# TYPE {family.name} {family.kind}"]
            lines += _format_family(family, series)
    return "".join(f"{line}\n" for line in lines).encode()


def _format_family(family: Family, series: Mapping[tuple[str, ...], Sequence[float]]) -> Iterable[str]:
    for values, numbers in sorted(series.items()):
        labels = [f'{name}="{_escape(value)}"' for name, value in zip((*family.labels, WORKER), values, strict=False)]
        if isinstance(family, Histogram):
            count = 0.0
            for bound, number in zip((*family.bounds, float("inf")), numbers, strict=False):
                count += number
                upper = f'le="{"+Inf" if bound == float("inf") else f"{bound:g}"}"'
                yield f"{family.name}_bucket{{{','.join([*labels, upper])}}} {_format_number(count)}"
            yield f"{family.name}_sum{_in_braces(labels)} {_format_number(numbers[-1])}"
            yield f"{family.name}_count{_in_braces(labels)} {_format_number(count)}"
        else:
            yield f"{family.name}{_in_braces(labels)} {_format_number(numbers[0])}"


def _in_braces(labels: Sequence[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _format_number(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(float(number))
