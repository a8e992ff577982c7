"""Request bodies: decodes JSON strictly into the type that a route takes, and names every wrong field by its path.

Pure: owns no state. Litestar alone turns "60" into 60 and keeps the last of two members with the same name. A body that
two readers could understand differently is refused here (RFC 8259 section 4 leaves it open).
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.types import Empty

from service.errors import BodyTooLarge, InvalidField, MalformedRequest
from service.places import FieldError
from service.web.http.wrong_fields import find_wrong_fields

MISSING: Final = FieldError("body", "is missing")
WRONG_SHAPE: Final = FieldError("body", "does not have the required structure")
TOO_DEEP: Final = "The body is nested too deeply"
EMPTY_FILE: Final = FieldError("body", "is an empty file")
_MAX_QUOTED_CHARS: Final = 200


class JsonRequest(Request[Any, Any, Any]):
    """A request whose body is read strictly; Litestar calls `body` and `json` to fill a handler's `data`."""

    async def body(self) -> bytes:
        """The whole body. Raises InvalidField if the route needs one and there is none."""
        raw = await super().body()
        field = self.route_handler.parsed_data_field
        if not raw and field is not None and field.default is Empty:
            raise InvalidField(MISSING)
        return raw

    async def json(self) -> Any:
        """The body as the type of the handler's `data`. Raises MalformedRequest and InvalidField."""
        field = self.route_handler.parsed_data_field
        return read_body(await self.body(), Any if field is None else field.annotation)


class DeferredBodyRequest(JsonRequest):
    """A request whose body may be large. The handler reads it, by `stream` or `read_whole`, after the caller is allowed
    to send one. Until then `data` is the value of `unread` in the route's `opt`."""

    async def body(self) -> bytes:
        """A stand-in: Litestar only checks that there is a body."""
        return b" "

    async def json(self) -> Any:
        """The stand-in for a body that is not read yet."""
        return self.route_handler.opt["unread"]

    async def read_whole(
        self,
        max_bytes: int,
        too_large: str = "The request body must not exceed {max_bytes} bytes",
        if_empty: FieldError = MISSING,
    ) -> bytes:
        """The body. Raises BodyTooLarge with the sentence `too_large`, and InvalidField with `if_empty`."""
        raw = bytearray()
        async for part in self.stream():
            raw += part
            if len(raw) > max_bytes:
                raise BodyTooLarge(too_large.format(max_bytes=max_bytes))
        if not raw:
            raise InvalidField(if_empty)
        return bytes(raw)


def read_body(raw: bytes, shape: Any, *, distinct: bool = True, explained: bool = True) -> Any:
    """Decode JSON into an instance of `shape`.

    Raises MalformedRequest if it is not JSON, and InvalidField if it does not fit: with paths such as
    `items[3].version` if `explained`, and for a member name that occurs twice if `distinct`.
    """
    if raw.startswith(BOM_UTF8):
        raise MalformedRequest("The body begins with a byte order mark; JSON has none (RFC 8259 section 8.1)")
    try:
        return _read(raw, shape, distinct=distinct, explained=explained)
    except UnicodeDecodeError:
        raise MalformedRequest("The body is not UTF-8") from None
    except RecursionError:
        raise MalformedRequest(TOO_DEEP) from None
    except msgspec.DecodeError as error:
        raise MalformedRequest(f"The body is not valid JSON: {str(error)[:_MAX_QUOTED_CHARS]}") from None
    except _DuplicateMember as duplicate:
        raise InvalidField(FieldError(duplicate.name[:_MAX_QUOTED_CHARS], "appears twice in one object")) from None


def _read(raw: bytes, shape: Any, *, distinct: bool, explained: bool) -> Any:
    try:
        read = msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError:
        raise InvalidField(*(find_wrong_fields(raw, shape) if explained else [WRONG_SHAPE])) from None
    if distinct:
        json.loads(raw, object_pairs_hook=_check_members)
    return read


class _DuplicateMember(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _check_members(pairs: list[tuple[str, Any]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise _DuplicateMember(name)
        names.add(name)
