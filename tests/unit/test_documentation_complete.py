"""The OpenAPI document leaves nothing out: walked operation by operation, so that a new route has to comply."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from service import errors
from service.audit.export_formats import FORMATS
from service.web.http import problems
from service.web.http.authentication import PUBLIC
from service.web.http.preconditions import if_match
from service.web.http.problem_documents import PROBLEM_JSON, TYPE_PREFIX, TYPES
from service.web.openapi.documentation_page import operations, page
from service.web.openapi.documented_answers import WHOLE
from tests.openapi_document import document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DOCUMENT = document()
EVERY = [pytest.param(*one, id=f"{one[0].upper()} {one[1]}") for one in operations(DOCUMENT)]
DECIDED = [one for one in EVERY if str(one.values[1]).startswith("/v1/") and one.values[1] not in PUBLIC]
# Answered by the service, yet not by an operation: a path or method that there is not, what nobody foresaw (a stored
# log that contradicts itself among it), and families of the tree, which are answered by their members alone.
ELSEWHERE = {
    "no-such-route",
    "method-not-allowed",
    "internal",
    "log-damaged",
    "misconfigured",
    "bad-input",
    "unauthenticated",
    "denied",
    "not-applied",
}


def successes(one: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((status, found) for status, found in one["responses"].items() if status.startswith("2"))


def problem_of(one: Mapping[str, Any], status: int) -> Mapping[str, Any]:
    """The description of a problem answer, which every operation takes from the shared ones."""
    name = one["responses"][str(status)]["$ref"].removeprefix("#/components/responses/")
    found: Mapping[str, Any] = DOCUMENT["components"]["responses"][name]
    return found


def examples(content: Mapping[str, Any]) -> list[Any]:
    """Those of a body or an answer: at its place, or at the shape that it refers to."""
    if "examples" in content:
        return [one["value"] for one in content["examples"].values()]
    schema = content["schema"]
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].removeprefix("#/components/schemas/")]
    found: list[Any] = schema.get("examples", [])
    return found


def fits(schema: Mapping[str, Any], example: object) -> bool:
    return jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]}).is_valid(example)


@pytest.mark.parametrize(("method", "path", "one"), EVERY)
def test_every_operation_has_a_summary_a_description_and_a_group(
    method: str, path: str, one: Mapping[str, Any]
) -> None:
    assert re.fullmatch(r"[A-Z][^.]{3,79}", one["summary"])
    assert one["description"].startswith(one["summary"])
    assert len(one["tags"]) == 1


@pytest.mark.parametrize(("method", "path", "one"), DECIDED)
def test_every_operation_says_its_one_scope_or_that_any_token_will_do(
    method: str, path: str, one: Mapping[str, Any]
) -> None:
    ((scheme, scopes),) = one["security"][0].items()
    assert scheme in DOCUMENT["components"]["securitySchemes"]
    assert len(scopes) == 1 or path == "/v1/me"


@pytest.mark.parametrize(("method", "path", "one"), EVERY)
def test_every_body_has_an_example_that_fits(method: str, path: str, one: Mapping[str, Any]) -> None:
    body = one.get("requestBody")
    for kind, content in (body["content"] if body else {}).items():
        found = examples(content)
        assert found, f"{kind} needs an example: say msgspec.Meta(examples=[...]) at each field that it needs"
        assert all(fits(content["schema"], example) for example in found)


@pytest.mark.parametrize(("method", "path", "one"), EVERY)
def test_every_success_has_an_example_that_fits_or_no_body(method: str, path: str, one: Mapping[str, Any]) -> None:
    assert list(successes(one))
    for status, answer in successes(one):
        contents = answer.get("content") or {}
        assert contents or status == "204"
        for kind, content in contents.items():
            found = examples(content)
            assert found, (
                f"{kind} needs an example: a name in service/web/openapi/documented_examples.py, or examples of its own"
            )
            assert all(fits(content["schema"], example) for example in found), found


@pytest.mark.parametrize(("method", "path", "one"), DECIDED)
def test_every_operation_tells_of_every_problem_that_it_may_answer_with(
    method: str, path: str, one: Mapping[str, Any]
) -> None:
    due = {400, 401, 403, 422, 429, 431, 503}
    due |= {413, 415} if "requestBody" in one else set()
    due |= {404} if re.search(r"\{[a-z_]+_id\}", path) else set()
    due |= {412, 428} if any(given["name"] == "If-Match" for given in one.get("parameters", ())) else set()
    assert {str(status) for status in due} <= set(one["responses"])
    for status in one["responses"]:
        if not status.startswith(("2", "3")):
            slugs = set(problem_of(one, int(status))["content"][PROBLEM_JSON]["examples"])
            assert slugs
            assert all(f"`{slug}`" in problem_of(one, int(status))["description"] for slug in slugs)


def test_every_problem_that_can_be_answered_is_in_the_document_with_its_status() -> None:
    answered: dict[str, int] = {}
    waiting: list[type[errors.TimewardenError]] = [errors.TimewardenError]
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        if one.__module__.startswith((errors.__name__, problems.__name__)):
            answered[one.slug] = problems.status_of(one)
    described = {kind.slug: status for status, kinds in TYPES.items() for kind in kinds}
    assert {slug: status for slug, status in answered.items() if slug not in ELSEWHERE} == described
    shown = {
        example["value"]["type"].removeprefix(TYPE_PREFIX)
        for response in DOCUMENT["components"]["responses"].values()
        for example in response["content"][PROBLEM_JSON]["examples"].values()
    }
    assert shown == set(described)


def test_the_security_scheme_says_where_tokens_come_from_and_what_each_scope_lets_them() -> None:
    (scheme,) = DOCUMENT["components"]["securitySchemes"].values()
    assert scheme["type"] == "oauth2"
    assert set(scheme["flows"]) == {"authorizationCode", "clientCredentials"}
    for flow in scheme["flows"].values():
        assert flow["tokenUrl"].startswith("https://")
        assert all(flow["scopes"].values())


def test_every_field_of_every_shape_has_a_type() -> None:
    vague = [
        f"{name}.{field}"
        for name, schema in DOCUMENT["components"]["schemas"].items()
        for field, said in schema.get("properties", {}).items()
        if not said.keys() & {"type", "$ref", "oneOf", "anyOf", "enum", "const"}
    ]
    assert vague == []


def test_every_example_of_a_shape_is_on_the_page() -> None:
    shapes = page(DOCUMENT, "").split("<section id=shapes>", 1)[1].split("<section id=headers>", 1)[0]
    with_example = [name for name, schema in DOCUMENT["components"]["schemas"].items() if schema.get("examples")]
    assert len(with_example) > 40
    for name in with_example:
        assert "<pre>" in shapes.split(f"<article id='shape-{name}'>", 1)[1].split("</article>", 1)[0]


def test_every_example_of_a_shape_fits_it() -> None:
    shapes = DOCUMENT["components"]["schemas"]
    assert set(WHOLE) <= set(shapes)
    for name, schema in shapes.items():
        for example in schema.get("examples", []):
            parts = {**schema, "components": DOCUMENT["components"]}
            found = jsonschema_rs.validator_for(parts, validate_formats=True).iter_errors(example)
            assert [f"{name}: {one.message}" for one in found] == []
            closed = schema.get("type") == "object"
            assert not closed or example.keys() <= schema["properties"].keys(), name


def test_every_member_that_a_problem_may_have_is_in_its_shape() -> None:
    """Members are given as `extra={...}`, or put into an error's `extra` by name."""
    given: set[object] = set()
    for file in (Path(errors.__file__).parents[1]).rglob("*.py"):
        if "development" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict):
                given |= {one.value for one in node.value.keys if isinstance(one, ast.Constant)}
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "extra":
                assert isinstance(node.slice, ast.Constant)
                given.add(node.slice.value)
    assert {"fields", "rows", "refused", "items", "timesheet", "wanted"} <= given
    assert given <= DOCUMENT["components"]["schemas"]["Problem"]["properties"].keys()


def test_what_may_be_a_file_is_documented_in_all_its_media_types() -> None:
    def kinds(path: str) -> set[str]:
        return set(DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"])

    assert kinds("/v1/reports/hours") == {"application/json", "text/csv"}
    assert kinds("/v1/audit/export") == {
        "application/x-ndjson",
        *(FORMATS[name]().media_type.partition(";")[0] for name in FORMATS),
    }


@pytest.mark.parametrize("judging", [False, True])
def test_the_pattern_of_if_match_takes_what_the_service_takes(*, judging: bool) -> None:
    (path, method) = (
        ("/v1/timesheets/{timesheet_id}/approve", "post") if judging else ("/v1/timesheets/{timesheet_id}", "delete")
    )
    (given,) = [one for one in DOCUMENT["paths"][path][method]["parameters"] if one["name"] == "If-Match"]
    takes = jsonschema_rs.validator_for(given["schema"])
    for text in ('"7"', 'W/"7"', '""'):
        assert takes.is_valid(text), text
        if_match([text], exactly_one=judging)
    for text in ('"7", "8"', '"7" ,W/"x"', "*"):
        assert takes.is_valid(text) is not judging, text
    for text in ("7", '"7', '"7" "8"', "", "**", '"a b"'):
        assert not takes.is_valid(text), text
