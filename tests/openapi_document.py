"""The OpenAPI document of the whole app, without any server: nothing connects before an app's lifespan begins."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any

from service.app import build
from service.settings import Settings
from service.web.openapi.document import build_document

if TYPE_CHECKING:
    from litestar import Litestar


def app() -> Litestar:
    """The app, wired from settings that lead nowhere."""
    settings = Settings(
        database_url="postgresql://nobody@127.0.0.1:1/none",
        issuer="https://issuer.example",
        audience="https://timewarden.example",
        public_url="https://timewarden.example",
        cursor_key="0" * 32,
    )
    return build(settings).frame.app


def document() -> dict[str, Any]:
    """The document, as /openapi.json serves it; also what the files in tests/golden/openapi hold. A copy each time."""
    return deepcopy(_make())


@cache
def _make() -> dict[str, Any]:
    return build_document(app())
