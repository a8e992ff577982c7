"""Rows written as JSON objects: those of a JSON body, and for `uploads_ndjson` those of lines. Pure: owns no state."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from service.errors import BadInput, InvalidField, MalformedRequest
from service.pacing import paced
from service.places import FieldError
from service.timesheets.upload_rows import Rows
from service.web.http.bodies import TOO_DEEP, read_body
from service.web.http.parameters import parse_uuid
from service.web.http.wrong_fields import decode_valid_members
from service.web.uploads.uploads_shapes import MAX_ROWS_OF_JSON, UploadRow, row_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Upload(msgspec.Struct, forbid_unknown_fields=True):
    rows: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MAX_ROWS_OF_JSON)]


async def rows_of_json(raw: bytes) -> Rows:
    """The rows of `{"rows": [...]}`; one that is wrong is a fault of its own, and the next may be good. Raises
    MalformedRequest and InvalidField for what is no such body."""
    found = Rows()
    read: _Upload = read_body(raw, _Upload, distinct=False)
    try:
        json.loads(raw, object_pairs_hook=_one_list)
    except RecursionError:
        raise MalformedRequest(TOO_DEEP) from None
    async for row in paced(read.rows):
        put_row(found, bytes(row), called="The row")
    return found


def put_row(rows: Rows, raw: bytes, line: int = 0, *, called: str) -> None:
    """One JSON object into `rows`, with every field of it that is wrong. Raises InvalidField when there are too many
    rows."""
    explained = rows.tells_of_next
    try:
        row = row_of(read_body(raw, UploadRow, explained=explained))
    except InvalidField as error:
        if not explained:
            rows.add_wrong([], {}, line)
            return
        wrong = [field if field.field != "body" else FieldError("", field.message) for field in error.fields]
        known = decode_valid_members(raw, UploadRow)
        rows.add_wrong(*_judged(wrong, known), line)
    except BadInput as error:
        rows.add_wrong([FieldError("", error.public.replace("The body", called))], {}, line)
    else:
        rows.add(row, line)


def _judged(wrong: Sequence[FieldError], known: dict[str, Any]) -> tuple[list[FieldError], dict[str, Any]]:
    """The owner is a text until it is read as an id."""
    found = list(wrong)
    if "owner" in known:
        try:
            known["owner"] = parse_uuid(known["owner"], "owner")
        except InvalidField as error:
            del known["owner"]
            found += [field for field in error.fields if field not in found]
    return found, known


def _one_list(pairs: list[tuple[str, Any]]) -> None:
    if [name for name, _ in pairs].count("rows") > 1:
        raise InvalidField(FieldError("rows", "stands twice in one object"))
