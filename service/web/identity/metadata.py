"""Protected-resource metadata (RFC 9728), built from configuration and never from the Host header. Public."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from litestar import get
from msgspec import Meta

from service.errors import Misconfigured
from service.web.http.operations import SCOPES, public_operation

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH = "/.well-known/oauth-protected-resource"
_WITH_PATH = frozenset({"https", "http"})
# The router would read what is between them as a parameter.
_BRACES = frozenset("{}")


class ResourceMetadata(msgspec.Struct):
    """The data that a client needs to get a token (RFC 9728 section 2). Members of unused features are left out."""

    resource: Annotated[
        str, Meta(description="The audience that tokens must carry", examples=["https://api.acme.com/timesheets"])
    ]
    authorization_servers: Annotated[
        list[str], Meta(description="The issuers whose tokens are accepted", examples=[["https://acme.eu.auth0.com/"]])
    ]
    scopes_supported: Annotated[
        list[Annotated[str, Meta(extra_json_schema={"enum": list(SCOPES)})]],
        Meta(description="Every scope", examples=[["read:timesheets", "create:timesheets"]]),
    ]
    bearer_methods_supported: Annotated[
        list[Literal["header"]], Meta(description="How a token is sent", examples=[["header"]])
    ]
    resource_name: Annotated[str, Meta(description="The name of the API", examples=["Timewarden"])]
    dpop_signing_alg_values_supported: Annotated[
        list[str] | msgspec.UnsetType,
        Meta(description="The accepted JWS algorithms of DPoP proofs (RFC 9449)", examples=[["ES256"]]),
    ] = msgspec.UNSET
    dpop_bound_access_tokens_required: Annotated[
        bool | msgspec.UnsetType, Meta(description="Whether every token must be bound to a DPoP key", examples=[True])
    ] = msgspec.UNSET
    tls_client_certificate_bound_access_tokens: Annotated[
        bool | msgspec.UnsetType,
        Meta(description="Whether tokens may be bound to a client certificate (RFC 8705)", examples=[True]),
    ] = msgspec.UNSET


def metadata_path(resource: str) -> str:
    """The path of a resource's metadata. The resource's own path is appended (RFC 9728 section 3.1). Raises
    Misconfigured for a path with braces, which no URL has."""
    parts = urlsplit(resource)
    if not _BRACES.isdisjoint(parts.path) and parts.scheme in _WITH_PATH:
        raise Misconfigured("An audience that is a URL must have no braces: its metadata has an address below its path")
    return PATH + parts.path.rstrip("/") if parts.scheme in _WITH_PATH else PATH


def metadata_routes(
    resource: str,
    issuers: list[str],
    *,
    dpop_algorithms: Sequence[str] = (),
    dpop_required: bool = False,
    certificate_bound: bool = False,
) -> list[Any]:
    """The handlers. `resource` is the audience that tokens must carry. The keyword arguments say how tokens may or must
    be bound to a key (RFC 9449) or to a client certificate (RFC 8705)."""
    document = ResourceMetadata(
        resource,
        issuers,
        list(SCOPES),
        ["header"],
        "Timewarden",
        list(dpop_algorithms) or msgspec.UNSET,
        dpop_required or msgspec.UNSET,
        certificate_bound or msgspec.UNSET,
    )

    @get(PATH, **public_operation("Read the protected-resource metadata (RFC 9728)", tag="Metadata"))
    async def resource_metadata() -> ResourceMetadata:
        return document

    @get(metadata_path(resource), include_in_schema=False)
    async def metadata_of_path() -> ResourceMetadata:
        return document

    return [resource_metadata] if metadata_path(resource) == PATH else [resource_metadata, metadata_of_path]
