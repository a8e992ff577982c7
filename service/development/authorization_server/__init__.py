"""The development authorization server: real OAuth with real signed tokens, only on loopback.

Authlib's framework-agnostic part implements the protocol, Litestar the HTTP. Signing keys are durable in a directory;
codes and sign-in sessions are in memory, so it runs in one process. Production never imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from litestar import Litestar

__all__ = ["create"]


def create(issuer: str, audience: str, key_directory: Path) -> Litestar:
    """The server as an ASGI application, to be served in one process on the issuer's host and port.

    `issuer`: the exact `iss` of the tokens, such as `http://127.0.0.1:9000`; `audience`: the exact `aud`.
    Raises Misconfigured if the issuer is not a loopback address or the keys cannot be read.
    """
    # Imported late: the command line uses the sign-in client and must not wait for Litestar and Authlib.
    from service.development.authorization_server import application  # noqa: PLC0415

    return application.create(issuer, audience, key_directory)
