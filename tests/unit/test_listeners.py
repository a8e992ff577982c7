"""A listening socket that ignores new callers, before its process stops."""

from __future__ import annotations

import socket
import sys

import pytest

from service.listeners import ignore_connections


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such filters")
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
