"""Metrics: what is counted can be read as Prometheus reads it, adds up over processes, and is bounded."""

from __future__ import annotations

import re
from collections import Counter as Tally
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from service import metrics
from service.metric_families import (
    MAX_SERIES_PER_FAMILY,
    OTHER,
    Counter,
    Family,
    Gauge,
    Histogram,
    Totals,
    format_text,
    take_snapshot,
)

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
BOUNDS = (0.1, 1, 10)


def read(families: list[Family]) -> dict[tuple[str, tuple[str, ...]], float]:
    """The page as Prometheus's own parser reads it: values by name and label values, in the order of the labels."""
    page = format_text(families, take_snapshot(families)).decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


@given(st.lists(st.tuples(TEXTS, TEXTS)))
def test_a_counter_of_any_labels_is_read_as_it_was_counted(counted: list[tuple[str, str]]) -> None:
    family = Counter("a_total", "Meaning", ("first", "second"))
    for labels in counted:
        family.add(labels)
    assert read([family]) == {("a_total", labels): count for labels, count in Tally(counted).items()}


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_counts_each_value_in_every_bucket_that_holds_it(values: list[float]) -> None:
    family = Histogram("a_seconds", "Meaning", bounds=BOUNDS)
    for value in values:
        family.observe((), value)
    found = read([family])
    if not values:
        assert found == {}
        return
    for bound, text in [(0.1, "0.1"), (1, "1"), (10, "10"), (1_000, "+Inf")]:
        assert found["a_seconds_bucket", (text,)] == sum(value <= bound for value in values)
    assert found["a_seconds_count", ()] == len(values)
    assert abs(found["a_seconds_sum", ()] - sum(values)) < 1e-6


@given(st.lists(st.lists(st.sampled_from("abc")), max_size=4))
def test_processes_add_up_and_their_gauges_stay_apart(processes: list[list[str]]) -> None:
    made: list[Family] = []
    totals: Totals | None = None
    for number, counted in enumerate(processes):
        counter, gauge = Counter("a_total", "Meaning", ("what",)), Gauge("b", "Meaning")
        histogram = Histogram("c", "Meaning", ("what",), bounds=BOUNDS)
        made = [counter, gauge, histogram]
        totals = totals or Totals(made)
        for what in counted:
            counter.add((what,))
            histogram.observe((what,), 5)
        gauge.set(number)
        totals.add(take_snapshot(made), str(number))
    found = {part.name: dict(part.series) for part in totals.snapshot()} if totals else {}
    expected = Tally(what for counted in processes for what in counted)
    assert found.get("a_total", {}) == {(what,): [count] for what, count in expected.items()}
    assert found.get("c", {}) == {(what,): [0, 0, count, 0, 5 * count] for what, count in expected.items()}
    assert found.get("b", {}) == {(str(number),): [number] for number in range(len(processes))}


def test_a_process_that_ended_leaves_its_counts_and_not_its_gauges() -> None:
    counter, gauge = Counter("a_total", "Meaning"), Gauge("b", "Meaning")
    counter.add(amount=3)
    gauge.set(7)
    totals = Totals([counter, gauge])
    totals.add(take_snapshot([counter, gauge]))
    assert {part.name: part.series for part in totals.snapshot()} == {"a_total": [((), [3])], "b": []}


def test_a_family_has_a_bounded_number_of_series() -> None:
    family = Counter("a_total", "Meaning", ("any",))
    for number in range(MAX_SERIES_PER_FAMILY + 100):
        family.add((str(number),))
    assert len(family.series) == MAX_SERIES_PER_FAMILY + 1
    assert family.series[OTHER,] == [100]


def test_only_the_newest_policy_versions_keep_their_series() -> None:
    family = Counter("a_total", "Meaning", ("version", "what"), newest=2)
    totals = Totals([family])
    for version in (8, 9, 10, 11):
        for what in "ab":
            family.add((str(version), what))
        totals.add(take_snapshot([family]))
    assert {labels[0] for labels in family.series} == {"10", "11"}
    assert {labels[0] for part in totals.snapshot() for labels, _ in part.series} == {"10", "11"}


def test_every_metric_has_a_name_by_the_conventions() -> None:
    for family in metrics.FAMILIES:
        assert family.name.startswith(("timewarden_", "http_server_", "db_client_", "process_")), family.name
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert family.meaning
    assert len({family.name for family in metrics.FAMILIES}) == len(metrics.FAMILIES)


def test_every_metric_is_on_the_page_of_metrics_with_its_labels_and_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| (.*) \|$", PAGE, re.MULTILINE)
    documented = [(name, tuple(re.findall(r"`(\w+)`", labels)), meaning) for name, labels, meaning in rows]
    assert documented == [(family.name, family.labels, family.meaning) for family in metrics.FAMILIES]
