"""A record of a bundle: its bytes, the copies beside them, its texts, judged against the hash in the tree. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

from .findings import MALFORMED, Fault, Report, need
from .notes import decoded
from .tree import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

Object: TypeAlias = dict[str, Any]

MEMBERS = {"position", "sealed", "uid", "leaf", "body", "columns", "texts"}
TEXT_MEMBERS = {"salt", "value"}
ERASED = "erased"
SALT_SIZE = 16
FROM_E000 = 0xEE
# What the log's table copies out of a record's bytes to search by, and where the bytes say it.
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


class Line(NamedTuple):
    """A line of a bundle: the hash that the tree holds there, and the bytes and hash of what the table holds."""

    sealed: bytes | None
    body: bytes | None
    found: bytes | None
    said: Object


def unhexed(text: str) -> bytes:
    """Hex in its one spelling."""
    data = bytes.fromhex(text)
    need(data.hex() == text, "hex in another spelling than lower case")
    return data


def read_object(data: bytes, members: set[str] | None = None) -> Object:
    """A JSON object: no name twice, no number but integers, and with `members` exactly these. Raises Fault."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse)
    except MALFORMED as error:
        raise Fault(f"this is not JSON: {type(error).__name__}") from None
    need(isinstance(found, dict), "this is not a JSON object")
    if members is not None and found.keys() != members:
        raise Fault(f"these members are missing or do not belong here: {', '.join(sorted(members ^ found.keys()))}")
    return dict(found)


def read_line(data: bytes) -> Line:
    """A line of a bundle, its hash taken, nothing judged yet. Raises Fault, and whatever MALFORMED lists."""
    said = read_object(data, MEMBERS)
    body = None if said["body"] is None else decoded(said["body"])
    need(type(said["position"]) is int, "its position is no integer")
    rest = ("uid", "leaf", "columns", "texts")
    need(body is not None or all(said[one] is None for one in rest), "something is said of a record that is not here")
    sealed = None if said["sealed"] is None else unhexed(said["sealed"])
    return Line(sealed, body, None if body is None else leaf_hash(body), said)


def judge(line: Line, body: Object, report: Report) -> Iterator[str]:
    """What is wrong with a record, whose bytes say `body`, beyond its place in the tree: a sentence for each fault,
    beginning with its member. Counts its texts. Raises whatever MALFORMED lists."""
    said, data, found = line.said, line.body or b"", line.found or b""
    if said["leaf"] != found.hex():
        yield "leaf: the copy of the leaf hash is not that of the bytes"
    if not is_canonical(body, data):
        yield "body: not canonical JSON (RFC 8785)"
    if said["uid"] != body.get("uid"):
        yield f"uid: the column says {said['uid']}, the bytes say {body.get('uid')}"
    yield from _columns(said["columns"], body)
    yield from _texts(said["texts"], body.get("commitments", {}), report)


def gone(texts: Object) -> int:
    """How many texts of a record are not there any more."""
    return sum(text == ERASED for text in texts.values())


def is_canonical(value: Object, data: bytes) -> bool:
    """Whether these bytes are RFC 8785 for the value. Below U+E000, whose UTF-8 begins with EE, names are in the same
    order for Python as for JSON."""
    if data.isascii() or max(data) < FROM_E000:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() == data
    return canonical(value).encode() == data


def canonical(value: Any) -> str:
    """RFC 8785, for values without floats: what json.loads gives back has one spelling."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _columns(stored: Object, body: Object) -> Iterator[str]:
    wanted = {name: _at(body, path) for name, path in COLUMNS.items()}
    wanted |= {name: [] for name in LISTS if wanted[name] is None}
    # As text, since for Python true is 1.
    if json.dumps(stored, sort_keys=True) == json.dumps(wanted, sort_keys=True):
        return
    for name in sorted(wanted.keys() | stored.keys()):
        if name not in wanted or name not in stored:
            yield f"column {name}: {'missing' if name in wanted else 'not known to this verifier'}"
        elif json.dumps(stored[name]) != json.dumps(wanted[name]):
            yield f"column {name}: it says {json.dumps(stored[name])}, the bytes say {json.dumps(wanted[name])}"


def _at(body: Object, path: str) -> Any:
    found: Any = body
    for part in path.split("."):
        found = None if found is None else found.get(part)
    return found


def _texts(texts: Object, commitments: Object, report: Report) -> Iterator[str]:
    """A text that is there is the one that was committed to; one that is not there counts as erased."""
    for name in sorted(commitments.keys() | texts.keys()):
        text = texts.get(name)
        if name not in commitments or text is None:
            yield f"text {name}: {'missing' if name in commitments else 'the bytes commit to no such text'}"
        elif text == ERASED:
            report.count("erased")
        elif text.keys() != TEXT_MEMBERS:
            yield f"text {name}: it has other members than salt and value"
        else:
            salt, value = unhexed(text["salt"]), text["value"].encode()
            report.count("texts")
            if len(salt) != SALT_SIZE or hashlib.sha256(b"\x02" + salt + value).hexdigest() != commitments[name]:
                yield f"text {name}: it is not the text that the bytes commit to"


def _unique(pairs: list[tuple[str, Any]]) -> Object:
    found = dict(pairs)
    need(len(found) == len(pairs), "a name appears twice in one object")
    return found


def _refuse(number: str) -> NoReturn:
    raise Fault(f"{number} is not an integer")
