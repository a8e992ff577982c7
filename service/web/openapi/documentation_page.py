"""The documentation page: an OpenAPI document as one HTML text, without scripts and without any other file. Pure.

Everything from the document is escaped on its way in; words between backticks become code.
"""

from __future__ import annotations

import json
import re
from html import escape
from typing import TYPE_CHECKING, Any, Final

from service.web.openapi.documentation_requests import curl
from service.web.openapi.documentation_shapes import fields_table, resolved, shape_link, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

METHODS: Final = ("get", "post", "put", "patch", "delete")
_CODE = re.compile(r"`([^`]+)`")


def page(document: Mapping[str, Any], style: str) -> str:
    """The page of a document; `style` stands in it, so that its content policy may name its hash."""
    info = document["info"]
    body = "".join(
        [
            f"<header><h1>{escape(info['title'])} <small class=soft>{escape(info['version'])}</small></h1>",
            f"<p class=soft>{escape(info.get('summary', ''))}</p>",
            prose(info.get("description", "")),
            "<p>The same for machines: <a href=openapi.json>openapi.json</a> (OpenAPI 3.1). ",
            f"Licence: {escape(info['license']['name'])}.</p>",
            "<p>A click on a command selects all of it. <code>$TOKEN</code> is an access token; set what else begins",
            " with a dollar sign, too.</p></header>",
            _contents(document),
            "<main>",
            _tokens(document),
            *(_group(document, tag) for tag in document["tags"] if _of_tag(document, tag["name"])),
            _shapes(document),
            _headers(document),
            _problems(document),
            "</main>",
        ]
    )
    return (
        '<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width,'
        f'initial-scale=1"><title>{escape(info["title"])} API</title><style>{style}</style></head>'
        f"<body>{body}</body></html>\n"
    )


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every operation with its method and path, in the document's order."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def prose(text: str) -> str:
    """Paragraphs of a description."""
    return "".join(f"<p>{inline(one)}</p>" for one in text.split("\n\n") if one.strip())


def inline(text: str) -> str:
    """A sentence, escaped, its backticks as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _of_tag(document: Mapping[str, Any], tag: str) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [one for one in operations(document) if tag in one[2].get("tags", [])]


def _contents(document: Mapping[str, Any]) -> str:
    sections = []
    for tag in document["tags"]:
        found = _of_tag(document, tag["name"])
        lines = "".join(
            f"<li>{_method(method)} <a href='#{escape(one['operationId'])}' title='{escape(path)}'>"
            f"{escape(one['summary'])}</a></li>"
            for method, path, one in found
        )
        if found:
            sections.append(f"<details open><summary>{escape(tag['name'])}</summary><ul>{lines}</ul></details>")
    more = "<a href='#tokens'>Tokens and scopes</a> · <a href='#shapes'>Shapes</a> · <a href='#headers'>Headers</a> · "
    return f"<nav><p>{more}<a href='#problems'>Problems</a></p>{''.join(sections)}</nav>"


def _tokens(document: Mapping[str, Any]) -> str:
    parts = ["<section id=tokens><h2>Tokens and scopes</h2>"]
    for scheme in document["components"]["securitySchemes"].values():
        parts.append(prose(scheme.get("description", "")))
        scopes: dict[str, str] = {}
        for flow in scheme["flows"].values():
            scopes |= flow["scopes"]
        rows = "".join(f"<tr><td><code>{escape(name)}</code><td>{escape(says)}" for name, says in scopes.items())
        parts.append(f"<div class=scroll><table><tr><th>Scope<th>lets a token{rows}</table></div>")
    return "".join([*parts, "</section>"])


def _group(document: Mapping[str, Any], tag: Mapping[str, Any]) -> str:
    articles = "".join(_operation(document, *one) for one in _of_tag(document, tag["name"]))
    return f"<section><h2>{escape(tag['name'])}</h2>{prose(tag.get('description', ''))}{articles}</section>"


def _operation(document: Mapping[str, Any], method: str, path: str, one: Mapping[str, Any]) -> str:
    problems = [status for status in one["responses"] if "$ref" in one["responses"][status]]
    links = " · ".join(f"<a href='#problem-{escape(status)}'>{escape(status)}</a>" for status in problems)
    return "".join(
        [
            f"<article id='{escape(one['operationId'])}'><h3>{_method(method)} <code>{escape(path)}</code>",
            f" <a class=here href='#{escape(one['operationId'])}'>#</a></h3>",
            f"<p>{inline(one['description'])}</p><p>{_needs(one)}</p>",
            f"<pre class=command>{escape(curl(document, method, path, one))}</pre>",
            _parameters(document, one.get("parameters", [])),
            _body(document, one.get("requestBody")),
            *(
                _success(document, status, one["responses"][status])
                for status in one["responses"]
                if status not in problems
            ),
            f"<h4>Problems</h4><p>{links}</p>" if links else "",
            "</article>",
        ]
    )


def _needs(one: Mapping[str, Any]) -> str:
    if not one.get("security"):
        return "<span class=scope>public</span>"
    scopes = [scope for alternative in one["security"] for granted in alternative.values() for scope in granted]
    return " ".join(f"<span class=scope>scope <code>{escape(scope)}</code></span>" for scope in scopes) or (
        "<span class=scope>any valid token</span>"
    )


def _parameters(document: Mapping[str, Any], parameters: list[Mapping[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = []
    for one in parameters:
        says = inline(one.get("description") or "")
        needed = "needed" if one.get("required") else "optional"
        rows.append(
            f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}, {needed}"
            f"<td>{words_of(document, one['schema'])}<td>{says}"
        )
    return f"<h4>Parameters</h4><div class=scroll><table><tr><th>Name<th>Where<th>What<th>{''.join(rows)}</table></div>"


def _body(document: Mapping[str, Any], body: Mapping[str, Any] | None) -> str:
    if body is None:
        return ""
    parts = []
    for media, content in body["content"].items():
        schema = resolved(document, content["schema"])
        parts.append(f"<h4>Body: {shape_link(content['schema'])} <span class=soft>{escape(media)}</span></h4>")
        parts.append(fields_table(document, schema))
        parts.extend(f"<pre>{_written(example)}</pre>" for example in schema.get("examples", [])[:1])
    return "".join(parts)


def _success(document: Mapping[str, Any], status: str, response: Mapping[str, Any]) -> str:
    shapes = " or ".join(words_of(document, content["schema"]) for content in (response.get("content") or {}).values())
    names = ", ".join(f"<a href='#header-{escape(name)}'>{escape(name)}</a>" for name in response.get("headers", {}))
    return (
        f"<h4>{escape(status)}: {inline(response['description'])}</h4><p>{shapes or 'no body'}"
        f"{' · headers ' + names if names else ''}</p>{_answers(document, response)}"
    )


def _answers(document: Mapping[str, Any], response: Mapping[str, Any]) -> str:
    """An example for each media type, to be opened."""
    found = []
    for media, content in (response.get("content") or {}).items():
        examples = [one["value"] for one in content.get("examples", {}).values()]
        for one in (examples or resolved(document, content["schema"]).get("examples", []))[:1]:
            text = _written(one)
            found.append(
                f"<details><summary>For example, as {escape(media)}</summary><pre class=answer>{text}</pre></details>"
            )
    return "".join(found)


def _shapes(document: Mapping[str, Any]) -> str:
    parts = ["<section id=shapes><h2>Shapes</h2>"]
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(
            f"<article id='shape-{escape(name)}'><h3>{escape(name)}</h3>{prose(schema.get('description') or '')}"
        )
        parts.append(fields_table(document, schema) if "properties" in schema else words_of(document, schema))
        parts.extend(f"<pre>{_json(example)}</pre>" for example in schema.get("examples", [])[:1])
        parts.append("</article>")
    return "".join([*parts, "</section>"])


def _headers(document: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr id='header-{escape(name)}'><td><code>{escape(name)}</code><td>{inline(one['description'])}"
        f"<td><code>{escape(one['examples']['example']['value'])}</code>"
        for name, one in document["components"]["headers"].items()
    )
    table = f"<div class=scroll><table><tr><th>Header<th>What it says<th>Example{rows}</table></div>"
    return f"<section id=headers><h2>Headers of answers</h2>{table}</section>"


def _problems(document: Mapping[str, Any]) -> str:
    parts = ["<section id=problems><h2>Problems</h2><p>RFC 9457 documents, <code>application/problem+json</code>.</p>"]
    for name, response in document["components"]["responses"].items():
        status = name.removeprefix("Problem")
        names = ", ".join(f"<a href='#header-{escape(one)}'>{escape(one)}</a>" for one in response["headers"])
        parts.append(
            f"<article id='problem-{escape(status)}'><h3>{escape(status)}</h3><p class=soft>Headers: {names}</p>"
        )
        for content in response["content"].values():
            parts.extend(
                f"<p>{escape(example['summary'])}</p><pre>{_json(example['value'])}</pre>"
                for example in content["examples"].values()
            )
        parts.append("</article>")
    return "".join([*parts, "</section>"])


def _method(method: str) -> str:
    return f"<span class='method {escape(method)}'>{escape(method.upper())}</span>"


def _written(example: object) -> str:
    """An example: a file as it is, else as JSON."""
    return escape(example) if isinstance(example, str) else _json(example)


def _json(value: object) -> str:
    return escape(json.dumps(value, indent=2, ensure_ascii=False))
