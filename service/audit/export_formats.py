"""What an export is written as: JSON Lines, CSV, OCSF or Parquet. Pure: owns no state; rows in, bytes out.

JSON Lines carry the record's exact bytes, so each line can be held against its leaf hash; the other formats are views.
"""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from service.audit.columns import moment
from service.audit.export_ocsf import Ocsf
from service.audit.export_parquet import Parquet
from service.audit.writing import COLUMNS
from service.csv_cells import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from service.audit.sealed_rows import SealedRow


class Writer(Protocol):
    """Bytes of an export in their order: `start` once, `rows` for each piece, `end` once."""

    media_type: str

    def start(self) -> bytes: ...
    def rows(self, piece: Sequence[SealedRow]) -> bytes: ...
    def end(self) -> bytes: ...


class JsonLines:
    """`{"position", "leaf", "record"}`: the record as its very bytes, whose SHA-256 behind a zero byte is the leaf."""

    media_type = "application/x-ndjson"

    def start(self) -> bytes:
        return b""

    def rows(self, piece: Sequence[SealedRow]) -> bytes:
        return b"".join(
            b'{"position":%d,"leaf":"%s","record":%s}\n'
            % (row.position, (row.leaf or b"").hex().encode(), row.body or b"")
            for row in piece
        )

    def end(self) -> bytes:
        return b""


class Csv:
    """RFC 4180 with the columns that the log is searched by. A byte order mark tells spreadsheets that it is UTF-8; a
    cell that one of them would execute begins with an apostrophe."""

    media_type = "text/csv; charset=utf-8"

    def start(self) -> bytes:
        return b"\xef\xbb\xbf" + _csv([["position", "uid", "kind", *COLUMNS, "leaf"]])

    def rows(self, piece: Sequence[SealedRow]) -> bytes:
        return _csv(
            [
                [
                    row.position,
                    row.uid,
                    *(_cell(row.columns[name]) for name in ("kind", *COLUMNS)),
                    (row.leaf or b"").hex(),
                ]
                for row in piece
            ]
        )

    def end(self) -> bytes:
        return b""


FORMATS: Mapping[str, Callable[[], Writer]] = {"jsonl": JsonLines, "csv": Csv, "ocsf": Ocsf, "parquet": Parquet}
FILE_NAMES: Mapping[str, str] = {
    "jsonl": "audit.jsonl",
    "csv": "audit.csv",
    "ocsf": "audit.ocsf.jsonl",
    "parquet": "audit.parquet",
}


def _cell(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return "" if value is None else str(value).lower()
    if isinstance(value, list):
        return _line(harmless(" ".join(str(one) for one in value)))
    return moment(value) if isinstance(value, datetime) else _line(harmless(str(value)))


def _line(text: str) -> str:
    """In one line, so that an export that broke off can be cut behind a whole record."""
    return " ".join(text.splitlines())


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
