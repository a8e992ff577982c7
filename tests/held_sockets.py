"""The sockets of a `serve` that a test starts: held from the moment their ports are chosen, and handed over."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from service.development.local_servers import held_port

if TYPE_CHECKING:
    import socket


class HeldSockets(AbstractContextManager["HeldSockets"]):
    """Ports of 127.0.0.1 for the API and for management. After the block only processes that got them have them."""

    def __init__(self, port: int = 0) -> None:
        self.sockets: tuple[socket.socket, socket.socket] = (held_port(port), held_port(0))
        self.port, self.management_port = (item.getsockname()[1] for item in self.sockets)
        self.api, self.management = (f"http://127.0.0.1:{value}" for value in (self.port, self.management_port))

    @property
    def numbers(self) -> tuple[int, int]:
        """The file descriptors, which the process must be let inherit."""
        api, management = (item.fileno() for item in self.sockets)
        return api, management

    @property
    def options(self) -> list[str]:
        """The options of `serve`."""
        api, management = self.numbers
        return [f"--fd={api}", f"--management-fd={management}"]

    def __exit__(self, *_: object) -> None:
        for connection in self.sockets:
            connection.close()
