"""Standard error takes whole lines without waiting, on each kind of descriptor, and counts what it drops."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from service import standard_error
from service.standard_error import StandardError
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LINE = json.dumps({"event": "x" * 180}) + "\n"
SMALL = 4096


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    """To be closed in the end."""
    opened: list[int] = []
    yield opened
    for descriptor in opened:
        with suppress(OSError):
            os.close(descriptor)


def pipe() -> tuple[int, int]:
    return os.pipe()


def sockets() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return theirs.detach(), ours.detach()


def terminal() -> tuple[int, int]:
    return pty.openpty()


def drain(reader: int) -> bytes:
    """All that is there to be read."""
    os.set_blocking(reader, False)
    found = b""
    with suppress(BlockingIOError):
        while more := os.read(reader, 65536):
            found += more
    return found


@pytest.mark.parametrize("kind", [pipe, sockets, terminal])
def test_a_reader_that_reads_nothing_holds_nobody_up(
    descriptors: list[int], kind: Callable[[], tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standard_error, "MAX_QUEUE_BYTES", SMALL)
    reader, writer = kind()
    descriptors += [reader, writer]
    stream = StandardError(writer)
    written = 0
    while not stream.failing:
        stream.write(LINE)
        written += 1
    stream.write(LINE)
    assert stream.dropped == 2
    got = drain(reader)
    stream.write(LINE)
    got += drain(reader)
    stream.write(LINE)
    got += drain(reader)
    lines = [json.loads(line) for line in got.decode().splitlines()]
    assert len(lines) == written - 1 + 2
    assert [line["dropped"] for line in lines if "dropped" in line] == [2]
    assert (stream.dropped, stream.failing) == (2, False)
    # Other processes that write there wait as before.
    assert os.get_blocking(writer)


def test_a_file_without_room_and_a_reader_that_is_gone_are_counted(descriptors: list[int]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    reader, writer = os.pipe()
    descriptors += [full, writer]
    later = StandardError(writer)
    os.close(reader)
    for stream in (StandardError(full), later):
        stream.write(LINE)
        print("plain words", file=stream)
        assert stream.dropped == 2


async def test_a_pipe_that_has_no_reader_from_the_start_is_counted(descriptors: list[int]) -> None:
    reader, writer = os.pipe()
    descriptors.append(writer)
    os.close(reader)
    stream = StandardError(writer)
    stream.write(LINE)

    async def is_counted() -> bool:
        return stream.dropped == 1

    await until(is_counted)
    assert stream.failing


def test_a_descriptor_that_nobody_opened_drops_every_line() -> None:
    stream = StandardError(987)
    stream.write(LINE)
    assert stream.dropped == 1


def test_a_pipe_that_cannot_be_opened_again_is_written_by_a_thread(
    descriptors: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    reader, writer = os.pipe()
    descriptors += [reader, writer]
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, SMALL)
    monkeypatch.setattr(standard_error, "MAX_QUEUE_BYTES", SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        stream = StandardError(writer)
    written = 0
    while not stream.failing:
        stream.write(LINE)
        written += 1
    got = b""
    while got.count(b"\n") < written - 1:
        got += os.read(reader, 65536)
    assert len([json.loads(line) for line in got.decode().splitlines()]) == written - 1


def test_the_beginning_of_a_line_waits_for_its_end(tmp_path: Path, descriptors: list[int]) -> None:
    file = tmp_path / "log"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    descriptors.append(descriptor)
    stream = StandardError(descriptor)
    stream.write("Traceback")
    assert file.read_bytes() == b""
    print(" (most recent call last):", file=stream)
    assert file.read_text() == "Traceback (most recent call last):\n"
