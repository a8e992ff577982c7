"""Requests of the documentation page as curl commands that can be copied. Pure: owns no state.

What only the reader knows is a variable of the shell: `$TOKEN`, and ids such as `$TIMESHEET_ID`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from service.web.openapi.documentation_shapes import resolved

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Values of parameters that a request must have, by their types.
OF_TYPE: Final[Mapping[str, str]] = {"date": "2026-11-23", "integer": "1"}
SEEN: Final = 'If-Match: "7"'
_PLACE: Final = re.compile(r"\{(\w+)\}")


def curl(document: Mapping[str, Any], method: str, path: str, one: Mapping[str, Any]) -> str:
    """The command of an operation, over several lines if it is long, with its first example as the body."""
    kind, example = _body(document, one)
    told = method == "get" or (method == "post" and kind is not None)
    parts = [f'curl -s {"" if told else f"-X {method.upper()} "}"{_address(document, path, one)}"']
    if one.get("security"):
        parts.append('-H "Authorization: Bearer $TOKEN"')
    if any(given["name"] == "If-Match" for given in one.get("parameters", ())):
        parts.append(f"-H {quoted(SEEN)}")
    if kind is not None:
        text = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False)
        parts += [f"-H {quoted(f'Content-Type: {kind}')}", f"--data-binary {quoted(text)}"]
    return " \\\n  ".join(parts)


def quoted(text: str) -> str:
    """A text as one word of the shell, as it is."""
    return "'" + text.replace("'", "'\\''") + "'"


def _address(document: Mapping[str, Any], path: str, one: Mapping[str, Any]) -> str:
    base = document["servers"][0]["url"].rstrip("/") if document.get("servers") else ""
    query = "&".join(f"{given['name']}={_value(document, given)}" for given in _needed(one))
    places = _PLACE.sub(lambda found: f"${found[1].upper()}", path)
    return f"{base or '$API'}{places}{'?' if query else ''}{query}"


def _needed(one: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (given for given in one.get("parameters", ()) if given["in"] == "query" and given.get("required"))


def _value(document: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    schema = resolved(document, given["schema"])
    choice = schema.get("enum") or [OF_TYPE.get(str(schema.get("format") or schema.get("type")), "...")]
    return str(choice[0])


def _body(document: Mapping[str, Any], one: Mapping[str, Any]) -> tuple[str | None, Any]:
    """The first media type of the body, with an example."""
    for kind, content in one.get("requestBody", {}).get("content", {}).items():
        for example in content.get("examples", {}).values():
            return kind, example["value"]
        for example in resolved(document, content["schema"]).get("examples", ()):
            return kind, example
    return None, None
