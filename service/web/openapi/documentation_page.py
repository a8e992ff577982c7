"""The documentation page: an OpenAPI document as one HTML text, without scripts and without any other file. Pure.

Everything from the document is escaped on its way in; words between backticks become code. What only the reader knows
is a variable of the shell in the commands: `$TOKEN`, and ids such as `$TIMESHEET_ID`.
"""

from __future__ import annotations

import json
import re
from html import escape
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any, Final

from service.web.openapi.document import operations
from service.web.openapi.shapes import PREFIX, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BOUNDS: Final = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "default")
# Values of parameters that a request must have, by their types.
OF_TYPE: Final[Mapping[str, str]] = {"date": "2026-11-23", "integer": "1"}


def page(document: Mapping[str, Any], style: str) -> str:
    """The page of a document; `style` stands in it, so that its content policy may name its hash."""
    info, parts = document["info"], document["components"]
    (scheme,) = parts["securitySchemes"].values()
    scopes = {name: says for flow in scheme["flows"].values() for name, says in flow["scopes"].items()}
    groups = [
        (tag, [each for each in operations(document) if tag["name"] in each[2]["tags"]]) for tag in document["tags"]
    ]
    headers = [
        [f"<code id='header-{escape(name)}'>{escape(name)}</code>", _inline(said["description"]), _code(each["value"])]
        for name, said in parts["headers"].items()
        for each in said["examples"].values()
    ]
    return Template(read_static("documentation.html")).substitute(
        {name: escape(info.get(name, "")) for name in ("title", "version", "summary")},
        style=style,
        description=_prose(info["description"]),
        license=escape(info["license"]["name"]),
        contents="".join(_contents(tag["name"], found) for tag, found in groups if found),
        tokens=_prose(scheme["description"])
        + _table(["Scope", "lets a token"], [[_code(name), escape(says)] for name, says in scopes.items()]),
        groups="".join(
            f"<section><h2>{escape(tag['name'])}</h2>{_prose(tag['description'])}"
            f"{''.join(_operation(document, *each) for each in found)}</section>"
            for tag, found in groups
            if found
        ),
        shapes="".join(_shape(name, schema) for name, schema in parts["schemas"].items()),
        headers=_table(["Header", "What it says", "Example"], headers),
        problems="".join(_problem(name.removeprefix("Problem"), answer) for name, answer in parts["responses"].items()),
    )


def curl(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> str:
    """The command of an operation, over several lines if it is long, with its first example as the body."""
    kind, example = next(iter(_bodies(document, operation)), (None, None))
    given = operation.get("parameters", ())
    query = "&".join(
        f"{each['name']}={_value(each['schema'])}" for each in given if each["in"] == "query" and each.get("required")
    )
    places = re.sub(r"\{(\w+)\}", lambda found: f"${found[1].upper()}", path)
    verb = "" if method == "get" or (method == "post" and kind is not None) else f"-X {method.upper()} "
    base = document["servers"][0]["url"].rstrip("/") or "$API"
    parts = [f'curl -s {verb}"{base}{places}{"?" if query else ""}{query}"']
    parts += ['-H "Authorization: Bearer $TOKEN"'] if operation.get("security") else []
    parts += ["""-H 'If-Match: "7"'"""] if any(each["name"] == "If-Match" for each in given) else []
    if kind is not None:
        text = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False)
        parts += [f"-H {quoted(f'Content-Type: {kind}')}", f"--data-binary {quoted(text)}"]
    return " \\\n  ".join(parts)


def quoted(text: str) -> str:
    """A text as one word of the shell, as it is."""
    return "'" + text.replace("'", "'\\''") + "'"


def describe(schema: Mapping[str, Any]) -> str:
    """A schema in words, such as `integer, minimum 1, maximum 1440`."""
    match schema:
        case {"$ref": str(reference)}:
            return _link("shape", reference.removeprefix(PREFIX))
        case {"anyOf": list(alternatives)}:
            said = " or ".join(map(describe, alternatives))
        case {"enum": list(words)}:
            said = " or ".join(_code(str(word)) for word in words)
        case {"items": dict(items)}:
            said = f"list of {describe(items)}"
        case {"additionalProperties": dict(values)}:
            said = f"object of {describe(values)}"
        case _:
            said = escape(f"{schema['type']} ({schema['format']})" if "format" in schema else schema["type"])
    bounds = [f"{name} {_code(_plain(schema[name]))}" for name in BOUNDS if name in schema]
    return ", ".join([said, *bounds])


def read_static(name: str) -> str:
    """A text that stands beside the code."""
    return resources.files(__package__).joinpath(f"static/{name}").read_text("utf-8")


def _contents(tag: str, found: Iterable[tuple[str, str, Mapping[str, Any]]]) -> str:
    lines = "".join(
        f"<li>{_method(method)} <a href='#{escape(operation['operationId'])}' title='{escape(path)}'>"
        f"{escape(operation['summary'])}</a></li>"
        for method, path, operation in found
    )
    return f"<details open><summary>{escape(tag)}</summary><ul>{lines}</ul></details>"


def _operation(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> str:
    name, answers = escape(operation["operationId"]), operation["responses"]
    granted = [scopes for needs in operation.get("security", ()) for scopes in needs.values()]
    needs = " ".join(f"scope {_code(scope)}" for scopes in granted for scope in scopes)
    needs = needs or ("any valid token" if granted else "public")
    rows = [
        [
            _code(each["name"]),
            f"{each['in']}{'' if each.get('required') else ', optional'}",
            describe(each["schema"]),
            _inline(each["description"]),
        ]
        for each in operation.get("parameters", ())
    ]
    files = [f"<pre>{escape(said)}</pre>" for _, said in _bodies(document, operation) if isinstance(said, str)]
    return _article(
        name,
        f"{_method(method)} {_code(path)} <a class=here href='#{name}'>#</a>",
        f"<p>{_inline(operation['description'])}</p><p><span class=scope>{needs}</span></p>",
        f"<pre class=command>{escape(curl(document, method, path, operation))}</pre>",
        f"<h4>Parameters</h4>{_table(['Name', 'Where', 'What', ''], rows)}" if rows else "",
        *([f"<h4>Body: {_kinds(operation['requestBody'])}</h4>", *files] if "requestBody" in operation else []),
        *(_success(status, answer) for status, answer in answers.items() if "$ref" not in answer),
        "<h4>Problems</h4>",
        " · ".join(_link("problem", status) for status, answer in answers.items() if "$ref" in answer),
    )


def _success(status: str, answer: Mapping[str, Any]) -> str:
    files = [each for content in answer.get("content", {}).values() for each in content.get("examples", {}).values()]
    headers = ", ".join(_link("header", name) for name in answer.get("headers", {}))
    says = f"<h4>{escape(status)}: {_inline(answer['description'])}</h4>"
    says += f"<p>{_kinds(answer) or 'no body'} · headers {headers}</p>"
    return says + "".join(f"<pre class=answer>{escape(each['value'])}</pre>" for each in files)


def _shape(name: str, schema: Mapping[str, Any]) -> str:
    rows = [
        [_code(field), "" if field in schema["required"] else "optional", describe(said), _inline(said["description"])]
        for field, said in schema["properties"].items()
    ]
    parts = [_prose(schema["description"]), _table(["Field", "", "What", ""], rows)]
    return _article(f"shape-{escape(name)}", escape(name), *parts, *map(_json, schema.get("examples", ())))


def _problem(status: str, answer: Mapping[str, Any]) -> str:
    headers = ", ".join(_link("header", each) for each in answer["headers"])
    found = [each for content in answer["content"].values() for each in content["examples"].values()]
    examples = (f"<p>{escape(each['summary'])}</p>{_json(each['value'])}" for each in found)
    return _article(f"problem-{escape(status)}", escape(status), f"<p class=soft>Headers: {headers}</p>", *examples)


def _bodies(document: Mapping[str, Any], operation: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Each media type of a body, with its first example."""
    shapes = document["components"]["schemas"]
    contents = operation.get("requestBody", {}).get("content", {}).items()
    said = [
        (kind, each, [example["value"] for example in each.get("examples", {}).values()]) for kind, each in contents
    ]
    return [(kind, (found or resolve(shapes, each["schema"])["examples"])[0]) for kind, each, found in said]


def _kinds(said: Mapping[str, Any]) -> str:
    kinds = said.get("content", {}).items()
    return " or ".join(f"{describe(each['schema'])} <span class=soft>{escape(kind)}</span>" for kind, each in kinds)


def _value(schema: Mapping[str, Any]) -> str:
    return str((schema.get("enum") or [OF_TYPE.get(schema.get("format") or schema["type"], "...")])[0])


def _table(heads: list[str], rows: Iterable[list[str]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{cell}' for cell in row)}" for row in rows)
    return f"<div class=scroll><table><tr>{''.join(f'<th>{head}' for head in heads)}{lines}</table></div>"


def _article(name: str, head: str, *parts: str) -> str:
    return f"<article id='{name}'><h3>{head}</h3>{''.join(parts)}</article>"


def _link(kind: str, name: str) -> str:
    return f"<a href='#{kind}-{escape(name)}'>{escape(name)}</a>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n") if paragraph.strip())


def _inline(text: str) -> str:
    """A sentence, escaped, its backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _method(method: str) -> str:
    return f"<span class='method {method}'>{method.upper()}</span>"


def _plain(bound: object) -> str:
    """A bound or default as people write it: Litestar makes floats of integers."""
    whole = int(bound) if isinstance(bound, float) and bound.is_integer() else bound
    return whole if isinstance(whole, str) else json.dumps(whole)


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
