"""A Record: the canonical bytes that are sealed in the log, and the search copies derived from them. Pure.

The bytes are RFC 8785 JSON with a random nonce; they are the input of the Merkle leaf (RFC 9162 §2.1.1). They hold ids,
never names or free text. A free text is stored beside them and committed to with a salt, so that it can be erased while
every proof stays valid. Values that Postgres would refuse are refused here, before records share a statement.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol, cast
from uuid import UUID

import msgspec
import rfc8785

from events.envelope import TYPES
from service.errors import LogUnavailable
from service.ids import make_id
from service.log.columns import MAX_WORD_CHARS, WORDS, format_time, search_columns
from service.log.merkle import leaf_hash
from service.log.packing import MAX_BODY_BYTES, unpack
from service.values import Struct

if TYPE_CHECKING:
    from service.log.columns import Column

MAX_DEPTH = 12
# Of a stored record: deeper JSON was altered, and could not be encoded into a response.
MAX_READABLE_DEPTH = 50
# JSON readers may lose digits of larger integers (RFC 8785 §3.2.2.3).
MAX_INTEGER = 2**53 - 1
# Members that the log adds itself.
RESERVED = frozenset({"v", "uid", "kind", "nonce", "commitments"})


class Kind(StrEnum):
    """The kind of a record. ACCESS is a decision about reading the log itself."""

    DECISION = "decision"
    CHANGE = "change"
    POLICY = "policy"
    DIRECTORY = "directory"
    ACCESS = "access"
    SYSTEM = "system"


class TypedMembers(Protocol):
    """The members of a record as a msgspec struct."""

    def plain(self) -> dict[str, object]:
        """The members as JSON values, without RESERVED ones."""


PUBLISHED = frozenset({Kind.CHANGE, Kind.POLICY, Kind.DIRECTORY})


@dataclass(frozen=True, slots=True)
class Text:
    """A free text stored beside its record, which holds `commitment(salt, value)` under `field`. `salt` has 16
    bytes."""

    field: str
    salt: bytes
    value: str


class Record(Struct, frozen=True):
    """A record that was checked and can be appended: `body` is its canonical bytes, `leaf` their RFC 9162 leaf hash."""

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

        UUIDs and aware datetimes in `body` become strings, sets become sorted lists. Raises LogUnavailable for a value
        that the log cannot store; its cause names the member, never the value. The caller must then refuse the request.
        """
        if reserved := RESERVED & body.keys():
            raise LogUnavailable(cause=f"record: {', '.join(sorted(reserved))} is reserved for the log")
        uid = uid or make_id()
        committed = tuple(
            Text(name, secrets.token_bytes(16), _check_text(name, value)) for name, value in (texts or {}).items()
        )
        whole = cast("dict[str, object]", to_json(body, "body"))
        whole |= {"v": 1, "uid": str(uid), "kind": kind.value, "nonce": make_nonce()}
        if committed:
            whole["commitments"] = {text.field: commitment(text.salt, text.value).hex() for text in committed}
        _check_shape(kind, whole)
        try:
            canonical = canonical_json(whole)
            derived = search_columns(whole)
        except ValueError as error:
            raise LogUnavailable(cause=f"record: {type(error).__name__}: {error}") from error
        if len(canonical) > MAX_BODY_BYTES:
            raise LogUnavailable(cause=f"record: {len(canonical)} bytes are more than {MAX_BODY_BYTES}")
        return cls(uid, kind, canonical, leaf_hash(canonical), derived, committed)


def make_nonce() -> str:
    """A nonce, so that nobody can guess the bytes of a record from its leaf."""
    return secrets.token_hex(16)


def make_record(kind: Kind, uid: UUID, members: TypedMembers, columns: Mapping[str, Column]) -> Record:
    """A record of members whose types are known, with their search columns. The members must be in the order of their
    names and have `v`, `uid`, `kind` and `nonce`. What needs a closer look is left to `Record.make`, which raises."""
    try:
        encoded = _ENCODER.encode(members)
    except UnicodeEncodeError as error:
        raise LogUnavailable(cause="record: a member contains a lone surrogate") from error
    if (
        len(encoded) > MAX_BODY_BYTES
        or not encoded.isascii()
        or b"\\u0000" in encoded
        or _has_long_word(columns)
        or _HUGE_NUMBER.search(encoded)
    ):
        return Record.make(kind, members.plain(), uid=uid)
    return Record(uid, kind, encoded, leaf_hash(encoded), columns)


def _has_long_word(columns: Mapping[str, Column]) -> bool:
    return max(map(len, filter(None, _read_words(columns))), default=0) > MAX_WORD_CHARS


def canonical_json(value: dict[str, object]) -> bytes:
    """The RFC 8785 bytes of a JSON object without floats.

    If every name is ASCII, they are its sorted, compact encoding, which msgspec writes forty times faster than rfc8785.
    Other names are left to rfc8785: it sorts by UTF-16 code units, msgspec by code points.
    """
    encoded = _ENCODER.encode(value)
    if encoded.isascii() or _has_ascii_names(value):
        return encoded
    return rfc8785.dumps(cast("Any", value))


# Each is a text or None.
_read_words = itemgetter(*WORDS)
DAMAGED = {"damaged": "The bytes of this record were altered and cannot be read; a proof bundle shows what was sealed"}
_ENCODER = msgspec.json.Encoder(order="deterministic")
# A number of sixteen or more digits, after a colon, may be beyond 2**53. A text may look like one, too.
_HUGE_NUMBER = re.compile(rb":[-0-9][0-9]{15}")


def _has_ascii_names(value: object) -> bool:
    if type(value) is dict:
        return all(name.isascii() and _has_ascii_names(member) for name, member in value.items())
    return type(value) is not list or all(_has_ascii_names(item) for item in value if type(item) in {dict, list})


def commitment(salt: bytes, value: str) -> bytes:
    """The salted hash that a record holds for a free text. 0x02 separates it from leaves (0x00) and nodes (0x01)."""
    return hashlib.sha256(b"\x02" + salt + value.encode()).digest()


def read_body(body: bytes) -> dict[str, object]:
    """The members of a record's bytes, packed or not. Raises ValueError or RecursionError for bytes that are not a JSON
    object in UTF-8, or that hold a lone surrogate."""
    found = msgspec.json.decode(unpack(body))
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 - callers catch one error
    return found


class _Committing(msgspec.Struct, frozen=True):
    # In an altered record it may be anything.
    commitments: Any = None


def readable_body(body: bytes) -> tuple[bytes, frozenset[str]]:
    """A stored record's bytes as JSON for people to read, and the names of the texts that it commits to. Bytes that
    were altered and cannot be read give DAMAGED, so that one damaged record does not hide a page of others."""
    for replace_surrogates in (False, True):
        with suppress(ValueError, RecursionError):
            readable = _replace_surrogates(body) if replace_surrogates else body
            # msgspec checks the syntax of members that it skips, but not that they are UTF-8.
            if not readable.isascii():
                readable.decode()
            committed = _COMMITTING.decode(readable).commitments
            # Mostly there are so few brackets that nothing can be nested too deep.
            few = readable.count(b"{") + readable.count(b"[") <= MAX_READABLE_DEPTH
            if few or _is_within_depth(read_body(readable), MAX_READABLE_DEPTH):
                return readable, frozenset(committed if isinstance(committed, dict) else ())
    return _ENCODER.encode(DAMAGED), frozenset()


_COMMITTING = msgspec.json.Decoder(_Committing)


def _replace_surrogates(body: bytes) -> bytes:
    """The same JSON with a question mark for each lone surrogate."""
    return json.dumps(json.loads(body), ensure_ascii=False).encode(errors="replace")


def _is_within_depth(value: object, depth: int) -> bool:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth >= 0 and all(_is_within_depth(member, depth - 1) for member in members)


def _check_shape(kind: Kind, body: Mapping[str, object]) -> None:
    """Check what search and the feed rely on: every record has a time, a published one a known type and a subject."""
    if body.get("decided_at") is None:
        raise LogUnavailable(cause="record: decided_at is missing")
    if kind in PUBLISHED:
        change, resource = body.get("change"), body.get("resource")
        if not isinstance(change, dict) or change.get("type") not in TYPES:
            raise LogUnavailable(cause="record: change.type is not an event type")
        if not isinstance(resource, dict) or not isinstance(resource.get("id"), str) or not resource["id"]:
            raise LogUnavailable(cause="record: resource.id is missing")


def to_json(value: object, path: str, depth: int = MAX_DEPTH) -> object:
    """The same value in JSON types; `path` is its place in the record. A record holds no floats."""
    if depth < 0:
        raise LogUnavailable(cause=f"record: {path} is nested too deep")
    match value:
        case None | bool() | int():
            return _check_number(path, value)
        case str():
            return _check_text(path, value)
        case UUID() | datetime():
            return str(value) if isinstance(value, UUID) else _format_aware(value, path)
        case Mapping():
            return {
                _check_text(f"a name in {path}", name): member
                if _is_plain(member, depth - 1)
                else to_json(member, f"{path}.{name}", depth - 1)
                for name, member in value.items()
            }
        case AbstractSet():
            return sorted((to_json(member, path, depth - 1) for member in value), key=str)
        case Sequence() if not isinstance(value, bytes | bytearray | memoryview):
            return [to_json(item, f"{path}[{index}]", depth - 1) for index, item in enumerate(value)]
        case _:
            raise LogUnavailable(cause=f"record: {path} is a {type(value).__name__}")


def _is_plain(value: object, depth: int) -> bool:
    """Whether `to_json` would return an equal value. That is the usual case, which needs no path for an error.

    The list comprehensions take half the time of generators."""
    if depth < 0:
        return False
    if type(value) is str:
        plain = value.isascii() and "\x00" not in value
    elif type(value) is dict:
        names = all([type(name) is str and name.isascii() and "\x00" not in name for name in value])  # noqa: C419 - see above
        plain = names and all([_is_plain(member, depth - 1) for member in value.values()])  # noqa: C419 - see above
    elif type(value) is list:
        plain = all([_is_plain(item, depth - 1) for item in value])  # noqa: C419 - see above
    elif type(value) is int:
        plain = -MAX_INTEGER <= value <= MAX_INTEGER
    else:
        plain = value is None or type(value) is bool
    return plain


def _check_text(path: str, value: object) -> str:
    """A string that both JSON and Postgres can hold: no NUL, no lone surrogate."""
    if not isinstance(value, str):
        raise LogUnavailable(cause=f"record: {path} is not a string")
    if "\x00" in value:
        raise LogUnavailable(cause=f"record: {path} contains a NUL")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise LogUnavailable(cause=f"record: {path} contains a lone surrogate") from error
    return str.__str__(value)


def _check_number(path: str, value: int | None) -> int | None:
    if value is None or isinstance(value, bool):
        return value
    if abs(value) > MAX_INTEGER:
        raise LogUnavailable(cause=f"record: {path} is an integer beyond 2**53")
    return int(value)


def _format_aware(value: datetime, path: str) -> str:
    if value.tzinfo is None:
        raise LogUnavailable(cause=f"record: {path} has no time zone")
    return format_time(value.astimezone(UTC))
