"""Files of hours, read piece by piece: what is a row, what is wrong with it, and on which line it stands."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidField, MalformedRequest
from service.timesheets.upload_rows import MAX_FAULTS_TOLD, Fault, Faults, Rows
from service.web.uploads.uploads_csv import CsvReader
from service.web.uploads.uploads_json import NdjsonReader, rows_of_json
from service.web.uploads.uploads_lines import MAX_LINE_BYTES, MAX_LINES_PER_FILE
from tests.example_count import example_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

OWNER = "0198c0de-0000-7000-8000-000000000001"
HEADER = "owner,day,project,minutes,external_ref,note\n"
GOOD = f"{OWNER},2026-03-02,apollo,60,job-1,\n"


def read(steps: Iterable[object]) -> None:
    """Do all steps of a reader."""
    for _ in steps:
        pass


def csv(*pieces: str | bytes) -> Rows:
    rows = Rows(lined=True)
    reader = CsvReader(rows)
    for piece in pieces:
        read(reader.feed(piece.encode() if isinstance(piece, str) else piece))
    read(reader.end())
    return rows


def ndjson(text: str | bytes) -> Rows:
    rows = Rows(lined=True)
    reader = NdjsonReader(rows)
    read(reader.feed(text.encode() if isinstance(text, str) else text))
    read(reader.end())
    return rows


def line(**changes: object) -> str:
    row = {"owner": OWNER, "day": "2026-03-02", "project": "apollo", "minutes": 60, "external_ref": "job-1"}
    return json.dumps({name: value for name, value in {**row, **changes}.items() if value is not None}) + "\n"


def wrong(rows: Rows) -> list[tuple[int | None, str | None]]:
    """Line and field of each fault."""
    return [(rows.line(index), fault.field) for index in rows.faults for fault in rows.faults[index]]


def file_errors(file: bytes | str) -> list[tuple[str, str]]:
    """Why a CSV file cannot be read."""
    with pytest.raises(InvalidField) as error:
        csv(file)
    return [(field.field, field.message) for field in error.value.fields]


def test_a_csv_row_is_the_row_that_its_json_is() -> None:
    assert csv(HEADER, GOOD).row(0) == ndjson(line()).row(0)
    with_note = csv(HEADER, f'{OWNER},2026-03-02,apollo,60,job-1,"night, ""late"""\n').row(0)
    assert with_note == ndjson(line(note='night, "late"')).row(0)
    assert with_note.owner == UUID(OWNER)


def test_columns_may_stand_in_any_order_and_a_byte_order_mark_before_them() -> None:
    rows = csv(b"\xef\xbb\xbfminutes,owner,external_ref,day,project\r\n", f"60,{OWNER},job-1,2026-03-02,apollo\r\n")
    assert rows.row(0) == ndjson(b"\xef\xbb\xbf" + line().encode()).row(0)


def test_a_row_without_an_end_is_a_row_and_empty_lines_are_none() -> None:
    assert len(csv(HEADER, "\n", GOOD, "\n\n", GOOD.strip())) == 2
    assert len(ndjson("\n" + line() + "\n \n" + line().strip())) == 2


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_than_commas_are_named(separator: str) -> None:
    ((where, why),) = file_errors(HEADER.replace(",", separator))
    assert (where, "commas" in why) == ("header", True)


def test_semicolons_under_a_good_header_are_named_with_their_line() -> None:
    rows = csv(HEADER, GOOD.replace(",", ";"))
    assert wrong(rows) == [(2, None)]
    assert "commas" in rows.faults[0][0].reason


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ("owner,day,project,minutes\n", ["header.external_ref"]),
        ("owner,day,project,minutes,external_ref,colour\n", ["header.colour"]),
        ("owner,day,project,minutes,external_ref,day\n", ["header.day"]),
        ("Owner,day,project,minutes,external_ref\n", ["header.owner", "header.Owner"]),
        ("", ["header"]),
        ('owner,"day\n', ["line 1"]),
    ],
)
def test_a_wrong_header_names_its_columns(header: str, fields: list[str]) -> None:
    assert [where for where, _ in file_errors(header)] == fields


@pytest.mark.parametrize(
    ("file", "where"),
    [
        ((HEADER + GOOD).encode() + GOOD.replace("apollo", "Büro").encode("latin-1"), "line 3"),
        ((HEADER + GOOD).encode("utf-16"), "line 1"),
        ((HEADER + GOOD).encode("utf-16-le"), "line 1"),
        ((HEADER + GOOD).encode("utf-16-be"), "line 1"),
        ((HEADER + GOOD).replace("\n", "\r"), "header"),
        (HEADER + GOOD + "x" * (MAX_LINE_BYTES + 1), "line 3"),
        (HEADER + GOOD + f'{OWNER},2026-03-02,apollo,60,job-2,"open\n' + GOOD, "line 3"),
        (HEADER + GOOD + '"' + "open\n" * MAX_LINE_BYTES, "line 3"),
    ],
)
def test_what_makes_a_file_unreadable_is_named_with_its_line(file: bytes | str, where: str) -> None:
    assert [where for where, _ in file_errors(file)] == [where]


def test_a_quote_that_stays_open_over_empty_lines_ends_the_file_where_a_row_would_be_too_long() -> None:
    ((where, why),) = file_errors(HEADER + GOOD + '"' + "\n" * (MAX_LINE_BYTES + 1))
    assert (where, why) == ("line 3", f"begins a row of more than {MAX_LINE_BYTES} characters")


@pytest.mark.parametrize("reader", [ndjson, csv])
def test_a_file_of_empty_lines_without_end_is_refused(reader: Callable[[str], Rows]) -> None:
    with pytest.raises(InvalidField, match=f"more than {MAX_LINES_PER_FILE} lines"):
        reader("\n" * (MAX_LINES_PER_FILE + 1))


@pytest.mark.parametrize(("reader", "text"), [(ndjson, "{}\n" * 300), (csv, HEADER + ",,,,,\n" * 300)])
def test_after_a_hundred_faults_wrong_rows_are_counted_alone_and_good_ones_taken(
    reader: Callable[[str], Rows], text: str
) -> None:
    rows = reader(text + (GOOD if reader is csv else line()))
    assert (len(rows), len(rows.faults)) == (301, 300)
    # Each has five faults.
    assert list(rows.faults) == list(range(20))
    assert [index for week in rows.weeks for index, _ in rows.of_week(week)] == [300]


def test_the_faults_that_are_told_are_those_of_the_first_rows_in_whatever_order_they_are_found() -> None:
    faults = Faults()
    for index in random.Random(1).sample(range(500), 500):  # noqa: S311 — no secret comes of it
        faults.add(index, [Fault("conflict", f"{index}")])
    assert list(faults) == list(range(MAX_FAULTS_TOLD))
    assert (len(faults), 499 in faults, faults[499]) == (500, True, ())


@pytest.mark.parametrize("cell", ["=1+1", "+49", "-x", "@SUM(A1)", '"\tx"'])
@pytest.mark.parametrize("column", ["owner", "day", "project", "external_ref", "note"])
def test_a_cell_that_is_a_formula_is_refused_by_row_and_field(cell: str, column: str) -> None:
    cells = dict(zip(HEADER.strip().split(","), GOOD.strip().split(","), strict=True)) | {column: cell}
    rows = csv(HEADER, GOOD, ",".join(cells.values()) + "\n")
    assert wrong(rows) == [(3, column)]
    assert "formula" in rows.faults[1][0].reason


@pytest.mark.parametrize("minutes", ["-60", "+60", "7.5", "7,5", "", "0", "1441", "1e3", "99999", "sixty", "٣"])
def test_minutes_are_whole_and_in_a_day(minutes: str) -> None:
    cell = f'"{minutes}"' if "," in minutes else minutes
    rows = csv(HEADER, GOOD.replace("60", cell))
    assert wrong(rows) == [(2, "minutes")]
    assert "whole number from 1 to 1440" in rows.faults[0][0].reason


@pytest.mark.parametrize("day", ["2026-02-30", "02.03.2026", "20260302", "2026-03-02T00:00", "", "1999-12-31"])
def test_days_are_dates(day: str) -> None:
    assert wrong(csv(HEADER, GOOD.replace("2026-03-02", day))) == [(2, "day")]
    assert wrong(ndjson(line(day=day))) == [(1, "day")]


def test_every_wrong_cell_of_a_row_is_named() -> None:
    everything = [(2, name) for name in ("owner", "day", "minutes", "project", "external_ref")]
    assert wrong(csv(HEADER, "carl,today,a b,x,,\n")) == everything
    both = line(owner="carl", day="today", minutes="x", project="a b", external_ref="", time_zone="Mars/Olympus")
    assert sorted(wrong(ndjson("\n" + both))) == sorted([*everything, (2, "time_zone")])
    assert wrong(csv(HEADER, f"=1,2026-03-02,a b,60,job-1,{'x' * 501}\n")) == [
        (2, "owner"),
        (2, "project"),
        (2, "note"),
    ]
    assert wrong(csv(HEADER, f"{OWNER},2026-03-02,a b,0,,\n")) == [(2, "project"), (2, "minutes"), (2, "external_ref")]


def test_quoted_newlines_are_text_and_lines_are_counted_on() -> None:
    rows = csv(HEADER, f'{OWNER},2026-03-02,apollo,60,job-1,"two\nlines"\n', GOOD.replace("60", "0"))
    # A note has no control characters, so the row is wrong; what follows is read all the same.
    assert wrong(rows) == [(2, "note"), (4, "minutes")]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", None),
        ("[]", None),
        ('"text"', None),
        (line() * 2, None),
        (line(minutes="60"), "minutes"),
        (line(minutes=7.5), "minutes"),
        (line(minutes=-1), "minutes"),
        (line(minutes=None), "minutes"),
        (line(surprise=1), "surprise"),
        (line(owner="carl"), "owner"),
        (line().replace('"minutes": 60', '"minutes": 60, "minutes": 61'), "minutes"),
        (line(note="\u0007"), "note"),
    ],
)
def test_a_line_that_is_no_row_is_named_and_the_next_is_read(text: str, field: str | None) -> None:
    rows = ndjson(line() + text.replace("\n", "") + "\n" + line(external_ref="job-2"))
    assert wrong(rows) == [(2, field)]
    assert rows.row(2).external_ref == "job-2"


def test_a_line_of_another_encoding_is_named() -> None:
    rows = ndjson(line().encode() + line(note="B\u00fcro").encode().replace(b"\\u00fc", b"\xfc"))
    assert wrong(rows) == [(2, None)]
    assert "UTF-8" in rows.faults[1][0].reason


def test_a_line_of_json_that_never_ends_is_refused_before_it_is_held() -> None:
    reader = NdjsonReader(Rows(lined=True))
    for _ in range(MAX_LINE_BYTES // 1024):
        read(reader.feed(b"x" * 1024))
    with pytest.raises(InvalidField, match="line 1: is longer"):
        read(reader.feed(b"x" * 1024))


@given(seed=st.integers(0, 2**32), size=st.integers(1, 40))
@settings(max_examples=example_count(40))
def test_how_a_file_is_cut_into_pieces_changes_nothing(seed: int, size: int) -> None:
    chance = random.Random(seed)  # noqa: S311 — no secret comes of it
    notes = chance.choices(["", "ü", '"a, ""b"""', "x" * 30], k=8)
    text = HEADER + "".join(f"{OWNER},2026-03-0{n + 1},apollo,6{n},job-{n},{note}\r\n" for n, note in enumerate(notes))
    data = b"\xef\xbb\xbf" + text.encode()
    whole = csv(data)
    cut = csv(*(data[start : start + size] for start in range(0, len(data), size)))
    assert [cut.row(index) for index in range(len(cut))] == [whole.row(index) for index in range(8)]
    assert [cut.line(index) for index in range(8)] == list(range(2, 10))


@given(data=st.binary(max_size=300))
@settings(max_examples=example_count(150))
def test_no_bytes_break_a_reader(data: bytes) -> None:
    for kind in (CsvReader, NdjsonReader):
        for pieces in ([data], [HEADER.encode() + data], [HEADER.encode(), data]):
            reader = kind(Rows(lined=True))
            with suppress(InvalidField):
                for piece in pieces:
                    read(reader.feed(piece))
                read(reader.end())


async def test_json_that_one_reader_can_just_read_and_the_next_cannot_is_told_to_be_nested_too_deeply() -> None:
    for depth in range(700, 1_100):
        with suppress(MalformedRequest):
            assert len(await rows_of_json(b'{"rows":[' + b"[" * depth + b"]" * depth + b"]}")) == 1
