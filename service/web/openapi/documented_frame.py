"""What requests and answers share whatever the route, put into the OpenAPI document: idempotency keys and links to
next pages. Pure: owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from service.web.http.idempotency import CHANGING, LONGEST, WITHOUT
from service.web.openapi.documented_files import BINARY, FILES, NAMED, STRETCHES
from service.web.openapi.documented_shapes import with_nulls

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "/v1/"
KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Your own name for this change, the same when you send it again: it is made once, and its answer is"
    " given again for 24 hours, with `Idempotent-Replayed`",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST + 2, "examples": ['"8e03978e-40d5-43dd"']},
}
KNOWN: Final = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of the version that you have: if it is the present one, the answer is 304 and has no body",
    "schema": {"type": "string", "maxLength": 512, "examples": ['"7"']},
}
# Where not every request takes a key.
ONLY: Final = {
    "/v1/uploads": "; here with `mode=together` alone, not in a dry run, and with a body no larger than others may be",
    "/v1/directory/import": "; here with a file that is no larger than other bodies may be",
}


def framed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with what the frame adds to its operations."""
    for schema in document["components"]["schemas"].values():
        if isinstance(schema.get("default"), msgspec.Struct):
            # What stands for a body that is left out is no JSON, and says nothing that the operation does not.
            del schema["default"]
        if "examples" in schema:
            schema["examples"] = with_nulls(schema["examples"])
    for path, kinds in FILES.items():
        for operation in document["paths"].get(path, {}).values():
            _add_files(operation["responses"]["200"], path, kinds)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path.startswith(PREFIX):
                _complete(document, path, method.upper(), operation)
    return document


def _add_files(answer: dict[str, Any], path: str, kinds: Mapping[str, str]) -> None:
    """The media types of an answer that is a file, or may be one, each with an example."""
    for kind, example in kinds.items():
        binary = {"format": "binary"} if kind in BINARY else {}
        answer["content"][kind] = {"schema": {"type": "string", **binary}, "examples": {"file": {"value": example}}}
    for name, paths in (("Content-Disposition", NAMED), ("Audit-Positions", STRETCHES)):
        if path in paths:
            answer["headers"][name] = {"$ref": f"#/components/headers/{name}"}


def _add_not_modified(operation: dict[str, Any]) -> None:
    """A read that answers with a version takes If-None-Match."""
    operation["parameters"] = [*operation.get("parameters", []), KNOWN]
    headers = {name: one for name, one in operation["responses"]["200"]["headers"].items() if name != "Link"}
    operation["responses"]["304"] = {"description": "Not Modified: you have what there is", "headers": headers}


def _complete(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> None:
    if method == "GET" and "ETag" in operation["responses"].get("200", {}).get("headers", {}):
        _add_not_modified(operation)
    keyed = method in CHANGING and not path.startswith(WITHOUT)
    if keyed:
        key = {**KEY, "description": f"{KEY['description']}{ONLY.get(path, '')}"}
        operation["parameters"] = [*operation.get("parameters", []), key]
        operation["responses"].setdefault("409", {"$ref": "#/components/responses/Problem409"})
    for status, answer in operation["responses"].items():
        if not status.startswith("2"):
            continue
        if keyed:
            answer.setdefault("headers", {})["Idempotent-Replayed"] = {
                "$ref": "#/components/headers/Idempotent-Replayed"
            }
        if any(_has_pages(document, one.get("schema", {})) for one in answer.get("content", {}).values()):
            answer.setdefault("headers", {})["Link"] = {"$ref": "#/components/headers/Link"}


def _has_pages(document: dict[str, Any], schema: dict[str, Any]) -> bool:
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    return "next_cursor" in document["components"]["schemas"].get(name, {}).get("properties", {})
