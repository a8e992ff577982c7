"""The headers of a request by name, read once for all layers that look at them. Kept in the request's ASGI scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from litestar.types import Scope

    Headers: TypeAlias = Mapping[bytes, Sequence[bytes]]

# In the scope itself, which belongs to one request; a server may share `state` among requests.
_BY_NAME: Final = "timewarden.headers"


def headers_of(scope: Scope) -> Headers:
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
