"""RFC 9728 protected-resource metadata, built from configuration and never from the Host header. Public."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get

from service.web.operations import SCOPES, public_operation

PATH = "/.well-known/oauth-protected-resource"


class ResourceMetadata(msgspec.Struct):
    """What a client needs to get a token for this API (RFC 9728 section 2)."""

    resource: str
    authorization_servers: list[str]
    scopes_supported: list[str]
    bearer_methods_supported: list[str]
    resource_name: str = "Timewarden"


def metadata_routes(resource: str, issuers: list[str]) -> list[Any]:
    """The handler. `resource` is the audience that tokens must carry."""
    document = ResourceMetadata(resource, issuers, list(SCOPES), ["header"])

    @get(PATH, **public_operation("Protected-resource metadata (RFC 9728)", tag="Metadata"))
    async def resource_metadata() -> ResourceMetadata:
        return document

    return [resource_metadata]
