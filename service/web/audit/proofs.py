"""Proofs for auditors: that a record is in the log (a C2SP tlog-proof file), and that the log only grew.

Owns no state. Fetching a proof is an access to the log, so it is authorized and recorded.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar import MediaType, Response, get
from litestar.params import FromPath, Parameter, QueryParameter
from msgspec import Meta

from service.audit import published_log
from service.errors import InvalidField
from service.places import FieldError
from service.web.audit.log_reading import read_log
from service.web.audit.shapes import CHECKPOINT, HASH
from service.web.http.operations import ROW, operation
from service.web.http.parameters import CurrentCaller, parse_uuid
from service.web.http.responses import make_response

if TYPE_CHECKING:
    from service.audit.published_log import ConsistencyProof
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection

TAG: Final = "Proofs"
MAX_SIZE: Final = 2**53 - 1


class ConsistencyBody(msgspec.Struct):
    """Proves that the log of `from` records is a prefix of the log of `to` records (RFC 9162 section 2.1.4.2)."""

    to: Annotated[int, Meta(description="The size of the later log, in records", ge=1, examples=[1024])]
    hashes: Annotated[
        list[Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]],
        Meta(
            description="The hashes of the proof, as base64",
            examples=[["3q2+7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]],
        ),
    ]
    checkpoint: Annotated[
        str,
        Meta(
            description="The checkpoint of size `to`, or the newest if none was signed for that size",
            examples=[CHECKPOINT],
        ),
    ]
    old: Annotated[int, Meta(description="The size of the earlier log, in records", ge=1, examples=[1000])] = (
        msgspec.field(name="from")
    )


def log_proof_routes(gate: Gate) -> list[Any]:
    """The handlers."""

    @get(
        "/v1/audit/records/{record_id:str}/proof",
        media_type=MediaType.TEXT,
        **operation(
            "Prove that a record is in the log",
            scope="read:audit",
            problems=ROW,
            tag=TAG,
            files={"text/plain": f"c2sp.org/tlog-proof@v1\nindex 156\n{HASH}\n\n{CHECKPOINT}"},
            more=("Content-Disposition",),
        ),
    )
    async def read_proof(caller: CurrentCaller, record_id: FromPath[str]) -> Response[str]:
        uid = parse_uuid(record_id, "path.record_id")

        async def load(connection: Connection) -> tuple[str, list[str]]:
            return await published_log.inclusion_proof(connection, uid), [str(uid)]

        answer = await read_log(gate, caller, load)
        headers = {
            "Decision-Id": str(answer.receipt.uid),
            "Decision-Leaf": answer.receipt.leaf,
            "Content-Disposition": f'attachment; filename="{uid}.tlog-proof"',
        }
        return Response(answer.value, media_type=MediaType.TEXT, headers=headers)

    @get(
        "/v1/audit/consistency",
        **operation("Prove that the log only grew", scope="read:audit", problems=ROW, tag=TAG),
    )
    async def read_consistency(
        caller: CurrentCaller,
        old: Annotated[int, QueryParameter(name="from", ge=1, le=MAX_SIZE, description="The size of the earlier log")],
        to: Annotated[
            int | None,
            Parameter(
                ge=1, le=MAX_SIZE, description="The size of the later log; by default that of the newest checkpoint"
            ),
        ] = None,
    ) -> Response[ConsistencyBody]:
        if to is not None and old > to:
            raise InvalidField(FieldError("query.from", "must not be greater than to"))

        async def load(connection: Connection) -> tuple[ConsistencyProof, list[str]]:
            return await published_log.consistency_proof(connection, old, to), []

        answer = await read_log(gate, caller, load)
        proof = answer.value
        hashes = [base64.b64encode(sibling).decode() for sibling in proof.hashes]
        return make_response(ConsistencyBody(proof.size, hashes, proof.checkpoint, old=proof.old), answer.receipt)

    return [read_proof, read_consistency]
