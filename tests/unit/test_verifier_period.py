"""timewarden-verify bundle --since --until: whether a bundle shows the whole of a period."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from service.errors import InvalidField
from service.standalone.verify.command import main
from service.standalone.verify.findings import INCOMPLETE, INTACT, TAMPERED, USAGE
from service.standalone.verify.times import parse_given_time
from service.web.http.parameters import parse_optional_time
from tests.bundle_forge import VKEY, ForgedBundle, forge_bundle
from tests.command_line import verify
from tests.unit.test_verifier import record
from tests.unit.test_verifier_pruning import DAY, START, prune_bundle, pruning_record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from service.log.record import Record

HOUR = timedelta(hours=1)
SINCE, UNTIL = START + 10 * HOUR, START + 20 * HOUR


def records_at(*hours: float) -> list[Record]:
    """Records decided so many hours after START."""
    return [record(number, at=START + hour * HOUR) for number, hour in enumerate(hours)]


# A record an hour; position 10 is the first record of the period, and position 20 the first after it.
HOURLY = records_at(*range(30))


class Check(Protocol):
    def __call__(
        self, bundle: ForgedBundle, since: datetime | None = SINCE, until: datetime | None = UNTIL, *more: str
    ) -> tuple[int, dict[str, Any]]: ...


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Checks a bundle for a period by the command: its exit code and its report."""

    def run(
        bundle: ForgedBundle, since: datetime | None = SINCE, until: datetime | None = UNTIL, *more: str
    ) -> tuple[int, dict[str, Any]]:
        (tmp_path / "bundle").write_bytes(bundle.content)
        given = (("--since", since), ("--until", until))
        period = [word for name, time in given if time for word in (name, time.isoformat())]
        return verify("bundle", str(tmp_path / "bundle"), "--key", VKEY, *period, *more, capsys=capsys)

    return run


def told(report: dict[str, Any]) -> str:
    """The finding of a report that has one."""
    (finding,) = report["findings"]
    assert finding["verdict"] == "incomplete"
    return str(finding["what"])


def test_a_bundle_from_before_to_after_the_period_shows_it(check: Check) -> None:
    code, report = check(forge_bundle(HOURLY, 9, 21))
    assert (code, report["findings"]) == (INTACT, [])
    assert (report["checked"]["since"], report["checked"]["until"]) == (
        "2026-03-01T10:00:00.000000Z",
        "2026-03-01T20:00:00.000000Z",
    )
    beginning, end = (sentence for sentence in report["shown"] if "of the period" in sentence)
    assert beginning.endswith("its first record was decided at 2026-03-01T09:00:00.000000Z")
    assert end.endswith("its newest record was decided at 2026-03-01T20:00:00.000000Z")
    assert any("have true times" in sentence for sentence in report["not_shown"])


@pytest.mark.parametrize(("start", "end", "which"), [(10, 21, "beginning"), (9, 20, "end")])
def test_a_bundle_without_the_record_before_or_after_the_period_is_incomplete(
    check: Check, start: int, end: int, which: str
) -> None:
    code, report = check(forge_bundle(HOURLY, start, end))
    assert (code, report["shown"]) == (INCOMPLETE, [])
    assert f"does not show the {which} of the period" in told(report)
    assert report["findings"][0]["position"] == (10 if which == "beginning" else 19)
    # Without the options it is intact, as far as it goes.
    assert check(forge_bundle(HOURLY, start, end), None, None)[0] == INTACT


def test_the_text_says_what_the_json_says(check: Check, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for start, verdict in ((9, INTACT), (10, INCOMPLETE)):
        _, report = check(forge_bundle(HOURLY, start, 21))
        period = ("--since", SINCE.isoformat(), "--until", UNTIL.isoformat())
        with pytest.raises(SystemExit) as ended:
            main(["bundle", str(tmp_path / "bundle"), "--key", VKEY, *period])
        output = capsys.readouterr().out
        assert ended.value.code == verdict
        findings = [finding["what"] for finding in report["findings"]]
        for sentence in (*findings, *report["shown"], *report["not_shown"]):
            assert sentence in output


def test_each_option_alone_requires_its_end_and_names_the_other(check: Check) -> None:
    code, report = check(forge_bundle(HOURLY, 9, 15), SINCE, None)
    assert (code, "where the period ends: give --until" in report["not_shown"]) == (INTACT, True)
    assert "until" not in report["checked"]
    code, report = check(forge_bundle(HOURLY, 15, 21), None, UNTIL)
    assert (code, "where the period begins: give --since" in report["not_shown"]) == (INTACT, True)
    assert check(forge_bundle(HOURLY, 10, 15), SINCE, None)[0] == INCOMPLETE
    assert check(forge_bundle(HOURLY, 15, 20), None, UNTIL)[0] == INCOMPLETE
    code, report = check(forge_bundle(HOURLY, 9), SINCE, None)
    assert (code, [sentence for sentence in report["not_shown"] if "give --until" in sentence]) == (INTACT, [])


def test_the_first_record_of_the_log_shows_the_beginning_of_every_period(check: Check) -> None:
    code, report = check(forge_bundle(HOURLY, 0, 21), START - DAY)
    assert (code, any("it begins with the log" in sentence for sentence in report["shown"])) == (INTACT, True)


def test_a_bundle_that_ends_before_the_period_does_not_show_it(check: Check) -> None:
    code, report = check(forge_bundle(HOURLY, 0, 10), SINCE, None)
    assert (code, "no record that was decided at or after its beginning" in told(report)) == (INCOMPLETE, True)


@pytest.mark.parametrize(("days", "part"), [(5, True), (12, False)])
def test_pruned_records_show_the_beginning_under_a_given_retention(check: Check, days: int, *, part: bool) -> None:
    bundle = prune_bundle(pruning_record(), start=9)
    code, report = check(bundle, START + days * DAY, None, "--retention", "80d")
    assert (code, report["findings"]) == (INTACT, [])
    (sentence,) = (sentence for sentence in report["shown"] if "of the period" in sentence)
    assert "it begins with a pruned record, and only records from before 2026-03-12T00:00:00" in sentence
    assert ("a part of the period may be pruned" in sentence) is part
    code, report = check(bundle, START + days * DAY, None)
    assert (code, "--retention" in told(report)) == (INCOMPLETE, True)
    bundle.header["pruned"] = None
    code, report = check(bundle, START + days * DAY, None, "--retention", "80d")
    assert code == TAMPERED
    assert "does not show the beginning of the period" in str(report["findings"])


@pytest.mark.parametrize("future", [False, True])
def test_a_log_that_ends_before_the_period_does_is_incomplete(check: Check, *, future: bool) -> None:
    until = datetime.now(UTC) + DAY if future else UNTIL
    code, report = check(forge_bundle(HOURLY[:20], 9), SINCE, until)
    assert (code, report["findings"][0]["position"]) == (INCOMPLETE, 19)
    assert "does not show the end of the period" in told(report)
    assert "the log ends at 2026-03-01T19:00:00.000000Z" in told(report)
    assert ("lies in the future" in told(report)) is future
    assert ("no keeper is running" in told(report)) is not future


def test_the_newest_record_of_the_log_need_not_be_its_last(check: Check) -> None:
    log = [*HOURLY[:21], record(1, at=UNTIL - timedelta(seconds=1))]
    assert check(forge_bundle(log, 9))[0] == INTACT
    # More records of the period may follow such a record, unless the log ends there.
    code, report = check(forge_bundle([*log, *HOURLY[21:]], 9, len(log)))
    assert (code, "its last record was decided at 2026-03-01T19:59:59" in told(report)) == (INCOMPLETE, True)


def test_a_period_in_the_future_is_noted(check: Check) -> None:
    until = datetime.now(UTC) + 3 * DAY
    code, report = check(forge_bundle([*HOURLY, record(1, at=until), record(2, at=until + HOUR)], 9), SINCE, until)
    assert code == INTACT
    assert any("the period ends in the future" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("hours", "which", "position"),
    [
        ([7, *range(10, 22)], "beginning", 1),
        ([*range(9, 20), 22], "end", 12),
    ],
)
@pytest.mark.parametrize("to_the_end", [False, True])
def test_a_single_record_far_from_its_neighbour_does_not_show_an_end_of_the_period(
    check: Check, hours: Sequence[float], which: str, position: int, *, to_the_end: bool
) -> None:
    log = records_at(-20, *hours, 30)
    code, report = check(forge_bundle(log[:-1] if to_the_end else log, 1, len(log) - 1))
    assert (code, report["findings"][0]["position"]) == (INCOMPLETE, position)
    advice = "begins earlier" if which == "beginning" else "ends later"
    for words in (
        f"may not show the {which} of the period",
        "nothing was recorded for 3.0 hours",
        "no keeper was running",
        "its heartbeat is set to more than two hours",
        "has a false time",
        f"fetch a bundle that {advice}",
    ):
        assert words in told(report)


@pytest.mark.parametrize("hours", [[8, *range(10, 22)], [*range(9, 20), 21]])
def test_neighbours_two_hours_apart_show_the_ends_of_the_period(check: Check, hours: Sequence[float]) -> None:
    log = records_at(-20, *hours, 30)
    assert check(forge_bundle(log, 1, len(log) - 1))[0] == INTACT


def test_a_longer_bundle_shows_a_period_during_which_no_keeper_was_running(check: Check) -> None:
    """The service was switched off every night, also at both ends of the period."""
    log = records_at(-30, -29, -12, -11, 2, 3, 13, 14, 26, 27, 36)
    for start, end in ((5, 8), (5, 9), (4, 9)):
        assert check(forge_bundle(log, start, end))[0] == INCOMPLETE
    assert check(forge_bundle(log, 4, 10))[0] == INTACT
    # It may begin and end with another silence.
    assert check(forge_bundle(log, 1, 11))[0] == INTACT


def test_a_record_with_a_false_time_hides_no_record_of_the_period(check: Check) -> None:
    """A record with an old time was added behind the records to hide, and one from the future before others."""
    old, future = record(1, at=START), record(2, at=datetime(2999, 1, 1, tzinfo=UTC))
    log = [*HOURLY[:15], old, *HOURLY[15:]]
    code, report = check(forge_bundle(log, 15, 25))
    assert (code, "nothing was recorded for 15.0 hours after it" in told(report)) == (INCOMPLETE, True)
    log = [*HOURLY[:15], future, *HOURLY[15:]]
    for bundle in (forge_bundle(log, 9, 16), forge_bundle(log[:16], 9)):
        code, report = check(bundle)
        assert (code, "days before it" in told(report)) == (INCOMPLETE, True)


def test_a_single_record_does_not_show_the_end_of_the_period(check: Check) -> None:
    code, report = check(forge_bundle(HOURLY, 21, 22), None)
    assert (code, "no record before it has a time" in told(report)) == (INCOMPLETE, True)


def test_the_state_is_kept_if_the_period_is_not_shown(check: Check, tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "seen"))
    assert check(forge_bundle(HOURLY, 10, 21), SINCE, UNTIL, *state)[0] == INCOMPLETE
    assert not (tmp_path / "seen").exists()
    assert check(forge_bundle(HOURLY, 9, 21), SINCE, UNTIL, *state)[0] == INTACT
    assert (tmp_path / "seen").exists()


def test_a_period_that_ends_before_it_begins_is_refused(check: Check) -> None:
    for until in (SINCE, SINCE - HOUR):
        code, report = check(forge_bundle(HOURLY), SINCE, until)
        assert (code, report["findings"][0]["what"]) == (USAGE, "--until must be later than --since")


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("2026-03-01T00:00:00Z", True),
        ("2026-03-01t00:00:00Z", True),
        ("2026-03-01T00:00:00.123456+01:00", True),
        ("2026-03-01T00:00:00 01:00", True),
        ("2026-03-01T00:00:00", False),
        ("2026-03-01 00:00:00Z", False),
        ("2026-03-01", False),
        ("0001-01-01T00:00:00+01:00", False),
        ("9999-12-31T23:59:59-01:00", False),
        ("yesterday", False),
        ("", False),
    ],
)
def test_times_are_parsed_as_by_the_export(tmp_path: Path, text: str, *, valid: bool) -> None:
    if valid:
        assert parse_given_time(text) == parse_optional_time(text, "query.since")
        return
    with pytest.raises(InvalidField):
        parse_optional_time(text, "query.since")
    with pytest.raises(SystemExit) as ended:
        main(["bundle", str(tmp_path / "bundle"), "--key", VKEY, "--since", text])
    assert ended.value.code == USAGE
