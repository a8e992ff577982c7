"""The headers that a browser app may send and read across origins are those of the OpenAPI document."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from service.web.http.cors import ALLOWED_HEADERS, EXPOSED_HEADERS
from tests.openapi_document import document

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = document()

# Every answer has these, so no operation lists them.
ALWAYS = {"date", "content-type", "content-length"}


def resolve(node: Any) -> Any:
    """The node itself, or the node that it refers to."""
    if "$ref" not in node:
        return node
    return reduce(lambda found, name: found[name], node["$ref"].split("/")[1:], DOCUMENT)


def operations() -> Iterator[Any]:
    return (operation for path in DOCUMENT["paths"].values() for operation in path.values())


def test_an_app_may_send_every_header_that_an_operation_takes() -> None:
    accepted = {
        parameter["name"].lower()
        for operation in operations()
        for parameter in map(resolve, operation.get("parameters", []))
        if parameter["in"] == "header"
    }
    assert {"if-match", "idempotency-key"} <= accepted
    assert accepted <= {name.lower() for name in ALLOWED_HEADERS}


def test_an_app_may_read_every_header_that_an_answer_carries() -> None:
    sent = {
        name.lower()
        for operation in operations()
        for response in map(resolve, operation.get("responses", {}).values())
        for name in response.get("headers", {})
    }
    assert {"decision-id", "etag", "idempotent-replayed"} <= sent
    assert sent - ALWAYS <= {name.lower() for name in EXPOSED_HEADERS}
