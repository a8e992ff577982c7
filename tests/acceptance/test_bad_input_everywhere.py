"""Bad input to every route, made from the OpenAPI document: what it forbids is refused by name, and nothing is a 500.

A route that is new is tried without a line here, with a person whose token holds its scope.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from service.web.openapi.document import operations
from tests.acceptance.caller import problem
from tests.acceptance.forbidden_input import DOCUMENT, forbids, places, resolve, with_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

    from tests.acceptance.caller import Caller, Callers

pytestmark = pytest.mark.usefixtures("nothing_unexpected", "undone")

EVERY = [(method.upper(), path, operation) for method, path, operation in operations(DOCUMENT) if operation["security"]]
WHO = {
    "read:timesheets": "ana",
    "create:timesheets": "ana",
    "delete:timesheets": "ana",
    "approve:timesheets": "mia",
    "batch:upload": "payroll-import",
    "read:audit": "audrey",
    "read:policies": "paula",
    "write:policies": "paula",
    "manage:directory": "adam",
    "manage:tokens": "adam",
}
EXAMPLE_ID = "0198c0de-0000-7000-8000-00000000dead"
FILES = ("text/csv", "application/x-ndjson")
MEGABYTES_10 = 10 * 1024 * 1024
# Any kind of value, of any size: what of these a field may hold, its schema says. The first are tried in `make test`.
WRONG: list[Any] = [None, "", "x" * 20_000, "2026-02-30", -1, 7.5, 10**30, [None]]
WRONG_TOO: list[Any] = [True, "60", -(10**400), 1e308, [], {}]
TEXTS = ["", "x" * 700, "-1", "1e3", "\u0000", "2026-13-45"]
TEXTS_TOO = ["7", "0", "true", "null", "é\u202e", EXAMPLE_ID + "a"]
# Characters that no text may hold, and characters that are odd but allowed.
NEVER, ODD = ("A\u0000B", "A\ud800B"), "\u202eABC\ufffe\U000e0001\u0300"
WRITTEN_WRONG = [
    b"[]",
    b"null",
    b"7",
    b'"text"',
    b"true",
    b"",
    b"{",
    b"{}{}",
    b"\xff\xfe",
    b"[" * 50_000,
    b'{"a":1e999}',
]


def json_kind(operation: Mapping[str, Any]) -> str | None:
    """The media type of a JSON body, if the operation takes one."""
    kinds = operation.get("requestBody", {}).get("content", {})
    return next((kind for kind in kinds if kind.endswith("json") and kind not in FILES), None)


WITH_BODY = [pytest.param(*entry, id=f"{entry[0]} {entry[1]}") for entry in EVERY if json_kind(entry[2])]
WITH_ANY_BODY = [pytest.param(*entry, id=f"{entry[0]} {entry[1]}") for entry in EVERY if "requestBody" in entry[2]]
WITH_FILE = [
    pytest.param(*entry, kind, id=f"{entry[0]} {entry[1]} {kind}")
    for entry in EVERY
    for kind in FILES
    if kind in entry[2].get("requestBody", {}).get("content", {})
]
WITH_PARAMETERS = [pytest.param(*entry, id=f"{entry[0]} {entry[1]}") for entry in EVERY if entry[2].get("parameters")]


def fill_path(path: str) -> str:
    concrete = path.replace("{number}", "1").replace("{role}", "auditor").replace("{code}", "NOWHERE")
    return re.sub(r"\{[a-z_]+\}", EXAMPLE_ID, concrete)


async def somebody(callers: Callers, operation: Mapping[str, Any]) -> Caller:
    """Whose token holds the scope of the operation."""
    scopes = operation["security"][0]["oauth"]
    return await callers(WHO[scopes[0]] if scopes else "ana")


async def send(caller: Caller, method: str, path: str, kind: str, content: bytes) -> httpx2.Response:
    return await caller.send(method, fill_path(path), content=content, headers={"Content-Type": kind}, if_match='"1"')


def assert_named(answer: httpx2.Response) -> list[str]:
    return [field["field"] for field in problem(answer, 422, "invalid-field")["fields"]]


def is_explained(answer: httpx2.Response) -> None:
    """Taken, or refused with a problem document; never our fault."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["Content-Type"].split(";")[0] == "application/problem+json"
        assert answer.json()["detail"]


@pytest.mark.parametrize("values", [WRONG, pytest.param(WRONG_TOO, marks=pytest.mark.long)], ids=["first", "further"])
@pytest.mark.parametrize(("method", "path", "operation"), WITH_BODY)
async def test_every_field_of_every_body_refuses_by_name_what_the_document_forbids(
    callers: Callers, method: str, path: str, operation: dict[str, Any], values: list[Any]
) -> None:
    caller, kind = await somebody(callers, operation), str(json_kind(operation))
    schema = operation["requestBody"]["content"][kind]["schema"]
    example = resolve(schema)["examples"][0]
    tried = 0
    for field, keys, said in places(schema, example):
        for value in values:
            if not forbids(said, value):
                continue
            answer = await send(caller, method, path, kind, json.dumps(with_value(example, keys, value)).encode())
            told = assert_named(answer)
            assert any(name == field or name.startswith((f"{field}.", f"{field}[")) for name in told), (
                f"{field} = {str(value)[:60]}: {answer.text}"
            )
            tried += 1
    assert tried or not resolve(schema)["properties"]


@pytest.mark.parametrize(("method", "path", "operation"), WITH_BODY)
async def test_no_text_of_any_body_is_our_fault(
    callers: Callers, method: str, path: str, operation: dict[str, Any]
) -> None:
    caller, kind = await somebody(callers, operation), str(json_kind(operation))
    schema = operation["requestBody"]["content"][kind]["schema"]
    example = resolve(schema)["examples"][0]
    for _, keys, said in places(schema, example):
        for value in (*NEVER, ODD):
            if not forbids(said, value):
                answer = await send(caller, method, path, kind, json.dumps(with_value(example, keys, value)).encode())
                is_explained(answer)
                assert value == ODD or answer.status_code >= 400, answer.text


@pytest.mark.parametrize(("method", "path", "operation"), WITH_BODY)
async def test_what_no_object_is_and_members_that_are_missing_or_unknown_are_explained(
    callers: Callers, method: str, path: str, operation: dict[str, Any]
) -> None:
    caller, kind = await somebody(callers, operation), str(json_kind(operation))
    schema = resolve(operation["requestBody"]["content"][kind]["schema"])
    example = schema["examples"][0]
    for content in WRITTEN_WRONG:
        answer = await send(caller, method, path, kind, content)
        assert answer.status_code in {400, 422} or content == b"", answer.text
        is_explained(answer)
    for name in schema.get("required", ()):
        less = {member: value for member, value in example.items() if member != name}
        assert assert_named(await send(caller, method, path, kind, json.dumps(less).encode())) == [name]
    more = json.dumps({**example, "surprise": 1}).encode()
    assert assert_named(await send(caller, method, path, kind, more)) == ["surprise"]
    if example:
        name, value = next(iter(example.items()))
        twice = json.dumps(example)[:-1] + f", {json.dumps(name)}: {json.dumps(value)}}}"
        assert assert_named(await send(caller, method, path, kind, twice.encode())) == [name]


@pytest.mark.parametrize(("method", "path", "operation"), WITH_BODY)
async def test_ten_megabytes_of_json_are_too_many(
    callers: Callers, method: str, path: str, operation: dict[str, Any]
) -> None:
    caller, kind = await somebody(callers, operation), str(json_kind(operation))
    content = b'{"a":"' + b"x" * MEGABYTES_10 + b'"}'

    problem(await send(caller, method, path, kind, content), 413, "body-too-large")


@pytest.mark.parametrize(("method", "path", "operation"), WITH_ANY_BODY)
async def test_every_body_has_its_media_types_and_no_others(
    callers: Callers, method: str, path: str, operation: dict[str, Any]
) -> None:
    caller, taken = await somebody(callers, operation), operation["requestBody"]["content"]
    for kind in {"application/json", "text/csv", "application/xml", "text/plain", "*/*", "json"} - set(taken):
        answer = await send(caller, method, path, kind, b"{}")
        problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize(("method", "path", "operation", "kind"), WITH_FILE)
async def test_no_file_is_our_fault(
    callers: Callers, method: str, path: str, operation: dict[str, Any], kind: str
) -> None:
    caller = await somebody(callers, operation)
    rows: list[bytes] = [
        b"",
        b"\n" * 1000,
        b"\x00" * 1000,
        b"\xff\xfe\x00\x00",
        b"a,b\n" * 1000,
        b'"' * 1001,
        b'{"owner":' * 1000,
        b"x" * 2_000_000,
        "\ufeffowner;day;project\n=cmd|' /C calc'!A0;1;1\n".encode(),
    ]
    for content in rows:
        answer = await send(caller, method, path, kind, content)
        is_explained(answer)
        assert answer.status_code >= 400, answer.text


@pytest.mark.parametrize("texts", [TEXTS, pytest.param(TEXTS_TOO, marks=pytest.mark.long)], ids=["first", "further"])
@pytest.mark.parametrize(("method", "path", "operation"), WITH_PARAMETERS)
async def test_every_parameter_refuses_by_name_what_the_document_forbids(
    callers: Callers, method: str, path: str, operation: dict[str, Any], texts: list[str]
) -> None:
    caller, kind = await somebody(callers, operation), json_kind(operation)
    body = resolve(operation["requestBody"]["content"][kind]["schema"])["examples"][0] if kind else None
    content = None if body is None else json.dumps(body).encode()
    headers = {} if kind is None else {"Content-Type": kind}
    needed = {given["name"]: _something(given["schema"]) for given in operation["parameters"] if _is_needed(given)}
    for given in operation["parameters"]:
        for text in texts:
            where, query, seen = fill_path(path), dict(needed), '"1"'
            if given["in"] == "path":
                where = fill_path(path.replace(f"{{{given['name']}}}", quote(text, safe="")))
            elif given["in"] == "query":
                query[given["name"]] = text
            else:
                seen = text if text.isascii() and text.isprintable() else "W/1"
            answer = await caller.send(method, where, content=content, headers=headers, params=query, if_match=seen)
            is_explained(answer)
            wrong = given["in"] == "path" and given["schema"].get("format") == "uuid" and text
            wrong = wrong or (given["in"] == "query" and _forbidden(given["schema"], text))
            if wrong:
                assert f"{given['in']}.{given['name']}" in assert_named(answer), f"{text!r}: {answer.text}"
    if method == "GET":
        answer = await caller.send(method, fill_path(path), params={**needed, "surprise": "1"})
        assert assert_named(answer) == ["query.surprise"]


def _is_needed(given: Mapping[str, Any]) -> bool:
    return bool(given["in"] == "query" and given.get("required"))


def _something(schema: Mapping[str, Any]) -> str:
    """A value that a parameter takes."""
    found = resolve(schema)
    any_of_type = "1" if found.get("type") == "integer" else "2026-11-23"
    return str(found.get("enum", found.get("examples", [any_of_type]))[0])


def _forbidden(schema: Mapping[str, Any], text: str) -> bool:
    """Whether a text in a query is nothing that the schema allows, in any reading."""
    readings: list[object] = [text, [text]]
    if re.fullmatch(r"-?[0-9]{1,9}|1e3", text):
        readings.append(int(float(text)))
    if text in {"true", "false", "0", "1"}:
        readings.append(text in {"true", "1"})
    return all(forbids(schema, reading) for reading in readings)
