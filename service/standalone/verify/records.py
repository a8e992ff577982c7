"""A record of a bundle: checks its bytes, search columns and texts against the hash in the tree. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

from .findings import MALFORMED, Fault, Report, require
from .notes import decode_base64
from .tree import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

Object: TypeAlias = dict[str, Any]

MEMBERS = {"position", "sealed", "uid", "leaf", "body", "columns", "texts"}
TEXT_MEMBERS = {"salt", "value"}
ERASED = "erased"
SALT_SIZE = 16
FROM_E000 = 0xEE
# The search columns of the log, and the path of each in the record's bytes.
COLUMNS = {
    "kind": "kind",
    "decision_uid": "decision",
    "decided_at": "decided_at",
    "person_id": "principal.person",
    "client_id": "principal.client",
    "action": "action",
    "resource_kind": "resource.kind",
    "resource_id": "resource.id",
    "owner_id": "resource.owner",
    "outcome": "outcome",
    "applied": "applied",
    "reason": "reason",
    "rules": "rules",
    "policy_version": "policy.version",
    "request_id": "request.id",
    "returned": "returned",
}
LISTS = {"rules", "returned"}
# Columns that a bundle leaves out where they are empty: older logs do not have them.
OPTIONAL_COLUMNS = {"actors": "principal.actors"}


class Line(NamedTuple):
    """A line of a bundle: the sealed hash, the stored bytes and their hash (`found`), and the parsed line
    (`members`)."""

    sealed: bytes | None
    body: bytes | None
    found: bytes | None
    members: Object


def decode_hex(text: str) -> bytes:
    """Decode lower-case hex. Raises ValueError and Fault."""
    data = bytes.fromhex(text)
    require(data.hex() == text, "hex that is not lower case")
    return data


def read_object(data: bytes, members: set[str] | None = None) -> Object:
    """Parse a JSON object without duplicate names and with no numbers other than integers. `members`, if given, are the
    exact names. Raises Fault."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse)
    except MALFORMED as error:
        raise Fault(f"not JSON: {type(error).__name__}") from None
    require(isinstance(found, dict), "not a JSON object")
    if members is not None and found.keys() != members:
        raise Fault(f"missing or unexpected members: {', '.join(sorted(members ^ found.keys()))}")
    return dict(found)


def read_line(data: bytes) -> Line:
    """Parse a line of a bundle and compute its hash. Raises Fault and the errors in MALFORMED."""
    members = read_object(data, MEMBERS)
    body = None if members["body"] is None else decode_base64(members["body"])
    require(type(members["position"]) is int, "its position is not an integer")
    rest = ("uid", "leaf", "columns", "texts")
    require(
        body is not None or all(members[name] is None for name in rest), "a record without a body has other members"
    )
    sealed = None if members["sealed"] is None else decode_hex(members["sealed"])
    return Line(sealed, body, None if body is None else leaf_hash(body), members)


def check_record(line: Line, body: Object, report: Report) -> Iterator[str]:
    """Check a record, whose parsed bytes are `body`, except for its hash. Yields a sentence for each fault, beginning
    with the member. Counts texts. Raises the errors in MALFORMED."""
    members, data, found = line.members, line.body or b"", line.found or b""
    if members["leaf"] != found.hex():
        yield "leaf: the leaf column is not the hash of the bytes"
    if not is_canonical(body, data):
        yield "body: not canonical JSON (RFC 8785)"
    if members["uid"] != body.get("uid"):
        yield f"uid: the column has {members['uid']}, the bytes have {body.get('uid')}"
    yield from _check_columns(members["columns"], body)
    yield from _check_texts(members["texts"], body.get("commitments", {}), report)


def list_erased(texts: Object) -> list[str]:
    """The names of the texts of a record that are erased."""
    return [name for name, text in texts.items() if text == ERASED]


def is_canonical(value: Object, data: bytes) -> bool:
    """Whether these bytes are the RFC 8785 encoding of the value. Without characters from U+E000 on, whose UTF-8 begins
    with EE, Python sorts names in the same order as RFC 8785."""
    if data.isascii() or max(data) < FROM_E000:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() == data
    return canonical(value).encode() == data


def canonical(value: Any) -> str:
    """The RFC 8785 encoding of a value without floats."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _check_columns(stored: Object, body: Object) -> Iterator[str]:
    wanted = {name: _at(body, path) for name, path in COLUMNS.items()}
    wanted |= {name: [] for name in LISTS if wanted[name] is None}
    wanted |= {name: held for name, path in OPTIONAL_COLUMNS.items() if (held := _at(body, path))}
    # Compare as text, since Python takes true for 1.
    if json.dumps(stored, sort_keys=True) == json.dumps(wanted, sort_keys=True):
        return
    for name in sorted(wanted.keys() | stored.keys()):
        if name not in wanted or name not in stored:
            yield f"column {name}: {'missing' if name in wanted else 'not known to this verifier'}"
        elif json.dumps(stored[name]) != json.dumps(wanted[name]):
            yield f"column {name}: the column has {json.dumps(stored[name])}, the bytes have {json.dumps(wanted[name])}"


def _at(body: Object, path: str) -> Any:
    found: Any = body
    for part in path.split("."):
        found = None if found is None else found.get(part)
    return found


def _check_texts(texts: Object, commitments: Object, report: Report) -> Iterator[str]:
    """Check texts against their commitments; a missing text must be marked as erased."""
    for name in sorted(commitments.keys() | texts.keys()):
        text = texts.get(name)
        if name not in commitments or text is None:
            yield f"text {name}: {'missing' if name in commitments else 'the bytes commit to no such text'}"
        elif text == ERASED:
            report.count("erased")
        elif text.keys() != TEXT_MEMBERS:
            yield f"text {name}: it must have the members salt and value only"
        else:
            salt, value = decode_hex(text["salt"]), text["value"].encode()
            report.count("texts")
            if len(salt) != SALT_SIZE or hashlib.sha256(b"\x02" + salt + value).hexdigest() != commitments[name]:
                yield f"text {name}: not the text that the bytes commit to"


def _unique(pairs: list[tuple[str, Any]]) -> Object:
    found = dict(pairs)
    require(len(found) == len(pairs), "duplicate name in an object")
    return found


def _refuse(number: str) -> NoReturn:
    raise Fault(f"{number} is not an integer")
