"""Listening sockets: of a port that several share, and of a process that is about to stop."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack

import pytest

from service.errors import Misconfigured
from service.listeners import ignore_connections, listen, reserve_port, share_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such filters and spreads connections")


def test_callers_who_want_to_connect_are_ignored_and_open_connections_go_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as caller, listener.accept()[0] as accepted:
            ignore_connections(listener)
            # A new one would be accepted by the kernel at once.
            with pytest.raises(TimeoutError):
                socket.create_connection(address, 0.2)
            caller.sendall(b"question")
            assert accepted.recv(100) == b"question"
            accepted.sendall(b"answer")
            assert caller.recv(100) == b"answer"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_spreads_a_burst_over_the_sockets_of_a_port_and_over_those_that_are_left(host: str) -> None:
    with listen(host, 0) as reserved, ExitStack() as stack:
        reserve_port(reserved)
        first, second = (stack.enter_context(share_port(reserved)) for _ in range(2))
        address = reserved.getsockname()[:2]
        for _ in range(100):
            stack.enter_context(socket.create_connection(address))
        counts = [accept_all(stack, listener) for listener in (first, second)]
        assert sum(counts) == 100
        assert min(counts) >= 10
        first.close()
        for _ in range(20):
            stack.enter_context(socket.create_connection(address))
        assert accept_all(stack, second) == 20
        replaced = stack.enter_context(share_port(reserved))
        for _ in range(100):
            stack.enter_context(socket.create_connection(address))
        assert accept_all(stack, replaced) >= 10


def accept_all(stack: ExitStack, listener: socket.socket) -> int:
    """How many connections wait; they stay open."""
    listener.settimeout(0)
    count = 0
    while True:
        try:
            stack.enter_context(listener.accept()[0])
        except BlockingIOError:
            return count
        count += 1


def test_a_reserved_port_is_refused_to_a_second_service() -> None:
    with listen("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
        reserve_port(reserved)
        with pytest.raises(Misconfigured, match="in use"):
            listen("127.0.0.1", port)
        with share_port(reserved), pytest.raises(Misconfigured, match="in use"):
            listen("127.0.0.1", port)
        # Nobody accepts there, so nobody waits.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(reserved.getsockname())
        # The next service on the socket reserves it again.
        reserve_port(reserved)
        with share_port(reserved) as shared, socket.create_connection(shared.getsockname()):
            shared.accept()[0].close()


@pytest.mark.parametrize("host", ["", "a..example", "x" * 10_000])
def test_an_address_that_cannot_be_is_named_with_its_setting(host: str) -> None:
    with pytest.raises(Misconfigured, match="TIMEWARDEN_HOST") as caught:
        listen(host, 8080, setting="TIMEWARDEN_HOST")
    assert len(caught.value.public) < 300
