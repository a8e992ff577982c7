"""Writes the issuers file with which the service trusts the development authorization server.

Owns that file, beside the server's keys. `timewarden up` writes it at every start.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from service.development.people import CLIENTS

if TYPE_CHECKING:
    from pathlib import Path

_TEXT = """\
# Written by `timewarden up` at every start. See docs/issuers.md.
[[issuer]]
name = "main"
issuer = {issuer}
audience = {audience}
jwks_url = {jwks_url}
agents = {agents}

[issuer.introspection]
url = {introspection_url}
client_id = "timewarden-api"
private_key_file = "timewarden-api.pem"
private_key_algorithm = "ES256"
signed = true
"""


def write_issuer_file(directory: Path, issuer: str, audience: str) -> Path:
    """Write the file and return its path. `directory` is that of the authorization server's keys."""
    path = directory / "issuers.toml"
    values = {
        "issuer": issuer,
        "audience": audience,
        "jwks_url": f"{issuer}/jwks",
        "agents": [client.client_id for client in CLIENTS.values() if client.agent],
        "introspection_url": f"{issuer}/introspect",
    }
    # A JSON string, and a list of them, is valid TOML.
    path.write_text(_TEXT.format(**{name: json.dumps(value) for name, value in values.items()}), encoding="utf-8")
    return path
