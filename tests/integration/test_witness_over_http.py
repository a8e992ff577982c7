"""The client of an outside witness, against answers of a server that we let say anything."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from service import metrics
from service.errors import Misconfigured
from service.log.checkpoint import BadNote, Checkpoint, Note, Signer
from service.log.witness import Cosigner, HttpWitness, OtherHistory, SizeConflict, Witnesses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOTE = "log.example\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u2014 log.example AAAAAAAA\n"
# A vkey that another implementation (aics-witness) made.
VKEY = "witness.example/w1+842afb5a+BJmUs4X3N6jehgdV6rLAGvH+go4CAVcWaA+SslZILqAr"


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[HttpWitness, list[bytes]]]:
    """A witness that answers this to everything, and the requests that it got."""
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        got.append(head.partition(b" HTTP")[0] + b"\n" + await reader.readexactly(length))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    witness = HttpWitness(Cosigner("witness.example", b"w" * 32), f"http://127.0.0.1:{port}/prefix/")
    try:
        yield witness, got
    finally:
        await witness.close()
        server.close()
        await server.wait_closed()


def response(status: str, body: str = "", header: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body.encode())}\r\n{header}\r\n{body}".encode()


async def test_a_request_is_as_c2sp_says() -> None:
    async with answering(response("200 OK", "\u2014 witness.example AAAA\n")) as (witness, got):
        lines = await witness.add_checkpoint(2, [b"\1" * 32, b"\2" * 32], NOTE)
    assert lines == ["\u2014 witness.example AAAA"]
    first, second = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
    assert got == [f"POST /prefix/add-checkpoint\nold 2\n{first}\n{second}\n\n{NOTE}".encode()]


async def test_without_a_known_size_there_is_no_proof() -> None:
    async with answering(response("200 OK", "line\n")) as (witness, got):
        await witness.add_checkpoint(0, [], NOTE)
    assert got == [f"POST /prefix/add-checkpoint\nold 0\n\n{NOTE}".encode()]


async def test_a_conflict_names_the_size_that_the_witness_knows() -> None:
    async with answering(response("409 Conflict", "17\n", "Content-Type: text/x.tlog.size\r\n")) as (witness, _):
        with pytest.raises(SizeConflict) as raised:
            await witness.add_checkpoint(2, [], NOTE)
    assert raised.value.size == 17


async def test_a_refused_proof_is_another_history() -> None:
    async with answering(response("422 Unprocessable Content")) as (witness, _):
        with pytest.raises(OtherHistory, match="knows another history"):
            await witness.add_checkpoint(2, [], NOTE)


@pytest.mark.parametrize(
    "answer",
    [
        response("404 Not Found"),
        response("403 Forbidden"),
        response("500 Internal Server Error"),
        response("302 Found", header="Location: http://127.0.0.1:9/add-checkpoint\r\n"),
        response("409 Conflict", "many"),
        response("409 Conflict", "9" * 40),
        response("200 OK", "x" * 20_000),
        b"what?",
        b"",
    ],
    ids=["unknown log", "bad key", "broken", "elsewhere", "no size", "huge size", "huge answer", "no http", "nothing"],
)
async def test_any_other_answer_is_a_failure_that_stops_nothing(answer: bytes) -> None:
    async with answering(answer) as (witness, _):
        with pytest.raises(OSError) as raised:
            await witness.add_checkpoint(2, [], NOTE)
    assert str(raised.value)


@pytest.mark.parametrize("text", ["", "key", f"{VKEY}", f"{VKEY} http://witness.example", f"{VKEY} ftp://127.0.0.1"])
def test_a_witness_without_a_key_or_a_safe_url_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured, match="a vkey, a space and an https URL"):
        HttpWitness.parse(text)


async def test_the_key_of_another_implementation_is_read() -> None:
    witness = HttpWitness.parse(f"{VKEY} https://witness.example/prefix")
    assert witness.cosigner.name == "witness.example/w1"
    await witness.close()
    with pytest.raises(BadNote, match="not a witness's"):
        Cosigner.parse(Signer("log.example", b"s" * 32).verifier.vkey)
    assert Checkpoint.parse(NOTE.partition("\n\n")[0] + "\n").size == 3


@pytest.mark.parametrize(
    ("status", "outcome"), [("422 Unprocessable Content", "refused"), ("500 Internal Server Error", "failed")]
)
async def test_requests_for_cosignatures_are_counted_by_their_outcome(status: str, outcome: str) -> None:
    async def prove(_old: int) -> list[bytes]:
        return []

    counted = metrics.WITNESS_REQUESTS.series
    async with answering(response(status)) as (witness, _):
        witnesses = Witnesses([witness])
        before = {labels: numbers[0] for labels, numbers in counted.items()}
        with suppress(OtherHistory):
            await witnesses.cosign(Note.parse(NOTE), 3, prove)
    grown = {labels: numbers[0] - before.get(labels, 0) for labels, numbers in counted.items()}
    assert {labels: count for labels, count in grown.items() if count} == {("witness.example", outcome): 1}
