"""Request bodies: strict JSON straight into the shape that a route takes, every complaint with the field's path.

Pure: owns no state. Litestar by itself turns "60" into 60 and takes the last of two members with one name; a body that
two readers can understand differently is refused here instead (RFC 8259 section 4 leaves it open).
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
from service.web.http.wrong_fields import wrong_fields

MISSING: Final = FieldError("body", "is missing")
UNEXPLAINED: Final = FieldError("body", "has another shape than it must have")
TOO_DEEP: Final = "The body is nested too deeply to be read"
EMPTY_FILE: Final = FieldError("body", "is an empty file")
_LONGEST: Final = 200


class JsonRequest(Request[Any, Any, Any]):
    """A request whose body is read strictly; Litestar calls `body` and `json` to fill a handler's `data`."""

    async def body(self) -> bytes:
        """All of it. Raises InvalidField if there has to be one and is none."""
        raw = await super().body()
        field = self.route_handler.parsed_data_field
        if not raw and field is not None and field.default is Empty:
            raise InvalidField(MISSING)
        return raw

    async def json(self) -> Any:
        """The body in the shape of the handler's `data`. Raises MalformedRequest and InvalidField."""
        field = self.route_handler.parsed_data_field
        return read_body(await self.body(), Any if field is None else field.annotation)


class DeferredBodyRequest(JsonRequest):
    """A request whose body may be large. The handler reads it, by `stream` or `read_whole`, after the caller is allowed
    to send one. Until then `data` is the value of `unread` in the route's `opt`."""

    async def body(self) -> bytes:
        """Something, since Litestar only asks whether there is a body."""
        return b" "

    async def json(self) -> Any:
        """What stands for a body that nobody has read yet."""
        return self.route_handler.opt["unread"]

    async def read_whole(
        self,
        most: int,
        says: str = "The request body may have {most} bytes at the most",
        none: FieldError = MISSING,
    ) -> bytes:
        """The body. Raises BodyTooLarge, which `says` so, and InvalidField with `none` if there is none."""
        raw = bytearray()
        async for part in self.stream():
            raw += part
            if len(raw) > most:
                raise BodyTooLarge(says.format(most=most))
        if not raw:
            raise InvalidField(none)
        return bytes(raw)


def read_body(raw: bytes, shape: Any, *, distinct: bool = True, explained: bool = True) -> Any:
    """JSON bytes as an instance of `shape`. Raises MalformedRequest for what is no JSON, InvalidField for what does not
    fit, with paths such as `items[3].version` if it is to be `explained`, and, if they must be `distinct`, for a member
    that stands twice."""
    if raw.startswith(BOM_UTF8):
        raise MalformedRequest("The body begins with a byte order mark; JSON has none (RFC 8259 section 8.1)")
    try:
        return _read(raw, shape, distinct=distinct, explained=explained)
    except UnicodeDecodeError:
        raise MalformedRequest("The body is not UTF-8") from None
    except RecursionError:
        raise MalformedRequest(TOO_DEEP) from None
    except msgspec.DecodeError as error:
        raise MalformedRequest(f"The body is not JSON that can be read: {str(error)[:_LONGEST]}") from None
    except _Twice as twice:
        raise InvalidField(FieldError(twice.name[:_LONGEST], "stands twice in one object")) from None


def _read(raw: bytes, shape: Any, *, distinct: bool, explained: bool) -> Any:
    try:
        read = msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError:
        raise InvalidField(*(wrong_fields(raw, shape) if explained else [UNEXPLAINED])) from None
    if distinct:
        json.loads(raw, object_pairs_hook=_members)
    return read


class _Twice(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _members(pairs: list[tuple[str, Any]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise _Twice(name)
        names.add(name)
