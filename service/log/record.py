"""A Record: the canonical bytes that the log keeps for ever, and the search copies derived from them. Pure.

The bytes are RFC 8785 JSON with a random nonce and are the Merkle leaf (RFC 9162 §2.1.1). They hold ids, never names
or free text: a text is kept beside them under a salted commitment, so that it can be erased while every proof stays
valid. Whatever Postgres would refuse is refused here, before a record joins others in one statement.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import msgspec
import rfc8785
from uuid_utils.compat import uuid7

from events.envelope import TYPES
from service.errors import LogUnavailable
from service.log.columns import columns, moment
from service.log.merkle import leaf

if TYPE_CHECKING:
    from service.log.columns import Column

LARGEST_BODY = 65_535
DEEPEST = 12
# Beyond it JSON's readers may lose digits (RFC 8785 section 3.2.2.3).
LARGEST_INTEGER = 2**53 - 1
OURS = frozenset({"v", "uid", "kind", "nonce", "commitments"})


class Kind(StrEnum):
    """What a record tells of. ACCESS is a decision about reading the log itself."""

    DECISION = "decision"
    CHANGE = "change"
    POLICY = "policy"
    DIRECTORY = "directory"
    ACCESS = "access"
    SYSTEM = "system"


PUBLISHED = frozenset({Kind.CHANGE, Kind.POLICY, Kind.DIRECTORY})


@dataclass(frozen=True, slots=True)
class Text:
    """A free text beside the log; `salt` has 16 bytes. The record holds `commitment(salt, value)` under `field`."""

    field: str
    salt: bytes
    value: str


@dataclass(frozen=True, slots=True)
class Record:
    """A checked record that the log will take: `body` are its canonical bytes, `leaf` their RFC 9162 leaf hash."""

    uid: UUID
    kind: Kind
    body: bytes
    leaf: bytes
    columns: Mapping[str, Column]
    texts: tuple[Text, ...] = ()

    @classmethod
    def make(
        cls, kind: Kind, body: Mapping[str, object], texts: Mapping[str, str] | None = None, *, uid: UUID | None = None
    ) -> Record:
        """Complete `body` with version, uid (UUIDv7 unless given), kind, nonce and commitments to `texts`.

        UUIDs, aware datetimes and sets in `body` are written as strings and sorted lists. Raises LogUnavailable, whose
        cause names the member but never its value, for anything that the log could not keep: a record that cannot be
        written means that nothing may be answered.
        """
        if reserved := OURS & body.keys():
            raise LogUnavailable(cause=f"record: {', '.join(sorted(reserved))} belongs to the log")
        uid = uid or uuid7()
        kept = tuple(Text(name, secrets.token_bytes(16), _text(name, value)) for name, value in (texts or {}).items())
        whole = cast("dict[str, object]", _plain(body, "body", DEEPEST))
        whole |= {"v": 1, "uid": str(uid), "kind": kind.value, "nonce": secrets.token_hex(16)}
        if kept:
            whole["commitments"] = {one.field: commitment(one.salt, one.value).hex() for one in kept}
        _check_shape(kind, whole)
        try:
            canonical = canonical_json(whole)
            derived = columns(whole)
        except ValueError as error:
            raise LogUnavailable(cause=f"record: {type(error).__name__}: {error}") from error
        if len(canonical) > LARGEST_BODY:
            raise LogUnavailable(cause=f"record: {len(canonical)} bytes are more than {LARGEST_BODY}")
        return cls(uid, kind, canonical, leaf(canonical), derived, kept)


def canonical_json(value: dict[str, object]) -> bytes:
    """RFC 8785 bytes of what `_plain` made, where every name is ASCII and every number an integer.

    Then its rules are those of a sorted, compact encoding, which msgspec writes forty times faster than rfc8785; names
    beyond ASCII are sorted by UTF-16 there and by code point here, so they go the long way.
    """
    if _ascii_names(value):
        return _ENCODER.encode(value)
    return rfc8785.dumps(cast("Any", value))


DAMAGED = {"damaged": "The bytes of this record were altered and cannot be read; a proof bundle shows what was sealed"}
_ENCODER = msgspec.json.Encoder(order="deterministic")


def _ascii_names(value: object) -> bool:
    if type(value) is dict:
        return all(name.isascii() and _ascii_names(one) for name, one in value.items())
    return type(value) is not list or all(_ascii_names(one) for one in value if type(one) in {dict, list})


def commitment(salt: bytes, value: str) -> bytes:
    """What a record holds instead of a free text. 0x02 keeps it apart from leaves (0x00) and tree nodes (0x01)."""
    return hashlib.sha256(b"\x02" + salt + value.encode()).digest()


def read_body(body: bytes) -> dict[str, object]:
    """The members of a record's bytes. Raises ValueError or RecursionError for bytes that are no JSON object in UTF-8,
    or hold what could not be written again, such as half of a surrogate pair."""
    found = msgspec.json.decode(body)
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error for all
    return found


def shown_body(body: bytes) -> dict[str, object]:
    """The members of a stored record's bytes, for people to read; of bytes that somebody made unreadable, that alone:
    one damaged record hides no others."""
    for text in (_as_it_is, _without_surrogates):
        with suppress(ValueError, RecursionError):
            found = read_body(text(body))
            # What lies deeper than any record could not be written into an answer either.
            if _lies_within(found, DEEPEST):
                return found
    return dict(DAMAGED)


def _as_it_is(body: bytes) -> bytes:
    return body


def _without_surrogates(body: bytes) -> bytes:
    """The same JSON with a question mark for what no text can hold."""
    return json.dumps(json.loads(body), ensure_ascii=False).encode(errors="replace")


def _lies_within(value: object, depth: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth >= 0 and all(_lies_within(part, depth - 1) for part in parts)


def _check_shape(kind: Kind, body: Mapping[str, object]) -> None:
    """What search and the feed rely on: every record has a time; a published one a known type and a subject."""
    if body.get("decided_at") is None:
        raise LogUnavailable(cause="record: decided_at is missing")
    if kind in PUBLISHED:
        change, resource = body.get("change"), body.get("resource")
        if not isinstance(change, dict) or change.get("type") not in TYPES:
            raise LogUnavailable(cause="record: change.type is no type of event")
        if not isinstance(resource, dict) or not isinstance(resource.get("id"), str) or not resource["id"]:
            raise LogUnavailable(cause="record: resource.id is missing")


def _plain(value: object, path: str, depth: int) -> object:
    """The same in JSON's own types. A float has no place in a record."""
    if depth < 0:
        raise LogUnavailable(cause=f"record: {path} lies too deep")
    match value:
        case None | bool() | int():
            return _number(path, value)
        case str():
            return _text(path, value)
        case UUID() | datetime():
            return str(value) if isinstance(value, UUID) else _written(value, path)
        case Mapping():
            return {
                _text(f"a name in {path}", name): _plain(one, f"{path}.{name}", depth - 1)
                for name, one in value.items()
            }
        case AbstractSet():
            return sorted((_plain(one, path, depth - 1) for one in value), key=str)
        case Sequence() if not isinstance(value, bytes | bytearray | memoryview):
            return [_plain(one, f"{path}[{place}]", depth - 1) for place, one in enumerate(value)]
        case _:
            raise LogUnavailable(cause=f"record: {path} is a {type(value).__name__}")


def _text(path: str, value: object) -> str:
    """A string that both JSON and Postgres can hold: no NUL, no lone surrogate."""
    if not isinstance(value, str):
        raise LogUnavailable(cause=f"record: {path} is not a string")
    if "\x00" in value:
        raise LogUnavailable(cause=f"record: {path} holds a NUL")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise LogUnavailable(cause=f"record: {path} holds a lone surrogate") from error
    return str.__str__(value)


def _number(path: str, value: int | None) -> int | None:
    if value is None or isinstance(value, bool):
        return value
    if abs(value) > LARGEST_INTEGER:
        raise LogUnavailable(cause=f"record: {path} is an integer beyond 2**53")
    return int(value)


def _written(value: datetime, path: str) -> str:
    if value.tzinfo is None:
        raise LogUnavailable(cause=f"record: {path} has no time zone")
    return moment(value.astimezone(UTC))
