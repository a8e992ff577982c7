"""RFC 9728 protected-resource metadata, built from configuration and never from the Host header. Public."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get

PATH = "/.well-known/oauth-protected-resource"


class ResourceMetadata(msgspec.Struct):
    """What a client needs to get a token for this API (RFC 9728 section 2)."""

    resource: str
    authorization_servers: list[str]
    scopes_supported: list[str]
    bearer_methods_supported: list[str]
    resource_name: str = "Timewarden"


SCOPES = (
    "read:timesheets",
    "create:timesheets",
    "delete:timesheets",
    "approve:timesheets",
    "batch:upload",
    "read:audit",
    "read:policies",
    "write:policies",
    "manage:directory",
)


def metadata_routes(resource: str, issuers: list[str]) -> list[Any]:
    """The handler. `resource` is the audience that tokens must carry."""
    document = ResourceMetadata(resource, issuers, list(SCOPES), ["header"])

    @get(PATH, summary="Protected-resource metadata (RFC 9728)", tags=["Metadata"])
    async def resource_metadata() -> ResourceMetadata:
        return document

    return [resource_metadata]
