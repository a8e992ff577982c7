"""The service against its own OpenAPI document: generated requests with rights, with few, with a bad token and without.

Bounded and derandomized, so that a run is short and can be repeated.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.errors import NotSealed
from service.web.http.authentication import PUBLIC_ROUTES
from service.web.openapi.shapes import resolve
from tests.acceptance.caller import draft, submit_week
from tests.documented_answers import unlike
from tests.example_count import example_count
from tests.openapi_document import document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.acceptance.caller import Callers
    from tests.acceptance.running_service import RunningService

pytestmark = pytest.mark.hypothesis

DOCUMENT = document()


def like_its_example(_context: Any, answer: Any, case: Any) -> None:
    """The answer has the members of its schema and no others, and looks as its example does."""
    said = case.operation.definition.raw["responses"].get(str(answer.status_code), {})
    if "$ref" in said:
        said = DOCUMENT["components"]["responses"][said["$ref"].rsplit("/", 1)[1]]
    kind = answer.headers.get("content-type", ["none"])[0].partition(";")[0]
    content = (said.get("content") or {}).get(kind)
    if content is not None and kind in {"application/json", "application/problem+json"}:
        schema = resolve(DOCUMENT["components"]["schemas"], content["schema"])
        assert list(unlike(DOCUMENT, schema, schema["examples"][0], answer.json())) == []


def no_server_error(_context: Any, answer: Any, _case: Any) -> None:
    """No answer is a server error. A record that no checkpoint covers yet is none: the answer says to try again."""
    is_early = answer.status_code == 503 and answer.json()["type"].endswith(f":{NotSealed.slug}")
    assert answer.status_code < 500 or is_early, answer.text


CHECKS = [
    like_its_example,
    no_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SCHEMA_CHECK = response_schema_conformance
METHODS = {"get", "post", "put", "patch", "delete"}
# The name of a C2SP tile holds slashes, which no path parameter of OpenAPI can: test_log_tiles asks for these.
NOT_DESCRIBED = ("/v1/log/tile/",)
OPERATIONS = [
    pytest.param(method.upper(), path, id=f"{method.upper()} {path}")
    for path, operations in sorted(document()["paths"].items())
    for method in sorted(operations)
    if method in METHODS and not path.startswith(NOT_DESCRIBED)
]
DECIDED = [
    case for case in OPERATIONS if str(case.values[1]).startswith("/v1/") and case.values[1] not in PUBLIC_ROUTES
]
EXAMPLES, FEW = example_count(2, uncut=10), example_count(1, uncut=2)
BAD_TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbmEifQ."
UNAUTHENTICATED = {400, 401, 404, 405, 413, 415, 431}


def with_rights(method: str, path: str) -> str:
    """A caller whom the policy allows to use the route."""
    if path.startswith("/v1/timesheets"):
        return "mia" if path.rsplit("/", 1)[1] in {"approve", "reject", "reopen"} else "ana"
    routes = {"uploads": "payroll-import", "decisions": "audrey", "audit": "audrey", "policies": "paula", "me": "ben"}
    return routes.get(path.split("/")[2], "adam") if path.startswith("/v1/") else "ana"


@pytest.fixture(scope="module")
def described(service: RunningService) -> Any:
    """The document that the running service serves."""
    return schemathesis.openapi.from_url(f"{service.addresses.api}/openapi.json")


@pytest.fixture(scope="module")
async def tokens(callers: Callers, undone: None) -> dict[str, str]:
    """Tokens by name."""
    names = ("ana", "ben", "mia", "audrey", "paula", "adam", "payroll-import")
    return {name: str((await callers(name)).token) for name in names}


def check_answer(
    operation: Any, token: str | None, modes: Mapping[GenerationMode, int], **known: Mapping[str, object]
) -> set[int]:
    """Send generated requests and judge each answer by the document; the statuses that came. `known` are parts that are
    not generated, such as path_parameters. A negative request needs something to be wrong with."""
    statuses: set[int] = set()
    session = requests.Session()
    session.trust_env = False
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    takes_something = bool(operation.body) or any(True for _ in operation.iter_parameters())
    for mode, examples in modes.items():
        if mode is GenerationMode.NEGATIVE and not takes_something:
            continue

        @settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(mode, **known))
        def send(case: schemathesis.Case[Any]) -> None:
            answer = case.call(session=session, headers=headers)
            statuses.add(answer.status_code)
            assert answer.headers.get("x-request-id")
            # OpenAPI cannot say that members are missing because the request did not ask for them.
            narrowed = "fields" in (case.query or {})
            case.validate_response(answer, checks=[it for it in CHECKS if not (narrowed and it is SCHEMA_CHECK)])

        send()
    session.close()
    return statuses


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_service_follows_its_document_for_callers_with_rights(
    described: Any, tokens: dict[str, str], method: str, path: str
) -> None:
    modes = {GenerationMode.POSITIVE: EXAMPLES, GenerationMode.NEGATIVE: EXAMPLES}

    check_answer(described[path][method], tokens[with_rights(method, path)], modes)


@pytest.mark.long
@pytest.mark.parametrize("who", ["ben", "payroll-import"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_service_follows_its_document_for_callers_with_few_rights(
    described: Any, tokens: dict[str, str], method: str, path: str, who: str
) -> None:
    modes = {GenerationMode.POSITIVE: FEW, GenerationMode.NEGATIVE: FEW}

    check_answer(described[path][method], tokens[who], modes)


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "path"), [operation for operation in OPERATIONS if "{timesheet_id}" in str(operation.values[1])]
)
async def test_the_service_follows_its_document_for_existing_sheets(
    described: Any, callers: Callers, tokens: dict[str, str], method: str, path: str
) -> None:
    make = submit_week if path.rsplit("/", 1)[1] in {"approve", "reject", "withdraw"} else draft
    sheet = (await make(await callers("ana"))).json()
    seen = {"If-Match": f'"{sheet["version"]}"'}
    known: dict[str, Mapping[str, object]] = {"headers": seen} if method != "GET" else {}
    ids = {"timesheet_id": sheet["id"]} | ({"entry_id": sheet["entries"][0]["id"]} if "{entry_id}" in path else {})
    token = tokens[with_rights(method, path)]
    modes = {GenerationMode.POSITIVE: EXAMPLES}

    await asyncio.to_thread(check_answer, described[path][method], token, modes, path_parameters=ids, **known)


@pytest.mark.long
@pytest.mark.parametrize("token", [BAD_TOKEN, None], ids=["bad token", "no token"])
@pytest.mark.parametrize(("method", "path"), DECIDED)
def test_nothing_is_to_be_had_without_a_valid_token(described: Any, method: str, path: str, token: str | None) -> None:
    modes = {GenerationMode.POSITIVE: FEW, GenerationMode.NEGATIVE: FEW}
    statuses = check_answer(described[path][method], token, modes)

    assert 401 in statuses
    assert statuses <= UNAUTHENTICATED
