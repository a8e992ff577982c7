"""How an operation stands in the OpenAPI document: shared problem answers, headers, If-Match. Pure: owns no state.

Litestar builds every operation and hands it to the class that the handler names; ours completes what it cannot know.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    Schema,
)

from service.web.http.documented_headers import DECISION, ETAG, LOCATION, REQUEST, headers
from service.web.http.preconditions import LONGEST
from service.web.http.problem_documents import PROBLEM_JSON, component

if TYPE_CHECKING:
    from collections.abc import Sequence


# A list of entity tags (RFC 9110 section 8.8.3); ours are versions, and a weak one never matches.
_TAG: Final = r'(W/)?"[\x21\x23-\x7e]*"'
_TAGS: Final = rf"{_TAG}([ \t]*,[ \t]*{_TAG})*"


def _if_match(description: str, pattern: str) -> Parameter:
    schema = Schema(type=OpenAPIType.STRING, pattern=pattern, max_length=LONGEST, examples=['"7"'])
    return Parameter(name="If-Match", param_in="header", required=True, description=description, schema=schema)


IF_MATCH: Final = _if_match(
    "The ETag of the version that you have seen, one of several, or `*` for whatever exists (RFC 9110 section 13.1.1)",
    rf"^(\*|{_TAGS})$",
)
IF_SEEN: Final = _if_match(
    "The ETag of the one version that you have seen; `*` and a list of several are answered as if it were missing",
    rf"^{_TAG}$",
)


@cache
def documented(
    *, decided: bool, conditional: bool, etag: bool, location: bool, judging: bool = False
) -> type[Operation]:
    """The class of an operation: `decided` answers carry their decision, `conditional` ones need If-Match, `judging`
    ones with a version that was seen; `etag` and `location` say that success answers with the version and with the
    address of what was made."""
    more = [name for name, wanted in ((ETAG, etag), (LOCATION, location)) if wanted]

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            self.parameters = [_plain(one) for one in self.parameters or []] or None
            if conditional:
                self.parameters = [*(self.parameters or []), IF_SEEN if judging else IF_MATCH]
            for status, response in (self.responses or {}).items():
                if not isinstance(response, OpenAPIResponse):
                    continue
                if PROBLEM_JSON in (response.content or {}) and self.responses:
                    self.responses[status] = Reference(ref=f"#/components/responses/{component(int(status))}")
                else:
                    _complete(response, int(status), [*more, *(DECISION if decided else ())])

    return Documented


def _complete(response: OpenAPIResponse, status: int, names: Sequence[str]) -> None:
    """What goes with an answer that is not a problem: nothing is in a 204, so it has no version either."""
    if response.description == HTTPStatus(status).description:
        response.description = HTTPStatus(status).phrase
    if status == HTTPStatus.NO_CONTENT:
        response.content = None
        names = [name for name in names if name != ETAG]
    response.headers = {**(response.headers or {}), **headers(*names, REQUEST)}


def _plain(parameter: Parameter | Reference) -> Parameter | Reference:
    """A parameter that may be left out is not one that may be null: a URL has no null. Ids in paths are UUIDs."""
    if not isinstance(parameter, Parameter) or not isinstance(parameter.schema, Schema):
        return parameter
    schema = parameter.schema
    if parameter.param_in == "path" and parameter.name.endswith("_id"):
        schema.format = OpenAPIFormat.UUID
    kinds = _without_null(schema.one_of)
    if len(kinds) == 1:
        (only,) = kinds
        if isinstance(only, Reference):
            parameter.schema = only
        else:
            schema.one_of = None
            for name in ("type", "format", "enum", "pattern"):
                if getattr(schema, name) is None:
                    setattr(schema, name, getattr(only, name))
    return parameter


def _without_null(kinds: Sequence[Schema | Reference] | None) -> list[Schema | Reference]:
    return [one for one in kinds or () if not (isinstance(one, Schema) and one.type == OpenAPIType.NULL)]
