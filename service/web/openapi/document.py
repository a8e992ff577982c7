"""The OpenAPI document of an app: Litestar's description of the routes, the schemas, and what all routes share.

Pure: owns no state. Problem answers come from the error tree. Idempotency-Key, If-None-Match and Link are added to the
operations that support them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from service.web.http.idempotency import CHANGE_METHODS, MAX_KEY_CHARS, PREFIXES_WITHOUT_KEY
from service.web.http.operations import DECISION as DECIDED
from service.web.http.problem_documents import ALWAYS, MEMBERS, UNDECIDED, Problem, kinds_by_status
from service.web.http.problems import PROBLEM_JSON, TYPE_PREFIX
from service.web.http.requests import BODY_METHODS
from service.web.http.responses import EXAMPLE_DECISION, EXAMPLE_DIGEST, EXAMPLE_ID
from service.web.openapi.shapes import PREFIX, Shapes, describe_shapes, make_example, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from litestar import Litestar

    from service.errors import TimewardenError

# Headers of problem answers, beside those of every problem.
PROBLEM_HEADERS: Final = {
    401: ("WWW-Authenticate", "DPoP-Nonce"),
    403: ("WWW-Authenticate",),
    429: ("RateLimit", "RateLimit-Policy", "Retry-After"),
    503: ("Retry-After",),
}
IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Your own name for this change. Send the same one when you repeat the request: the change is made"
    " once, and for 24 hours you get its stored answer, with `Idempotent-Replayed`",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS + 2, "examples": ['"8e03978e-40d5-43dd"']},
}
IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of the version that you have. If it is the current one, the answer is 304 without a body",
    "schema": {"type": "string", "maxLength": 512, "examples": ['"7"']},
}
# Routes that accept a key with some requests only.
KEY_RESTRICTIONS: Final = {
    "/v1/uploads": ". Only with `mode=together`, not in a dry run, and with a body of the usual maximum size",
    "/v1/directory/import": ". Only with a file of the usual maximum size of bodies",
}

# Each header's description and example.
HEADERS: Final[Mapping[str, tuple[str, str]]] = {
    "Decision-Id": ("The recorded decision; `/v1/decisions/{decision_id}` explains it", EXAMPLE_DECISION),
    "Decision-Leaf": ("The hash of the sealed record. Keep it to prove an omission from the log", EXAMPLE_DIGEST),
    "Audit-Positions": ("The first log position in the file, and the one after the last", "7-157"),
    "Content-Disposition": ("The name of the file", 'attachment; filename="hours-by-team-2026-11-01-2026-11-30.csv"'),
    "DPoP-Nonce": ("A nonce for the next proof (RFC 9449 section 8.2)", "AAAAAAHJw4A2m1Ggq0m3nq7p1s5eQ3rT"),
    "ETag": ("The version of the resource; send it back in If-Match to change it", '"7"'),
    "Idempotent-Replayed": ("This is the stored answer to an earlier request with this Idempotency-Key", "true"),
    "Link": (
        "The next page (RFC 8288); absent on the last page",
        '</v1/timesheets?state=draft&cursor=bGlzdA>; rel="next"',
    ),
    "Location": ("Where the new resource is", f"/v1/timesheets/{EXAMPLE_ID}"),
    "RateLimit": ("Remaining requests, and seconds until the window resets", '"client";r=1199;t=60'),
    "RateLimit-Policy": ("The limit: requests in a window of seconds", '"client";q=1200;w=60'),
    "Retry-After": ("Seconds after which the same request may succeed", "2"),
    "WWW-Authenticate": ("What is wrong with the token, or what is needed (RFC 6750)", 'Bearer realm="timewarden"'),
    "X-Request-Id": ("The id of this request in our logs; yours if you sent a UUID", EXAMPLE_ID),
}


def build_document(app: Litestar) -> dict[str, Any]:
    """The OpenAPI 3.1 document of an app, as it is served."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    parts = document["components"]
    enums = {PREFIX + name: schema for name, schema in parts.pop("schemas", {}).items() if "enum" in schema}
    parts["schemas"] = describe_shapes({Problem, *app.plugins.get(Shapes).found})
    parts["responses"] = {
        f"Problem{status}": _problem(status, kinds, parts["schemas"]) for status, kinds in kinds_by_status().items()
    }
    parts["headers"] = {
        name: {"description": description, "schema": {"type": "string"}, "examples": {"example": {"value": example}}}
        for name, (description, example) in HEADERS.items()
    }
    for method, path, operation in operations(document):
        if "parameters" in operation:
            operation["parameters"] = [_tidy_parameter(parameter, enums) for parameter in operation["parameters"]]
        # Public operations say so, as linters ask of every operation.
        operation.setdefault("security", [])
        if path.startswith("/v1/"):
            _complete_operation(parts["schemas"], path, method.upper(), operation)
    return document


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield every operation with its method and path, in the document's order."""
    for path, item in document["paths"].items():
        for method in ("get", "post", "put", "patch", "delete"):
            if method in item:
                yield method, path, item[method]


def _tidy_parameter(parameter: dict[str, Any], enums: Mapping[str, Any]) -> dict[str, Any]:
    """The parameter with its enum inlined and without null: an optional parameter is left out, and a URL has no null.
    Ids in paths are UUIDs."""
    schema = {name: value for name, value in parameter["schema"].items() if name != "description"}
    for kind in (*schema.pop("allOf", ()), *schema.pop("oneOf", ())):
        schema = schema if kind.get("type") == "null" else {**kind, **schema}
    if (reference := schema.pop("$ref", None)) is not None:
        schema |= {name: enums[reference][name] for name in ("type", "enum", "default") if name in enums[reference]}
    if (reference := schema.get("items", {}).get("$ref")) is not None:
        schema["items"] = {name: enums[reference][name] for name in ("type", "enum")}
    if None in schema.get("enum", ()):
        schema |= {"type": "string", "enum": [value for value in schema["enum"] if value is not None]}
    members = {name: value for name, value in parameter.items() if value is not False}
    if parameter["in"] == "path" and parameter["name"].endswith("_id"):
        noun = parameter["name"].removesuffix("_id")
        members, schema = {"description": f"The {noun}'s id", **members}, {**schema, "format": "uuid"}
    return {**members, "schema": schema}


def _complete_operation(schemas: Mapping[str, Any], path: str, method: str, operation: dict[str, Any]) -> None:
    """Add the parameters, answers and headers that the shared code of all routes handles."""
    answers = operation["responses"]
    added = []
    if method == "GET" and "ETag" in answers["200"].get("headers", {}):
        added.append(IF_NONE_MATCH)
        headers = {name: header for name, header in answers["200"]["headers"].items() if name != "Link"}
        answers["304"] = {"description": "Not Modified: you have the current version", "headers": headers}
    if keyed := method in CHANGE_METHODS and not path.startswith(PREFIXES_WITHOUT_KEY):
        added.append(
            {**IDEMPOTENCY_KEY, "description": f"{IDEMPOTENCY_KEY['description']}{KEY_RESTRICTIONS.get(path, '')}"}
        )
        answers.setdefault("409", {"$ref": "#/components/responses/Problem409"})
    if method in BODY_METHODS:
        # Also of a body that the route does not take.
        for status in (413, 415):
            answers.setdefault(str(status), {"$ref": f"#/components/responses/Problem{status}"})
    if added:
        operation["parameters"] = [*operation.get("parameters", []), *added]
    for status, answer in answers.items():
        contents = answer.get("content", {}).values()
        paged = any("next_cursor" in resolve(schemas, content["schema"]).get("properties", {}) for content in contents)
        for name, applies in (("Idempotent-Replayed", keyed), ("Link", paged)):
            if applies and status.startswith("2"):
                answer.setdefault("headers", {})[name] = {"$ref": f"#/components/headers/{name}"}


def _problem(status: int, kinds: Iterable[type[TimewardenError]], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The problem answers with a status, each kind with an example. A kind has its own members, so that a typed client
    that compares `type` may read them."""
    names, examples = ["X-Request-Id", *(() if status in UNDECIDED else DECIDED), *PROBLEM_HEADERS.get(status, ())], {}
    for kind in kinds:
        common = {"title": kind.summary, "status": status, "detail": kind.summary}
        more = {name: make_example(schemas, schemas["Problem"]["properties"][name]) for name in MEMBERS.get(kind, ())}
        examples[kind.slug] = {"summary": kind.summary, "value": {"type": TYPE_PREFIX + kind.slug, **common, **more}}
    known = schemas["Problem"]["properties"]
    kinds_by_members: dict[tuple[str, ...], list[str]] = {}
    for kind in kinds:
        kinds_by_members.setdefault(ALWAYS.get(kind, ()), []).append(TYPE_PREFIX + kind.slug)
    exact = [
        {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": types},
                "status": {"type": "integer", "const": status},
                **{name: known[name] for name in members},
            },
            "required": ["type", "status", *members],
        }
        for members, types in kinds_by_members.items()
    ]
    schema = {"allOf": [{"$ref": f"{PREFIX}Problem"}, exact[0] if len(exact) == 1 else {"oneOf": exact}]}
    return {
        "description": "; ".join(f"`{slug}`" for slug in examples),
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": {PROBLEM_JSON: {"schema": schema, "examples": examples}},
    }
