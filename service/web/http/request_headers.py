"""The headers of a request by name, read once for all layers that look at them. Kept in the request's ASGI scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from litestar.types import Scope

# In the scope itself, which belongs to one request; a server may share `state` among requests.
_BY_NAME: Final = "timewarden.headers"
_MISSING: Final[Sequence[bytes]] = ()


def headers_of(scope: Scope) -> Mapping[bytes, Sequence[bytes]]:
    """The values of each header in the order in which they were sent. Names are in lower case, as the server gives
    them."""
    own: Any = scope
    found: dict[bytes, list[bytes]] | None = own.get(_BY_NAME)
    if found is None:
        found = {}
        own[_BY_NAME] = found
        for name, value in scope["headers"]:
            if name in found:
                found[name].append(value)
            else:
                found[name] = [value]
    return found


def header_values(scope: Scope, name: bytes) -> Sequence[bytes]:
    """The values of one header; none if it is missing."""
    return headers_of(scope).get(name, _MISSING)
