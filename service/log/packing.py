"""Packs the stored bytes of frequent records: allowed reads and lists, nine tenths of a log. Pure.

They are deflated (RFC 1951) with a dictionary of what such records have in common, which leaves a fifth. Every other
record is stored as its canonical bytes, which SQL can read. Whatever leaves the database, and what is sealed, are
always the canonical bytes.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from service.log.merkle import leaf_hash

if TYPE_CHECKING:
    from service.log.record import Record

MAX_BODY_BYTES = 65_535
# The first byte of a packed body. Canonical bytes begin with a brace.
PACKED = b"\x01"
# The same in SQL, of a row `r`.
IS_PACKED = "substr(r.body, 1, 1) = '\\x01'::bytea"
# What of a record that SQL searches in its bytes (record_query); such a record is not packed.
SEARCHED = b'"on_behalf_of":"'
# A window of 4 KiB holds the dictionary, and little memory makes the compressor cheap to copy for each record.
WINDOW_BITS, LEVEL, MEMORY_LEVEL = -12, 1, 5

# Never changed, since records are stored with it: another dictionary gets another first byte. What most records have
# comes last.
DICTIONARY = (
    b'"commitments":{"q":"","trace":"00-"question":{"kinds":["decision","access"]},"positions":{"since":null,"until":'
    b'null},"again":true,"also":["former":{"named":[],"others":1},"list-approvals","action":"approve","upload:entries"'
    b'"access","nonce":"application/"role:payroll","role:administrator","role:manager","role:auditor","auth_age":1'
    b'"methods":["mfa","pwd"],"acr":"urn:"kind":"machine","person":null,"state":"submitted","state":"approved",'
    b'"state":"rejected","state":"locked","audit-read","project-read","read-me","approve-team","approve-as-fallback",'
    b'"read-own","read-team","read-as-delegate","read-as-fallback","read-for-payroll","read-everything",'
    b'"/v1/approvals","/v1/me","/v1/projects","/v1/decisions","/v1/audit/records","/v1/timesheets/{timesheet_id}/history"'
    b'"approve:timesheets","create:timesheets","read:audit","read:timesheets","submit:timesheets","update:timesheets"'
    b'{"about":"kind","found":false,"looked":true},"facts":{"mfa":null,"recent_sign_in":null},"kind":"me",'
    b'"facts":{"acted_for_owner":null,"locked_by_asker":null,"mfa":true,"recent_sign_in":true},"relations":{},'
    b'"resource":{"id":null,"kind":"timesheet","owner":null,"state":null,"version":null},"returned":["'
    b'","route":"/v1/timesheets"},"asked":{"about":"list","found":false,"looked":true},"owner":false},'
    b'"delegate":true,"fallback":true,"importer":true,"manager":true,"owner":false},"rules":["read-team"],'
    b'{"action":"read","applied":null,"asked":{"about":"row","found":true,"looked":true},"decided_at":"2026-11-29T00:00:'
    b'00.000000Z","directory_revision":1,"facts":{"acted_for_owner":false,"locked_by_asker":false,"mfa":null,'
    b'"recent_sign_in":null},"kind":"decision","nonce":"0123456789abcdef","not_applied_because":null,"outcome":"allow",'
    b'"policy":{"digest":"","version":1},"principal":{"acr":null,"auth_age":null,"client":"hours-app","issuer":"main",'
    b'"kind":"user","methods":null,"person":"01","roles":[],"scopes":["create:timesheets","read:timesheets"],"token":"'
    b'"},"reason":"allowed","relations":{"delegate":false,"fallback":false,"importer":false,"manager":false,"owner":true},'
    b'"request":{"id":"01","method":"GET","route":"/v1/timesheets/{timesheet_id}"},"resource":{"id":"01","kind":'
    b'"timesheet","owner":"01","state":"draft","version":6},"returned":["01"],"rules":["read-own"],"uid":"01","v":1}'
)
_COMPRESSOR = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW_BITS, MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)


def pack(record: Record) -> bytes:
    """The bytes to store for a record."""
    is_read = record.columns["outcome"] == "allow" and record.columns["applied"] is None
    if not is_read or SEARCHED in record.body:
        return record.body
    compressor = _COMPRESSOR.copy()
    return PACKED + compressor.compress(record.body) + compressor.flush()


def unpack(stored: bytes) -> bytes:
    """The canonical bytes of a record. Stored bytes that were altered, so that they cannot be unpacked, are returned as
    they are."""
    if not stored.startswith(PACKED):
        return stored
    decompressor = zlib.decompressobj(WINDOW_BITS, DICTIONARY)
    try:
        # One byte more than a record may have, so that a longer one is noticed.
        body = decompressor.decompress(stored[1:], MAX_BODY_BYTES + 1)
    except zlib.error:
        return stored
    is_whole = decompressor.eof and not decompressor.unused_data and len(body) <= MAX_BODY_BYTES
    return body if is_whole else stored


def unpack_with_leaf(stored: bytes, stored_hash: bytes) -> tuple[bytes, bytes]:
    """The canonical bytes of a stored record, and their leaf hash. `stored_hash` is the hash that Postgres made of the
    stored bytes, which is the leaf if they are not packed. If it is not their hash, one of the two was altered: then it
    is returned, and is not the leaf that was sealed."""
    body = unpack(stored)
    is_as_stored = body is stored or leaf_hash(stored) != stored_hash
    return body, stored_hash if is_as_stored else leaf_hash(body)


def stored_leaf(stored: bytes, stored_hash: bytes) -> bytes:
    """The leaf hash of a stored record, as in `unpack_with_leaf`."""
    return unpack_with_leaf(stored, stored_hash)[1]
