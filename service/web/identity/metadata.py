"""RFC 9728 protected-resource metadata, built from configuration and never from the Host header. Public."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from litestar import get

from service.web.http.operations import SCOPES, public_operation

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH = "/.well-known/oauth-protected-resource"


class ResourceMetadata(msgspec.Struct, omit_defaults=True):
    """What a client needs to get a token for this API (RFC 9728 section 2). What is not offered is left out."""

    resource: str
    authorization_servers: list[str]
    scopes_supported: list[str]
    bearer_methods_supported: list[str]
    resource_name: str
    dpop_signing_alg_values_supported: list[str] | None = None
    dpop_bound_access_tokens_required: bool = False
    tls_client_certificate_bound_access_tokens: bool = False


def path_of(resource: str) -> str:
    """Where the metadata of a resource is: with the path of an https resource behind it (RFC 9728 section 3.1)."""
    parts = urlsplit(resource)
    return PATH + parts.path.rstrip("/") if parts.scheme in {"https", "http"} else PATH


def metadata_routes(
    resource: str,
    issuers: list[str],
    *,
    dpop_algorithms: Sequence[str] = (),
    dpop_required: bool = False,
    certificate_bound: bool = False,
) -> list[Any]:
    """The handlers. `resource` is the audience that tokens must carry; the rest says how tokens may or must be bound to
    a key (RFC 9449) or to a client certificate (RFC 8705)."""
    document = ResourceMetadata(
        resource,
        issuers,
        list(SCOPES),
        ["header"],
        "Timewarden",
        list(dpop_algorithms) or None,
        dpop_required,
        certificate_bound,
    )

    @get(PATH, **public_operation("Protected-resource metadata (RFC 9728)", tag="Metadata"))
    async def resource_metadata() -> ResourceMetadata:
        return document

    @get(path_of(resource), include_in_schema=False)
    async def metadata_of_path() -> ResourceMetadata:
        return document

    return [resource_metadata] if path_of(resource) == PATH else [resource_metadata, metadata_of_path]
