"""Answers that are files, or may be: their media types, each with an example, by their paths. Pure: owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LINES: Final = "application/x-ndjson"
OCTETS: Final = "application/octet-stream"
PARQUET: Final = "application/vnd.apache.parquet"
BINARY: Final = frozenset({OCTETS, PARQUET})
_UID: Final = "0198c0de-4f2a-7000-8000-00000000002a"
_SOMEBODY: Final = "0198c0de-0000-7000-8000-000000000001"
_SHEET: Final = "0198c0de-4f2a-7000-8000-00000000002b"
_REQUEST: Final = "0198c0de-4f2a-7000-8000-00000000002c"
DIGEST: Final = "1c9a6f0e2d4b8a7c5e3f1d0b9a8c7e6f5d4c3b2a190817263544536271809fae"
_HASH: Final = "mVgDLHXeFRSp8KJCnzbHiSIeRpy8wKCyIVVwmQf1IbA="
CHECKPOINT: Final = (
    f"timesheets.example.com/audit/2026a\n157\n{_HASH}\n\n\u2014 timesheets.example.com/audit/2026a"
    " An2YWub5k0k/Ty5Pg2CnCzHXQ08DSKL8keBvgHMW2isv43CDEGVa7FfyLPb+teZjK+nOnRpvgj1A+E5ufC4MrWWCIgQ=\n"
)
# Where the answer says how the file may be called, and which part of the log it holds.
NAMED: Final = ("/v1/reports/hours", "/v1/audit/export", "/v1/audit/bundle", "/v1/audit/records/{record_id}/proof")
STRETCHES: Final = ("/v1/audit/export", "/v1/audit/bundle")

FILES: Final[Mapping[str, Mapping[str, str]]] = {
    "/v1/reports/hours": {
        "text/csv": "team,name,minutes,sheets\r\n0198c0de-0000-7000-8000-000000000007,Atlas,930,2\r\n,,420,1\r\n"
    },
    "/v1/audit/export": {
        LINES: f'{{"position":7,"leaf":"{DIGEST}","record":{{"uid":"{_UID}","kind":"decision","v":1}}}}\n',
        "text/csv": "\ufeffposition,uid,kind,decision_uid,decided_at,person_id,client_id,action,resource_kind,"
        "resource_id,owner_id,outcome,applied,reason,rules,policy_version,request_id,returned,leaf\r\n"
        f"7,{_UID},decision,,2026-11-27T16:49:40.673417Z,{_SOMEBODY},hours-app,approve,timesheet,{_SHEET},{_SOMEBODY},"
        f"deny,,deny-rule,never-own-hours,1,{_REQUEST},,{DIGEST}\r\n",
        PARQUET: "(a Parquet file with the columns of the CSV)",
    },
    "/v1/audit/bundle": {
        LINES: '{"format":"timewarden-bundle/1","from":7,"to":8,"left":[],"right":[],"start":null,"pruned":null}\n'
        f'{{"position":7,"sealed":"{DIGEST}","uid":"{_UID}","leaf":"{DIGEST}","body":"e30="}}\n'
    },
    "/v1/log/checkpoint": {"text/plain": CHECKPOINT},
    "/v1/log/tile/{level}/{index}": {OCTETS: "(hashes of 32 bytes, 256 of them in a full tile)"},
    "/v1/log/tile/entries/{index}": {OCTETS: "(records, each behind its length in two bytes)"},
    "/v1/audit/records/{record_id}/proof": {
        "text/plain": f"c2sp.org/tlog-proof@v1\nindex 156\n{_HASH}\n\n{CHECKPOINT}"
    },
}
