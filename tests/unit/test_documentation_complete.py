"""The OpenAPI document leaves nothing out: walked operation by operation, so that a new route has to comply."""

from __future__ import annotations

import ast
import re
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import jsonschema_rs
import msgspec
import pytest

from service import errors
from service.administration.replay.tally import Group, ReplayOutcome
from service.audit.export_formats import FORMATS
from service.authorization.enforcement.capabilities import Availability
from service.authorization.enforcement.token_revocation import RevocationKind
from service.directory.entities import Part
from service.directory.import_file import ALLOWED
from service.directory.import_plan import Outcome as ImportOutcome
from service.directory.legal_holds import WHAT
from service.identity.principal import PrincipalKind
from service.log.record import Kind
from service.policy.access_request import Dimension, Effect, Reason
from service.policy.known_words import ACTIONS, STATES
from service.timesheets.reports_store import GroupBy
from service.timesheets.timesheet import State
from service.timesheets.upload_results import OUTCOMES
from service.web.http import problems
from service.web.http.authentication import PUBLIC_ROUTES
from service.web.http.operations import SCOPES
from service.web.http.parameters import MAX_PERSON_CHARS, MAX_TEAM_CHARS
from service.web.http.preconditions import parse_if_match
from service.web.http.problem_documents import ELSEWHERE, FAMILIES, SLUGS, walk_problem_kinds
from service.web.http.problems import PROBLEM_JSON, TYPE_PREFIX
from service.web.openapi.document import operations
from service.web.openapi.documentation_page import render_page
from service.web.openapi.shapes import resolve
from tests.openapi_document import document, validator_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

DOCUMENT = document()
EVERY = [pytest.param(*operation, id=f"{operation[0].upper()} {operation[1]}") for operation in operations(DOCUMENT)]
DECIDED = [case for case in EVERY if str(case.values[1]).startswith("/v1/") and case.values[1] not in PUBLIC_ROUTES]
CLOSED: Mapping[str, Iterable[object]] = {
    "SheetBody.state": State,
    "ItemResult.state": State,
    "AccessBody.state": State,
    "SheetBody.actions": ACTIONS["timesheet"],
    "HoursReport.by": get_args(GroupBy),
    "Uploaded.rows.outcome": OUTCOMES,
    "RowProblem.problem": SLUGS,
    "RefusedRow.problem": SLUGS,
    "RefusedItem.problem": SLUGS,
    "Problem.type": [TYPE_PREFIX + slug for slug in SLUGS],
    "ItemProblem.type": [TYPE_PREFIX + slug for slug in SLUGS],
    "MissingCondition.condition": get_args(Dimension),
    "ExplainedCondition.condition": get_args(Dimension),
    "RuleConditions.conditions": get_args(Dimension),
    "ExplainedRow.effect": Effect,
    "ExplainedMiss.effect": Effect,
    "ExplanationBody.outcome": Effect,
    "ExplanationBody.reason": Reason,
    "SimulationBody.verdict": Effect,
    "SimulationBody.reason": Reason,
    "Me.kind": PrincipalKind,
    "May.may": Availability,
    "May.kind": ACTIONS,
    "May.action": frozenset().union(*ACTIONS.values()),
    "Problem.state": frozenset().union(*STATES.values()),
    "May.states": frozenset().union(*STATES.values()),
    "RevocationBody.what": RevocationKind,
    "RecordBody.kind": Kind,
    "MembershipBody.part": Part,
    "NewMembership.part": Part,
    "ImportedRow.record": ALLOWED,
    "ImportedRow.outcome": get_args(ImportOutcome),
    "HoldBody.what": WHAT,
    "NewHold.what": WHAT,
    "ReplayGroup.change": ReplayOutcome,
    "ReplayGroup.by": get_args(Group),
    "ReplayExample.change": ReplayOutcome,
    "ResourceMetadata.scopes_supported": SCOPES,
}
# Texts of people, and words that a policy makes up: that their examples are words of the code too says nothing.
FREE = {
    *(f"{shape}.{field}" for shape in ("SimulatedThing", "SimulatedQuestion") for field in ("kind", "action", "state")),
    *(f"{shape}.{field}" for shape in ("Problem", "MissingCondition", "ExplainedCondition") for field in ("wanted",)),
    "SimulationBody.state",
    "NewHold.reason",
}


def successes(operation: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((status, found) for status, found in operation["responses"].items() if status.startswith("2"))


def problem_of(operation: Mapping[str, Any], status: int) -> Mapping[str, Any]:
    """The description of a problem answer, which every operation takes from the shared ones."""
    name = operation["responses"][str(status)]["$ref"].removeprefix("#/components/responses/")
    found: Mapping[str, Any] = DOCUMENT["components"]["responses"][name]
    return found


def examples(content: Mapping[str, Any]) -> list[Any]:
    """Those of a body or an answer: at its place, or at the shape that it refers to."""
    if "examples" in content:
        return [example["value"] for example in content["examples"].values()]
    schema = content["schema"]
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].removeprefix("#/components/schemas/")]
    found: list[Any] = schema.get("examples", [])
    return found


def fits(schema: Mapping[str, Any], example: object) -> bool:
    return validator_of(schema).is_valid(example)


def shapes() -> Iterator[type[msgspec.Struct]]:
    """Every Struct of the document."""
    known: dict[str, type[msgspec.Struct]] = {}
    waiting: list[type[msgspec.Struct]] = [msgspec.Struct]
    while waiting:
        waiting += (kind := waiting.pop()).__subclasses__()
        if kind.__module__.startswith("service.web."):
            known[kind.__name__] = kind
    shown = [name for name, schema in DOCUMENT["components"]["schemas"].items() if "properties" in schema]
    assert known.keys() >= set(shown)
    return (known[name] for name in shown)


def accepted_words(shape: type[msgspec.Struct], body: object) -> bool:
    try:
        msgspec.json.decode(msgspec.json.encode(body), type=shape)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(("method", "path", "operation"), EVERY)
def test_every_operation_has_a_summary_a_description_and_a_group(
    method: str, path: str, operation: Mapping[str, Any]
) -> None:
    assert re.fullmatch(r"[A-Z][^.]{3,79}", operation["summary"])
    assert operation["description"].startswith(operation["summary"])
    assert len(operation["tags"]) == 1


@pytest.mark.parametrize(("method", "path", "operation"), DECIDED)
def test_every_operation_says_which_one_scope_is_enough_or_that_any_token_will_do(
    method: str, path: str, operation: Mapping[str, Any]
) -> None:
    for needs in operation["security"]:
        ((scheme, scopes),) = needs.items()
        assert scheme in DOCUMENT["components"]["securitySchemes"]
        assert len(scopes) == 1 or path == "/v1/me"


@pytest.mark.parametrize(("method", "path", "operation"), EVERY)
def test_every_body_has_an_example_that_fits(method: str, path: str, operation: Mapping[str, Any]) -> None:
    body = operation.get("requestBody")
    for kind, content in (body["content"] if body else {}).items():
        found = examples(content)
        assert found, f"{kind} needs an example: say msgspec.Meta(examples=[...]) at each field that it needs"
        assert all(fits(content["schema"], example) for example in found)


@pytest.mark.parametrize(("method", "path", "operation"), EVERY)
def test_every_success_has_an_example_that_fits_or_no_body(
    method: str, path: str, operation: Mapping[str, Any]
) -> None:
    assert list(successes(operation))
    for status, answer in successes(operation):
        contents = answer.get("content") or {}
        assert contents or status == "204"
        for kind, content in contents.items():
            found = examples(content)
            assert found, f"{kind} needs an example: say msgspec.Meta(examples=[...]) at each field"
            assert all(fits(content["schema"], example) for example in found), found


@pytest.mark.parametrize(("method", "path", "operation"), DECIDED)
def test_every_operation_tells_of_every_problem_that_it_may_answer_with(
    method: str, path: str, operation: Mapping[str, Any]
) -> None:
    due = {400, 401, 403, 422, 429, 431, 503}
    due |= {413, 415} if "requestBody" in operation else set()
    due |= {404} if re.search(r"\{[a-z_]+_id\}", path) else set()
    due |= {412, 428} if any(given["name"] == "If-Match" for given in operation.get("parameters", ())) else set()
    assert {str(status) for status in due} <= set(operation["responses"])
    for status in operation["responses"]:
        if not status.startswith(("2", "3")):
            slugs = set(problem_of(operation, int(status))["content"][PROBLEM_JSON]["examples"])
            assert slugs
            assert all(f"`{slug}`" in problem_of(operation, int(status))["description"] for slug in slugs)


def test_every_problem_that_can_be_answered_is_in_the_document_with_its_status() -> None:
    answered: set[str] = set()
    waiting: list[type[errors.TimewardenError]] = [errors.TimewardenError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith((errors.__name__, problems.__name__)) and kind not in FAMILIES:
            answered.add(kind.slug)
    assert answered == set(SLUGS)
    assert len(SLUGS) == len(set(SLUGS)) > 30
    shown = {
        (example["value"]["type"].removeprefix(TYPE_PREFIX), example["value"]["status"])
        for response in DOCUMENT["components"]["responses"].values()
        for example in response["content"][PROBLEM_JSON]["examples"].values()
    }
    described = {(kind.slug, problems.status_of(kind)) for kind in walk_problem_kinds()}
    elsewhere = {("no-such-route", 404), *((slug, status) for slug, status in described if status in ELSEWHERE)}
    assert {slug for slug, _ in elsewhere} == {"no-such-route", "method-not-allowed", "internal", "log-damaged"}
    assert shown == described - elsewhere


def test_the_security_scheme_says_where_tokens_come_from_and_what_each_scope_lets_them() -> None:
    (scheme,) = DOCUMENT["components"]["securitySchemes"].values()
    assert scheme["type"] == "oauth2"
    assert set(scheme["flows"]) == {"authorizationCode", "clientCredentials"}
    for flow in scheme["flows"].values():
        assert flow["tokenUrl"].startswith("https://")
        assert all(flow["scopes"].values())


def fields() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every field of every shape."""
    for name, schema in DOCUMENT["components"]["schemas"].items():
        yield from ((f"{name}.{field}", said) for field, said in schema.get("properties", {}).items())


def enums(node: object) -> Iterator[list[str]]:
    """Every enum in a schema, of its items and alternatives too."""
    if isinstance(node, dict):
        if isinstance(found := node.get("enum"), list):
            yield found
        if "enum" in (named := resolve(DOCUMENT["components"]["schemas"], node)) and "$ref" in node:
            yield named["enum"]
        for name, value in node.items():
            if name != "examples":
                yield from enums(value)
    elif isinstance(node, list):
        for value in node:
            yield from enums(value)


def words_of_the_code() -> set[str]:
    """Every word of a StrEnum of the service."""
    found: set[str] = set()
    waiting: list[type[StrEnum]] = [StrEnum]
    while waiting:
        waiting += (kind := waiting.pop()).__subclasses__()
        found |= {str(word) for word in kind} if kind.__module__.startswith("service.") else set()
    return found


def test_every_field_of_every_shape_has_a_type_and_a_description() -> None:
    told = list(fields())
    assert len(told) > 300
    assert [name for name, said in told if not said.keys() & {"type", "$ref", "anyOf"}] == []
    assert [name for name, said in told if not re.fullmatch(r"[A-Z`].{1,}[^.]", said.get("description", ""))] == []
    assert [name for name, said in DOCUMENT["components"]["schemas"].items() if not said["description"]] == []


def test_every_parameter_has_a_description() -> None:
    vague = [
        f"{method} {path}: {given['name']}"
        for method, path, operation in operations(DOCUMENT)
        for given in operation.get("parameters", ())
        if not given.get("description")
    ]
    assert vague == []


@pytest.mark.parametrize("name", CLOSED)
def test_every_closed_set_is_an_enum_of_the_words_that_the_code_has(name: str) -> None:
    shape, *path = name.split(".")
    schema = DOCUMENT["components"]["schemas"][shape]
    for field in path:
        said = schema["properties"][field]
        schema = resolve(DOCUMENT["components"]["schemas"], said.get("items", said) if field == "rows" else said)
    (found,) = enums(schema)
    assert sorted(found) == sorted(map(str, CLOSED[name]))


def test_no_field_with_words_of_the_code_is_any_text() -> None:
    words = words_of_the_code()
    assert {"approved", "deny-rule", "user", "lead", "allow_to_deny"} <= words
    texts = {
        name: said["examples"][0]
        for name, said in fields()
        if said.get("examples") and isinstance(said["examples"][0], str) and not list(enums(said))
    }
    assert len(texts) > 50
    assert {name for name, example in texts.items() if example in words} - FREE == set()


# Answers that hold such an id and no names.
NAMELESS = {
    "EntryBody": "a part of a sheet, whose names have its project",
    "ErasureBody": "who was erased has no name",
    "HeldAccess": "a part of `Me`, whose names have its team or project",
    "Problem": "the person or sheet that stands in the way",
}
NAMED_MEMBERS = frozenset({
    "person", "owner", "team", "project", "parent", "merged_into", "delegator", "delegate", "decided_by", "asked_by",
    "activated_by", "about",
})  # fmt: skip


def test_an_answer_with_the_id_of_a_person_team_or_project_can_have_its_name() -> None:
    answers = [shape for shape in shapes() if not shape.__struct_config__.forbid_unknown_fields]
    without = {
        shape.__name__
        for shape in answers
        if NAMED_MEMBERS & set(shape.__struct_encode_fields__) and "names" not in shape.__struct_encode_fields__
    }
    assert without == NAMELESS.keys()


PEOPLE = frozenset({"person", "person_id", "owner", "delegator", "delegate", "into", "about", "on_behalf_of"})
TEAMS = frozenset({"team", "team_id", "parent"})
# An address in the path of an erasure would stay in logs of proxies.
BY_ID_ALONE = frozenset({"erase_person.person_id"})


def longest(schema: Mapping[str, Any]) -> int:
    """The greatest length of a text that the schema accepts."""
    return max(map(longest, schema["anyOf"])) if "anyOf" in schema else schema.get("maxLength", 0)


def test_a_request_that_names_a_person_or_team_takes_an_address_or_a_name() -> None:
    asked = {
        f"{operation['operationId']}.{given['name']}": given["schema"]
        for _, _, operation in operations(DOCUMENT)
        for given in operation.get("parameters", ())
        if "name" in given
    }
    for shape in shapes():
        if shape.__struct_config__.forbid_unknown_fields:
            properties = DOCUMENT["components"]["schemas"][shape.__name__]["properties"]
            asked |= {f"{shape.__name__}.{name}": schema for name, schema in properties.items()}
    found = {name: longest(schema) for name, schema in asked.items() if name not in BY_ID_ALONE}
    people, teams = ({name for name in found if name.rpartition(".")[2] in words} for words in (PEOPLE, TEAMS))
    assert len(people) > 20
    assert len(teams) > 10
    assert [name for name in people if found[name] < MAX_PERSON_CHARS] == []
    assert [name for name in teams if found[name] < MAX_TEAM_CHARS] == []


def test_the_nullable_fields_of_requests_are_those_that_the_service_accepts_as_null() -> None:
    for shape in shapes():
        if not shape.__struct_config__.forbid_unknown_fields:
            continue
        schema = DOCUMENT["components"]["schemas"][shape.__name__]
        for field in msgspec.structs.fields(shape):
            said = schema["properties"][field.encode_name]
            whole = {**schema["examples"][0], field.encode_name: None}
            assert fits(schema, whole) == fits(said, None), (shape, field.name)
            assert accepted_words(shape, whole) == fits(said, None), (shape, field.name)
            left_out = {name: value for name, value in whole.items() if name != field.encode_name}
            assert accepted_words(shape, left_out) == (field.encode_name not in schema["required"]), (shape, field.name)


def test_an_answer_holds_all_its_fields_but_those_that_may_be_unset_and_says_what_null_means() -> None:
    for shape in shapes():
        if shape.__struct_config__.forbid_unknown_fields:
            continue
        schema = DOCUMENT["components"]["schemas"][shape.__name__]
        hints = get_type_hints(shape)
        for field in msgspec.structs.fields(shape):
            kinds = get_args(hints[field.name])
            said = schema["properties"][field.encode_name]
            assert (msgspec.UnsetType not in kinds) == (field.encode_name in schema["required"]), (shape, field.name)
            assert (NoneType in kinds) == fits(said, None), (shape, field.name)
            assert NoneType not in kinds or "null" in said["description"], (shape, field.name)


def test_nothing_private_of_the_framework_is_imported() -> None:
    found = []
    for file in (Path(errors.__file__).parent).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            found += [f"{file.name}: {name}" for name in names if name.startswith("litestar") and "._" in name]
    assert found == []


def test_every_example_of_a_shape_is_on_the_page() -> None:
    shapes = render_page(DOCUMENT, "", "").split("<section id=shapes>", 1)[1].split("<section id=headers>", 1)[0]
    with_example = [name for name, schema in DOCUMENT["components"]["schemas"].items() if schema.get("examples")]
    assert len(with_example) > 40
    for name in with_example:
        assert "<pre>" in shapes.split(f"<article id='shape-{name}'>", 1)[1].split("</article>", 1)[0]


def test_every_example_of_a_shape_fits_it() -> None:
    shapes = DOCUMENT["components"]["schemas"]
    for name, schema in shapes.items():
        for example in schema.get("examples", []):
            parts = {**schema, "components": DOCUMENT["components"]}
            found = jsonschema_rs.validator_for(parts, validate_formats=True).iter_errors(example)
            assert [f"{name}: {complaint.message}" for complaint in found] == []
            closed = schema.get("type") == "object"
            assert not closed or example.keys() <= schema["properties"].keys(), name


def test_every_member_that_a_problem_may_have_is_in_its_shape() -> None:
    """Members are given as `extra={...}`, or put into an error's `extra` by name."""
    given: set[object] = set()
    for file in (Path(errors.__file__).parent).rglob("*.py"):
        if "development" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict):
                given |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
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
def test_the_pattern_of_if_match_accepts_the_same_values_as_the_service(*, judging: bool) -> None:
    (path, method) = (
        ("/v1/timesheets/{timesheet_id}/approve", "post") if judging else ("/v1/timesheets/{timesheet_id}", "delete")
    )
    (given,) = [
        parameter for parameter in DOCUMENT["paths"][path][method]["parameters"] if parameter["name"] == "If-Match"
    ]
    takes = jsonschema_rs.validator_for(given["schema"])
    for text in ('"7"', 'W/"7"', '""'):
        assert takes.is_valid(text), text
        parse_if_match([text], exactly_one=judging)
    for text in ('"7", "8"', '"7" ,W/"x"', "*"):
        assert takes.is_valid(text) is not judging, text
    for text in ("7", '"7', '"7" "8"', "", "**", '"a b"'):
        assert not takes.is_valid(text), text
