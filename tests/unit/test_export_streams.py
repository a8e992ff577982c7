"""Each export reserves a place at once and gives it back however it ends."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from service.errors import TryLater
from service.web.audit.exports import MAX_STREAMS, Streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def pieces(*, broken: bool = False) -> AsyncIterator[bytes]:
    yield b"one"
    if broken:
        raise OSError
    yield b"two"


def stream(streams: Streams, *, broken: bool = False) -> AsyncIterator[bytes]:
    with streams.reserve() as keep:
        return keep(pieces(broken=broken))


def all_free(streams: Streams) -> bool:
    """Whether all places are free: exactly that many can be reserved."""
    with ExitStack() as taken:
        for _ in range(MAX_STREAMS):
            taken.enter_context(streams.reserve())
        with pytest.raises(TryLater):
            taken.enter_context(streams.reserve())
    return True


async def test_streams_are_limited() -> None:
    streams = Streams()
    begun = [stream(streams) for _ in range(MAX_STREAMS)]
    with pytest.raises(TryLater):
        stream(streams)
    assert [piece async for piece in begun[0]] == [b"one", b"two"]
    begun.append(stream(streams))
    with pytest.raises(TryLater):
        stream(streams)


async def test_a_stream_gives_its_place_back_however_it_ends() -> None:
    streams = Streams()
    with pytest.raises(ValueError, match="refused"), streams.reserve():
        raise ValueError("refused before there was a stream")
    assert all_free(streams)

    read = stream(streams)
    assert [piece async for piece in read] == [b"one", b"two"]
    assert all_free(streams)

    with pytest.raises(OSError):
        assert [piece async for piece in stream(streams, broken=True)]
    assert all_free(streams)

    never = stream(streams)
    del never
    assert all_free(streams)
