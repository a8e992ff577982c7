"""The formats of an export: JSON Lines, CSV, OCSF and Parquet. Pure: rows in, bytes out.

JSON Lines contain the record's exact bytes, so each line can be checked against its leaf hash; the other formats are
views. In every format a position whose record was removed has a row that says so.
"""

from __future__ import annotations

import base64
import csv
import io
from typing import TYPE_CHECKING, Protocol

import msgspec

from service.audit import export_ocsf
from service.audit.export_parquet import Parquet
from service.audit.sealed_rows import MISSING
from service.csv_cells import escape_formula
from service.log.insert import COLUMNS
from service.log.record import canonical_json, read_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from service.audit.sealed_rows import SealedRow


class Writer(Protocol):
    """Writes an export: `start` once, `rows` for each batch, `end` once."""

    media_type: str

    def start(self) -> bytes: ...
    def rows(self, rows: Sequence[SealedRow]) -> bytes: ...
    def end(self) -> bytes: ...


class JsonLines:
    """JSON Lines; `encode` writes the line of a row."""

    media_type = "application/x-ndjson"

    def __init__(self, encode: Callable[[SealedRow], bytes]) -> None:
        self._encode = encode

    def start(self) -> bytes:
        return b""

    def rows(self, rows: Sequence[SealedRow]) -> bytes:
        return b"".join(map(self._encode, rows))

    def end(self) -> bytes:
        return b""


class Csv:
    """RFC 4180 with the search columns. It begins with a byte order mark, so that spreadsheets read UTF-8. An
    apostrophe precedes a cell that a spreadsheet would execute."""

    # Litestar adds the charset.
    media_type = "text/csv"

    def start(self) -> bytes:
        return b"\xef\xbb\xbf" + _encode_csv([["position", "uid", "kind", *COLUMNS, "leaf"]])

    def rows(self, rows: Sequence[SealedRow]) -> bytes:
        return _encode_csv(
            [
                [
                    row.position,
                    row.uid,
                    MISSING if row.missing else row.columns["kind"],
                    *(_format_cell(row.columns[name]) for name in COLUMNS),
                    ((row.sealed if row.missing else row.leaf) or b"").hex(),
                ]
                for row in rows
            ]
        )

    def end(self) -> bytes:
        return b""


FORMATS: Mapping[str, Callable[[], Writer]] = {
    "jsonl": lambda: JsonLines(_encode_line),
    "csv": Csv,
    "ocsf": lambda: JsonLines(export_ocsf.encode_line),
    "parquet": Parquet,
}
FILE_NAMES: Mapping[str, str] = {
    "jsonl": "audit.jsonl",
    "csv": "audit.csv",
    "ocsf": "audit.ocsf.jsonl",
    "parquet": "audit.parquet",
}


def _encode_line(row: SealedRow) -> bytes:
    """`{"position", "leaf", "record"}`: `record` is the exact bytes; the SHA-256 of a zero byte and these is the leaf.

    Altered bytes that are not a record any more are in `bytes`, as base64, and `record` is null: they could contain
    anything, even line ends. A missing record has the leaf that was sealed.
    """
    if row.body is not None and _is_record(row.body):
        return b'{"position":%d,"leaf":"%s","record":%s}\n' % (row.position, (row.leaf or b"").hex().encode(), row.body)
    leaf = row.sealed if row.missing else row.leaf
    members: dict[str, object] = {"position": row.position, "leaf": leaf.hex() if leaf else None, "record": None}
    if row.body is None:
        members["missing"] = True
    else:
        members["bytes"] = base64.b64encode(row.body).decode()
    return msgspec.json.encode(members) + b"\n"


def _is_record(body: bytes) -> bool:
    """Whether these are the canonical bytes of a JSON object, which cannot contain a line end."""
    try:
        return canonical_json(read_body(body)) == body
    except (ValueError, RecursionError, OverflowError, TypeError):
        return False


def _format_cell(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return "" if value is None else str(value).lower()
    if isinstance(value, list):
        return _join_lines(escape_formula(" ".join(str(item) for item in value)))
    return _join_lines(escape_formula(str(value)))


def _join_lines(text: str) -> str:
    """The text on one line, so that a broken download can be cut after a complete record."""
    return " ".join(text.splitlines())


def _encode_csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
