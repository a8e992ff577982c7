"""What a browser app may send and read across origins is what the document says there is."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from service.web.http.cors import READ, SENT
from tests.openapi_document import document

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = document()

# Said by the frame of every answer, and by no operation.
ALWAYS = {"date", "content-type", "content-length"}


def resolved(node: Any) -> Any:
    """What stands here, or what it refers to."""
    if "$ref" not in node:
        return node
    return reduce(lambda found, name: found[name], node["$ref"].split("/")[1:], DOCUMENT)


def operations() -> Iterator[Any]:
    return (one for path in DOCUMENT["paths"].values() for one in path.values())


def test_an_app_may_send_every_header_that_an_operation_takes() -> None:
    taken = {
        parameter["name"].lower()
        for operation in operations()
        for parameter in map(resolved, operation.get("parameters", []))
        if parameter["in"] == "header"
    }
    assert {"if-match", "idempotency-key"} <= taken
    assert taken <= {one.lower() for one in SENT}


def test_an_app_may_read_every_header_that_an_answer_carries() -> None:
    carried = {
        name.lower()
        for operation in operations()
        for response in map(resolved, operation.get("responses", {}).values())
        for name in response.get("headers", {})
    }
    assert {"decision-id", "etag", "idempotent-replayed"} <= carried
    assert carried - ALWAYS <= {one.lower() for one in READ}
