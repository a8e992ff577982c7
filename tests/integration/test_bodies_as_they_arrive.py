"""Bodies are read when it is known that they may be sent, piece by piece, and not for ever."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

import pytest

from service.errors import TryLater
from service.web.http import incoming_body
from service.web.uploads.upload_turns import FULL, FULL_FOR_ONE, UploadTurns
from tests.integration.house import MONDAY
from tests.integration.sender import Exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.api import InProcess
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
NDJSON, CSV, JSON = "application/x-ndjson", "text/csv", "application/json"


def sending(running: InProcess, path: str, kind: str, parts: AsyncIterator[bytes], **claims: str) -> Exchange:
    headers = {"Authorization": f"Bearer {running.token(**claims)}", "Content-Type": kind}
    return Exchange(running, path, parts, {**headers, "Transfer-Encoding": "chunked"})


def importer(client: str = "payroll-import") -> dict[str, str]:
    return {"sub": client, "client_id": client, "scope": "batch:upload"}


def row(house: House, number: int, **changes: object) -> bytes:
    """Carl's, each in another week."""
    day = (MONDAY + timedelta(weeks=number)).isoformat()
    found = {"owner": str(house.people["carl"]), "day": day, "project": "apollo", "minutes": 60}
    return json.dumps({**found, "external_ref": f"job/{number}", **changes}).encode() + b"\n"


async def of(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def stalling(first: bytes, until: asyncio.Event) -> AsyncIterator[bytes]:
    """Some bytes, and the next not before something happened."""
    yield first
    await until.wait()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/uploads", NDJSON),
        ("/v1/uploads", CSV),
        ("/v1/uploads", JSON),
        ("/v1/policies/versions", JSON),
        ("/v1/directory/import", CSV),
    ],
)
async def test_who_may_not_send_something_large_is_refused_before_it_is_read(
    house: House, running: InProcess, path: str, kind: str
) -> None:
    answered = asyncio.Event()
    exchange = sending(running, path, kind, stalling(b"x" * 1000, answered), scope="read:timesheets")
    exchange.answered = answered
    await exchange.run()
    assert (exchange.status, exchange.taken_before) == (403, 0)
    assert exchange.json()["type"] == "urn:timewarden:problem:insufficient-scope"
    # The rest of the body was discarded, so that the answer is not lost with the connection.
    assert exchange.taken > 0
    assert await house.count("audit_record WHERE outcome = 'deny'") == 1


async def test_a_body_that_a_route_does_not_take_is_discarded_after_its_answer(running: InProcess) -> None:
    exchange = sending(running, "/v1/me", JSON, of(b"{", b" " * 50_000, b"}"))
    exchange.method = "GET"
    await exchange.run()
    # Otherwise closing the connection could destroy the answer on its way.
    assert (exchange.status, exchange.ended) == (200, True)


@pytest.mark.parametrize(("path", "kind"), [("/v1/policies/versions", JSON), ("/v1/directory/import", CSV)])
async def test_a_scope_without_the_role_is_not_enough_to_have_something_large_read(
    running: InProcess, path: str, kind: str
) -> None:
    exchange = sending(running, path, kind, of(b"x" * 1000), scope="write:policies manage:directory")
    await exchange.run()
    assert (exchange.status, exchange.taken_before) == (403, 0)


async def test_an_upload_by_a_person_is_refused_before_anything_is_read(house: House, running: InProcess) -> None:
    for kind in (JSON, CSV):
        exchange = sending(running, "/v1/uploads", kind, of(b"nonsense"), scope="batch:upload")
        await exchange.run()
        assert (exchange.status, exchange.taken_before) == (403, 0)
        assert "client that acts for itself" in exchange.json()["reasons"][0]
    assert await house.count("audit_record WHERE action = 'upload' AND outcome = 'deny' AND NOT applied") == 2


class Piece(bytes):
    """Bytes that are counted while a request holds them."""

    alive = 0
    most = 0

    def __new__(cls, content: bytes) -> Self:
        cls.alive += 1
        cls.most = max(cls.most, cls.alive)
        return super().__new__(cls, content)

    def __del__(self) -> None:
        type(self).alive -= 1


async def test_a_file_is_read_in_pieces_that_are_not_kept(house: House, running: InProcess) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(40):
            yield Piece(
                b"".join(row(house, number, minutes=1, note="x" * 480, external_ref=f"{number}/{n}") for n in range(90))
            )

    exchange = sending(running, "/v1/uploads?mode=per-row", NDJSON, pieces(), **importer())
    await exchange.run()
    assert exchange.status == 200, exchange.body[:500]
    assert len(exchange.json()["rows"]) == 3600
    assert Piece.most <= 3


@pytest.mark.parametrize(
    ("path", "kind", "more"),
    [
        ("/v1/timesheets", JSON, {}),
        ("/v1/timesheets", JSON, {"Idempotency-Key": "open-1"}),
        ("/v1/uploads", JSON, {}),
        ("/v1/uploads", NDJSON, {}),
    ],
)
async def test_a_body_that_stops_is_not_waited_for(
    running: InProcess, monkeypatch: pytest.MonkeyPatch, path: str, kind: str, more: dict[str, str]
) -> None:
    monkeypatch.setattr(incoming_body, "MAX_SECONDS_BEHIND", 0.05)
    claims = importer() if path == "/v1/uploads" else {}
    exchange = sending(running, path, kind, stalling(b'{"', asyncio.Event()), **claims)
    exchange.headers = {**exchange.headers, **more}
    monkeypatch.setattr(incoming_body, "MAX_DISCARD_SECONDS", 0.05)
    await exchange.run()
    assert (exchange.status, exchange.json()["type"]) == (408, "urn:timewarden:problem:body-too-slow")


async def test_a_body_that_trickles_is_cut_off_though_it_never_stops(
    running: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming_body, "MAX_SECONDS_BEHIND", 0.2)
    monkeypatch.setattr(incoming_body, "MAX_DISCARD_SECONDS", 0.05)

    async def drops() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b" "

    exchange = sending(running, "/v1/timesheets", JSON, drops())
    await exchange.run()
    assert exchange.status == 408


async def test_a_slow_sender_does_not_block_others(house: House, running: InProcess) -> None:
    await house.owner.execute(
        "INSERT INTO importer_grant (id, client_id, team_id, valid_from)"
        " SELECT gen_random_uuid(), 'other-import', team_id, valid_from FROM importer_grant LIMIT 1"
    )
    end = asyncio.Event()
    slow = [
        sending(running, "/v1/uploads", NDJSON, stalling(row(house, number), end), **importer()) for number in range(3)
    ]
    tasks = [asyncio.create_task(upload.run()) for upload in slow]
    while sum(upload.taken for upload in slow) < 4:  # noqa: ASYNC110 — for the two that have turns to wait for more
        await asyncio.sleep(0)
    other = sending(running, "/v1/uploads", NDJSON, of(row(house, 5)), **importer("other-import"))
    await other.run()
    assert other.status == 200, other.body
    assert [upload.taken for upload in slow].count(0) == 1
    end.set()
    await asyncio.gather(*tasks)
    assert [upload.status for upload in slow] == [200] * 3


async def test_no_client_takes_every_turn_and_each_learns_what_it_waits_for() -> None:
    turns = UploadTurns(3, each=2, timeout=0.01)
    async with turns.take("a"), turns.take("a"), turns.take("b"):
        with pytest.raises(TryLater, match=FULL_FOR_ONE):
            async with turns.take("a"):
                raise AssertionError("that was the third of one client")
        with pytest.raises(TryLater, match=FULL):
            async with turns.take("c"):
                raise AssertionError("that was the fourth of all")
    async with turns.take("a"), turns.take("a"):
        pass


async def test_per_row_nothing_more_is_done_for_a_client_that_has_left(house: House, running: InProcess) -> None:
    file = b"".join(row(house, number) for number in range(230))
    exchange = sending(running, "/v1/uploads?mode=per-row", NDJSON, of(file), **importer())
    exchange.leaves = True
    await exchange.run()
    # The first sheets alone, which go before the others.
    assert await house.count("timesheet") == 50
    assert await house.count("audit_record WHERE kind = 'change'") == 50


async def test_what_goes_together_is_done_though_the_client_has_left(house: House, running: InProcess) -> None:
    file = b"".join(row(house, number) for number in range(60))
    exchange = sending(running, "/v1/uploads", NDJSON, of(file), **importer())
    exchange.leaves = True
    await exchange.run()
    assert await house.count("timesheet") == 60


async def test_a_caller_that_leaves_within_its_body_is_no_failure_of_ours(running: InProcess) -> None:
    exchange = sending(running, "/v1/timesheets", JSON, of())
    exchange.ended = exchange.leaves = True
    await exchange.run()
    assert exchange.status == 400


def test_who_waits_for_a_go_ahead_has_nothing_that_could_be_thrown_away() -> None:
    request: Any = {"headers": [(b"content-length", b"5"), (b"expect", b"100-continue")]}
    body = incoming_body.IncomingBody(request, lambda: asyncio.Event().wait())  # type: ignore[arg-type,return-value]
    asyncio.run(body.discard_rest())
