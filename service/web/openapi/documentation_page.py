"""The documentation page: renders an OpenAPI document as one HTML text, without other files. Pure.

It can be read without its script, which adds forms to build and send requests.
All text from the document is escaped, and words between backticks become code. In the commands, values that only the
reader knows are shell variables: `$TOKEN`, and ids such as `$TIMESHEET_ID`.
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
# Example values of required parameters, by type.
EXAMPLE_VALUES: Final[Mapping[str, str]] = {"date": "2026-11-23", "integer": "1"}


def render_page(document: Mapping[str, Any], style: str, script: str) -> str:
    """The page of a document. `style` and `script` are inlined, so that the content security policy can name their
    hashes."""
    info, parts = document["info"], document["components"]
    (scheme,) = parts["securitySchemes"].values()
    scopes = {name: meaning for flow in scheme["flows"].values() for name, meaning in flow["scopes"].items()}
    groups = [
        (tag, [found for found in operations(document) if tag["name"] in found[2]["tags"]]) for tag in document["tags"]
    ]
    headers = [
        [
            f"<code id='header-{escape(name)}'>{escape(name)}</code>",
            _inline(header["description"]),
            _code(example["value"]),
        ]
        for name, header in parts["headers"].items()
        for example in header["examples"].values()
    ]
    return Template(read_static("documentation.html")).substitute(
        {name: escape(info.get(name, "")) for name in ("title", "version", "summary")},
        style=style,
        script=script,
        description=_prose(info["description"]),
        license=escape(info["license"]["name"]),
        contact=_contact(info["contact"]),
        contents="".join(_contents(tag["name"], found) for tag, found in groups if found),
        tokens=_prose(scheme["description"])
        + _table(["Scope", "Allows a token to"], [[_code(name), escape(meaning)] for name, meaning in scopes.items()]),
        groups="".join(
            f"<section><h2>{escape(tag['name'])}</h2>{_prose(tag['description'])}"
            f"{''.join(_operation(document, *operation) for operation in found)}</section>"
            for tag, found in groups
            if found
        ),
        shapes="".join(_shape(name, schema) for name, schema in parts["schemas"].items()),
        headers=_table(["Header", "Meaning", "Example"], headers),
        problems="".join(_problem(name.removeprefix("Problem"), answer) for name, answer in parts["responses"].items()),
    )


def _contact(contact: Mapping[str, str]) -> str:
    """A sentence with a link to the operators; empty without their address."""
    return f" <a href='{escape(contact['url'])}'>{escape(contact['name'])}</a>." if "url" in contact else ""


def curl(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> str:
    """A curl command for an operation, with its first example as the body. Each option has a line of its own."""
    kind, example = next(iter(_bodies(document, operation)), (None, None))
    parameters = operation.get("parameters", ())
    query = "&".join(
        f"{parameter['name']}={_value(parameter['schema'])}"
        for parameter in parameters
        if parameter["in"] == "query" and parameter.get("required")
    )
    places = re.sub(r"\{(\w+)\}", lambda found: f"${found[1].upper()}", path)
    verb = "" if method == "get" or (method == "post" and kind is not None) else f"-X {method.upper()} "
    base = document["servers"][0]["url"].rstrip("/") or "$API"
    parts = [f'curl -s {verb}"{base}{places}{"?" if query else ""}{query}"']
    parts += ['-H "Authorization: Bearer $TOKEN"'] if operation.get("security") else []
    parts += ["""-H 'If-Match: "7"'"""] if any(parameter["name"] == "If-Match" for parameter in parameters) else []
    if kind is not None:
        text = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False)
        parts += [f"-H {shell_quote(f'Content-Type: {kind}')}", f"--data-binary {shell_quote(text)}"]
    return " \\\n  ".join(parts)


def shell_quote(text: str) -> str:
    """Quote a text as one word of the shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def describe(schema: Mapping[str, Any]) -> str:
    """A schema in words, such as `integer, minimum 1, maximum 1440`."""
    match schema:
        case {"$ref": str(reference)}:
            return _link("shape", reference.removeprefix(PREFIX))
        case {"anyOf": list(alternatives)}:
            words = " or ".join(map(describe, alternatives))
        case {"enum": list(values)}:
            words = " or ".join(_code(str(value)) for value in values)
        case {"prefixItems": list(items)}:
            words = f"({', '.join(map(describe, items))})"
        case {"items": dict(items)}:
            words = f"list of {describe(items)}"
        case {"additionalProperties": dict(values)}:
            words = f"object of {describe(values)}"
        case _:
            words = escape(f"{schema['type']} ({schema['format']})" if "format" in schema else schema["type"])
    bounds = [f"{name} {_code(_format_bound(schema[name]))}" for name in BOUNDS if name in schema]
    return ", ".join([words, *bounds])


def read_static(name: str) -> str:
    """Read a text file of the `static` folder."""
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
            _code(parameter["name"]),
            f"{parameter['in']}{'' if parameter.get('required') else ', optional'}",
            describe(parameter["schema"]),
            _inline(parameter["description"]),
        ]
        for parameter in operation.get("parameters", ())
    ]
    files = [f"<pre>{escape(body)}</pre>" for _, body in _bodies(document, operation) if isinstance(body, str)]
    return _article(
        name,
        f"{_method(method)} {_code(path)} <a class=here href='#{name}'>#</a>",
        f"<p>{_inline(operation['description'])}</p><p><span class=scope>{needs}</span></p>",
        f"<pre class=command>{escape(curl(document, method, path, operation))}</pre>",
        f"<h4>Parameters</h4>{_table(['Name', 'In', 'Type', 'Description'], rows)}" if rows else "",
        *([f"<h4>Body: {_kinds(operation['requestBody'])}</h4>", *files] if "requestBody" in operation else []),
        *(_success(status, answer) for status, answer in answers.items() if "$ref" not in answer),
        "<h4>Problems</h4>",
        " · ".join(_link("problem", status) for status, answer in answers.items() if "$ref" in answer),
    )


def _success(status: str, answer: Mapping[str, Any]) -> str:
    contents = answer.get("content", {}).values()
    examples = [example for content in contents for example in content.get("examples", {}).values()]
    headers = ", ".join(_link("header", name) for name in answer.get("headers", {}))
    head = f"<h4>{escape(status)}: {_inline(answer['description'])}</h4>"
    summary = f"<p>{_kinds(answer) or 'no body'} · headers {headers}</p>"
    return head + summary + "".join(f"<pre class=answer>{escape(example['value'])}</pre>" for example in examples)


def _shape(name: str, schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return _article(f"shape-{escape(name)}", escape(name), f"<p>{describe(schema)}</p>")
    rows = [
        [
            _code(name),
            "always" if name in schema["required"] else "optional",
            describe(field),
            _inline(field["description"]),
        ]
        for name, field in schema["properties"].items()
    ]
    parts = [_prose(schema["description"]), _table(["Field", "Present", "Type", "Description"], rows)]
    return _article(f"shape-{escape(name)}", escape(name), *parts, *map(_json, schema.get("examples", ())))


def _problem(status: str, answer: Mapping[str, Any]) -> str:
    headers = ", ".join(_link("header", name) for name in answer["headers"])
    examples = [
        f"<p>{escape(example['summary'])}</p>{_json(example['value'])}"
        for content in answer["content"].values()
        for example in content["examples"].values()
    ]
    return _article(f"problem-{escape(status)}", escape(status), f"<p class=soft>Headers: {headers}</p>", *examples)


def _bodies(document: Mapping[str, Any], operation: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Each media type of a body, with its first example."""
    schemas = document["components"]["schemas"]
    bodies = []
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        examples = [example["value"] for example in content.get("examples", {}).values()]
        bodies.append((kind, (examples or resolve(schemas, content["schema"])["examples"])[0]))
    return bodies


def _kinds(body: Mapping[str, Any]) -> str:
    """The type of a body in each of its media types."""
    contents = body.get("content", {}).items()
    return " or ".join(
        f"{describe(content['schema'])} <span class=soft>{escape(kind)}</span>" for kind, content in contents
    )


def _value(schema: Mapping[str, Any]) -> str:
    return str((schema.get("enum") or [EXAMPLE_VALUES.get(schema.get("format") or schema["type"], "...")])[0])


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
    """Escape a sentence and turn its backticks into code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _method(method: str) -> str:
    return f"<span class='method {method}'>{method.upper()}</span>"


def _format_bound(bound: object) -> str:
    """Format a bound or a default. Litestar turns integers into floats, so whole floats lose their `.0`."""
    whole = int(bound) if isinstance(bound, float) and bound.is_integer() else bound
    return whole if isinstance(whole, str) else json.dumps(whole)


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
