"""How an operation stands in the OpenAPI document: shared problem answers, headers, If-Match. Pure: owns no state.

Litestar builds every operation and hands it to the class named by the handler; ours completes what Litestar cannot know.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from litestar.openapi.spec import (
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    Schema,
)

from service.web.documented_headers import DECISION, ETAG, LOCATION, REQUEST, headers
from service.web.problem_documents import PROBLEM_JSON, component

if TYPE_CHECKING:
    from collections.abc import Sequence

IF_MATCH: Final = Parameter(
    name="If-Match",
    param_in="header",
    required=True,
    description="The ETag of the version that you have seen, or `*` for whatever exists (RFC 9110 section 13.1.1)",
    schema=Schema(type=OpenAPIType.STRING, pattern=r'^(\*|"[0-9]{1,9}")$', examples=['"7"']),
)


def documented(*, decided: bool, conditional: bool, etag: bool) -> type[Operation]:
    """The class of an operation: `decided` answers carry their decision, `conditional` ones need If-Match, and `etag`
    says that success answers with the version."""

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            self.parameters = [_plain(one) for one in self.parameters or []] or None
            if conditional:
                self.parameters = [*(self.parameters or []), IF_MATCH]
            for status, response in (self.responses or {}).items():
                if not isinstance(response, OpenAPIResponse):
                    continue
                if PROBLEM_JSON in (response.content or {}) and self.responses:
                    self.responses[status] = Reference(ref=f"#/components/responses/{component(int(status))}")
                else:
                    _complete(response, int(status), decided=decided, etag=etag)

    return Documented


def _complete(response: OpenAPIResponse, status: int, *, decided: bool, etag: bool) -> None:
    """What goes with an answer that is not a problem."""
    names = [REQUEST, *(DECISION if decided else ())]
    if status == HTTPStatus.CREATED:
        names.append(LOCATION)
    if etag and status != HTTPStatus.NO_CONTENT:
        names.append(ETAG)
    if status == HTTPStatus.NO_CONTENT:
        response.content = None
    response.headers = {**(response.headers or {}), **headers(*names)}


def _plain(parameter: Parameter | Reference) -> Parameter | Reference:
    """A parameter that may be left out is not a parameter that may be null: a URL has no null."""
    if isinstance(parameter, Parameter) and isinstance(parameter.schema, Schema):
        kinds = _without_null(parameter.schema.one_of)
        if kinds is not None and len(kinds) == 1:
            only = kinds[0]
            if isinstance(only, Reference):
                parameter.schema = only
            else:
                outer = parameter.schema
                outer.one_of = None
                for name in ("type", "format", "enum", "pattern"):
                    if getattr(outer, name) is None:
                        setattr(outer, name, getattr(only, name))
    return parameter


def _without_null(kinds: Sequence[Schema | Reference] | None) -> list[Schema | Reference] | None:
    if kinds is None:
        return None
    return [one for one in kinds if not (isinstance(one, Schema) and one.type == OpenAPIType.NULL)]
