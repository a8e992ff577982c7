"""The OpenAPI document of the whole app, without any server: nothing connects before an app's lifespan begins."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from service.app import build
from service.settings import Settings
from service.web.openapi.document import build_document

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def validator_of(schema: Mapping[str, Any], *, formats: bool = False) -> jsonschema_rs.Validator:
    """Made once for each schema, since it compiles the shared shapes too."""
    return _make_validator(json.dumps(schema), formats)


@cache
def _make_validator(schema: str, formats: bool) -> jsonschema_rs.Validator:  # noqa: FBT001 - a key of the cache
    shared = {"components": _make()["components"]} if '"$ref"' in schema else {}
    whole = {**json.loads(schema), **shared}
    return jsonschema_rs.validator_for(whole, validate_formats=formats)


@cache
def _make() -> dict[str, Any]:
    return build_document(app())


if __name__ == "__main__":
    print(json.dumps(document(), ensure_ascii=False))
