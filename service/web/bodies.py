"""Request bodies: strict JSON straight into the shape that a route takes, every complaint with the field's path.

Pure: owns no state. Litestar by itself turns "60" into 60 and takes the last of two members with one name; a body that
two readers can understand differently is refused here instead (RFC 8259 section 4 leaves it open).
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec
from litestar import Request

from service.errors import InvalidField, MalformedRequest
from service.places import FieldError

# How msgspec ends a complaint: where in the document it stands.
_PLACE: Final = re.compile(r"^(?P<what>.*?)(?: - at (?:`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)
# Complaints about a member that is missing or not known name the object it should be in, and the member in the text.
_MEMBER: Final = re.compile(r"^Object (?P<how>missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)
_LONGEST: Final = 200


class JsonRequest(Request[Any, Any, Any]):
    """A request whose body is read strictly; Litestar calls `json` to fill a handler's `data`."""

    async def json(self) -> Any:
        """The body in the shape of the handler's `data`, or as it is if that is bytes. Raises MalformedRequest and
        InvalidField."""
        field = self.route_handler.parsed_data_field
        shape = Any if field is None else field.annotation
        if shape is bytes:
            return await self.body()
        return read_body(await self.body(), shape)


def read_body(raw: bytes, shape: Any) -> Any:
    """JSON bytes as an instance of `shape`. Raises MalformedRequest for what is no JSON, InvalidField for what does not
    fit, with paths such as `rows[3].minutes`, and for a member that stands twice."""
    try:
        read = msgspec.json.decode(raw, type=shape)
        json.loads(raw, object_pairs_hook=_members)
    except msgspec.ValidationError as error:
        raise InvalidField(_field_of(str(error))) from None
    except UnicodeDecodeError:
        raise MalformedRequest("The body is not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedRequest(f"The body is not JSON that can be read: {str(error)[:_LONGEST]}") from None
    except _Twice as twice:
        raise InvalidField(FieldError(twice.name[:_LONGEST], "stands twice in one object")) from None
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


def _field_of(complaint: str) -> FieldError:
    """A complaint of msgspec as one of ours: the path without its root, and what is wanted there."""
    match = _PLACE.match(complaint)
    what, path = (match["what"], (match["path"] or "").removeprefix(".")) if match else (complaint, "")
    member = _MEMBER.match(what)
    if member is None:
        return FieldError(path or "body", what[:_LONGEST])
    name = member["name"][:_LONGEST]
    says = "is missing" if member["how"] == "missing required" else "is not a field of this body"
    return FieldError(f"{path}.{name}" if path else name, says)
