"""The log in the layout of C2SP tlog-tiles, below /v1/log: checkpoint and hash tiles in public, records for auditors.

Owns no state. Monitoring the log needs no token: checkpoint and tiles hold only hashes, and every record has a nonce.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from litestar import MediaType, Response, get
from litestar.params import PathParameter

from service.audit import published_log
from service.errors import NotFound
from service.log import tiles
from service.web.audit.log_reading import read_log
from service.web.audit.shapes import CHECKPOINT
from service.web.http.operations import ROW, operation, public_operation
from service.web.http.parameters import CurrentCaller  # noqa: TC001 — Litestar reads handler signatures

if TYPE_CHECKING:
    from service.audit.published_log import PublishedLog
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection

TAG: Final = "Proofs"
# A published tile never changes. A partial tile does not grow either: the wider one has another name.
IMMUTABLE: Final = "public, max-age=31536000, immutable"
ONE_SECOND: Final = "public, max-age=1"
# Any web page may fetch and verify proofs.
CROSS_ORIGIN: Final = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
PUBLIC_PROBLEMS: Final = (400, 429, 503)
OCTETS: Final = "application/octet-stream"
Level = Annotated[str, PathParameter(description="The level of the tile, from 0")]
Index = Annotated[str, PathParameter(description="The tile's index in its level, in the format of C2SP tlog-tiles")]


def log_tile_routes(log: PublishedLog, gate: Gate) -> list[Any]:
    """The handlers. `log` serves what a signed checkpoint covers."""

    @get(
        "/v1/log/checkpoint",
        media_type=MediaType.TEXT,
        **public_operation(
            "The newest signed checkpoint", tag=TAG, problems=PUBLIC_PROBLEMS, files={"text/plain": CHECKPOINT}
        ),
    )
    async def read_checkpoint() -> Response[str]:
        signed = await log.checkpoint()
        return Response(signed.note, media_type=MediaType.TEXT, headers={"Cache-Control": ONE_SECOND, **CROSS_ORIGIN})

    @get(
        "/v1/log/tile/{level:str}/{index:path}",
        media_type=OCTETS,
        **public_operation(
            "A tile of hashes",
            tag=TAG,
            problems=(*PUBLIC_PROBLEMS, 404),
            files={OCTETS: "(hashes of 32 bytes, 256 of them in a full tile)"},
        ),
    )
    async def read_tile(level: Level, index: Index) -> Response[bytes]:
        hashes = await log.hashes(_parse_tile(f"{level}{index}"))
        return Response(hashes, media_type=OCTETS, headers={"Cache-Control": IMMUTABLE, **CROSS_ORIGIN})

    @get(
        "/v1/log/tile/entries/{index:path}",
        media_type=OCTETS,
        **operation(
            "The records of an entry bundle",
            scope="read:audit",
            problems=ROW,
            tag=TAG,
            files={OCTETS: "(records, each preceded by its length in two bytes)"},
        ),
    )
    async def read_entries(caller: CurrentCaller, index: Index) -> Response[bytes]:
        async def load(connection: Connection) -> tuple[bytes, list[str]]:
            return await published_log.entry_bundle(connection, _parse_tile(f"entries{index}"))

        answer = await read_log(gate, caller, load)
        headers = {"Decision-Id": str(answer.receipt.uid), "Decision-Leaf": answer.receipt.leaf}
        return Response(answer.value, media_type=OCTETS, headers=headers)

    return [read_checkpoint, read_tile, read_entries]


def _parse_tile(path: str) -> tiles.Tile:
    tile = tiles.parse_path(path)
    if tile is None:
        raise NotFound("This is not the path of a tile as C2SP tlog-tiles specifies it")
    return tile
