"""The OpenAPI document is valid and complete, and its page shows all of it without any other host."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import tomllib
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import httpx2
import jsonschema_rs
import pytest
import schemathesis
from litestar import Litestar, get
from litestar.params import QueryParameter

from service import VERSION
from service.web.http.authentication import PUBLIC_ROUTES
from service.web.http.operations import COMMON, SCOPES, SECURITY_SCHEME
from service.web.http.operations import operation as make_operation
from service.web.http.problem_documents import kinds_by_status
from service.web.http.problems import PROBLEM_JSON, status_of
from service.web.http.requests import RequestFrame
from service.web.identity.metadata import metadata_routes
from service.web.openapi.document import build_document, operations
from service.web.openapi.documentation import (
    content_security_policy,
    documentation_routes,
    openapi_config,
)
from service.web.openapi.documentation_page import render_page, shell_quote
from service.web.openapi.shapes import Shapes, resolve
from tests.openapi_document import app, document

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
STYLE = (ROOT / "service/web/openapi/static/documentation.css").read_text(encoding="utf-8")
SCRIPT = (ROOT / "service/web/openapi/static/builder.js").read_text(encoding="utf-8")
HOSTILE = "<script>alert('\"&')</script>"
MAY_LINK = re.compile(r"https://(www\.rfc-editor\.org|www\.apache\.org)/")


class Links(HTMLParser):
    """Everything in a page that names something else, and every id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts = 0
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value or "")
            if name in {"src", "href", "action", "data", "srcset", "poster"}:
                self.targets.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return document()


@pytest.fixture(scope="module")
def shown(whole: dict[str, Any]) -> Links:
    return Links(render_page(whole, STYLE, SCRIPT))


def decided_operations(whole: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [entry for entry in operations(whole) if entry[1].startswith("/v1/") and entry[1] not in PUBLIC_ROUTES]


def answer(whole: Mapping[str, Any], operation: Mapping[str, Any], status: int) -> Any:
    found = operation["responses"][str(status)]
    name = found.get("$ref", "").removeprefix("#/components/responses/")
    return whole["components"]["responses"][name] if name else found


def with_parts(whole: Mapping[str, Any], schema: Any) -> dict[str, Any]:
    return {**schema, "components": whole["components"]}


def test_the_document_is_valid_openapi_3_1(whole: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(whole).validate()
    assert whole["openapi"].startswith("3.1.")


def test_the_document_can_be_written_down(whole: dict[str, Any]) -> None:
    assert json.loads(json.dumps(whole)) == whole


def test_every_reference_in_the_document_leads_somewhere(whole: dict[str, Any]) -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(reference := node.get("$ref"), str):
                found: Any = whole
                for part in reference.removeprefix("#/").split("/"):
                    found = found[part]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(whole)


def test_every_operation_says_what_a_token_needs_or_that_it_needs_none(whole: dict[str, Any]) -> None:
    for _, path, operation in operations(whole):
        assert (operation["security"] == []) == (not path.startswith("/v1/") or path in PUBLIC_ROUTES), path


def test_a_member_that_may_be_left_out_says_its_default_in_words(whole: dict[str, Any]) -> None:
    shapes = whole["components"]["schemas"]
    assert not [
        name
        for name, shape in shapes.items()
        if any("default" in each for each in shape.get("properties", {}).values())
    ]
    assert shapes["SimulatedSubject"]["properties"]["as"]["description"].endswith("; `user` if left out")


def test_a_kind_of_problem_has_the_members_that_it_always_has(whole: dict[str, Any]) -> None:
    (_, kinds) = whole["components"]["responses"]["Problem403"]["content"][PROBLEM_JSON]["schema"]["allOf"]
    members = {
        kind["properties"]["type"]["enum"][0].rpartition(":")[2]: kind["required"][2:] for kind in kinds["oneOf"]
    }
    assert members == {"insufficient-scope": ["required_scope"], "forbidden": ["reasons"]}


def test_every_operation_has_a_name_of_its_own_and_a_described_tag(whole: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(whole)]
    assert len(names) == len(set(names)) > 20
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in names)
    described = {tag["name"] for tag in whole["tags"] if tag["description"]}
    assert {tag for _, _, operation in operations(whole) for tag in operation["tags"]} <= described


def test_every_decided_operation_names_a_known_scope_or_takes_any_token(whole: dict[str, Any]) -> None:
    for _, path, operation in decided_operations(whole):
        words = operation["description"]
        for needs in operation["security"]:
            assert list(needs) == [SECURITY_SCHEME], path
            assert set(needs[SECURITY_SCHEME]) <= set(SCOPES), path
            assert all(f"`{scope}`" in words for scope in needs[SECURITY_SCHEME])
            assert needs[SECURITY_SCHEME] or "any valid token" in words


def test_every_decided_operation_tells_of_refusals_and_outages(whole: dict[str, Any]) -> None:
    for _, path, operation in decided_operations(whole):
        for status in (401, 403, 503):
            assert PROBLEM_JSON in answer(whole, operation, status)["content"], path
        assert "WWW-Authenticate" in answer(whole, operation, 401)["headers"]
        assert "WWW-Authenticate" in answer(whole, operation, 403)["headers"]
        assert "Retry-After" in answer(whole, operation, 503)["headers"]


def test_every_decided_answer_names_its_decision(whole: dict[str, Any]) -> None:
    for _, path, operation in decided_operations(whole):
        for status in operation["responses"]:
            if status not in {"400", "401", "408", "413", "415", "429", "431"}:
                assert {"Decision-Id", "Decision-Leaf"} <= set(answer(whole, operation, int(status))["headers"]), path


def test_every_conditional_operation_needs_if_match_and_answers_with_an_etag(whole: dict[str, Any]) -> None:
    conditional = [operation for _, _, operation in operations(whole) if "428" in operation["responses"]]
    assert len(conditional) >= 9
    for operation in conditional:
        (found,) = [given for given in operation["parameters"] if given["name"] == "If-Match"]
        assert found["in"] == "header"
        assert found["required"]
        (success,) = [status for status in operation["responses"] if status.startswith("2")]
        assert success == "204" or "ETag" in operation["responses"][success]["headers"]


def test_every_body_is_closed_and_has_an_example_that_fits_it(whole: dict[str, Any]) -> None:
    bodies = [
        (path, operation["requestBody"]) for _, path, operation in operations(whole) if "requestBody" in operation
    ]
    assert len(bodies) >= 10
    for path, body in bodies:
        for content in body["content"].values():
            schema = resolve(whole["components"]["schemas"], content["schema"])
            assert schema.get("type") == "string" or schema["additionalProperties"] is False, path
            said = [each["value"] for each in content.get("examples", {}).values()]
            example = (said or schema["examples"])[0]
            assert example, path
            jsonschema_rs.validator_for(with_parts(whole, content["schema"])).validate(example)


def test_no_parameter_may_be_null_and_ids_in_paths_are_uuids(whole: dict[str, Any]) -> None:
    for _, path, operation in operations(whole):
        for given in operation.get("parameters", []):
            assert re.fullmatch(r"[a-z_]+|If-Match|If-None-Match|Idempotency-Key", given["name"])
            assert "oneOf" not in given["schema"], (path, given["name"])
            if given["in"] == "path" and given["name"].endswith("_id"):
                assert given["schema"]["format"] == "uuid"


def test_every_problem_example_fits_the_problem_shape_and_its_status(whole: dict[str, Any]) -> None:
    shape = jsonschema_rs.validator_for(with_parts(whole, {"$ref": "#/components/schemas/Problem"}))
    for status, kinds in kinds_by_status().items():
        content = whole["components"]["responses"][f"Problem{status}"]["content"][PROBLEM_JSON]
        examples, exact = content["examples"], jsonschema_rs.validator_for(with_parts(whole, content["schema"]))
        assert list(examples) == [kind.slug for kind in kinds]
        assert all(status_of(kind) == status for kind in kinds)
        for example in examples.values():
            shape.validate(example["value"])
            exact.validate(example["value"])
            assert not exact.is_valid({**example["value"], "status": 499})
            assert not exact.is_valid({**example["value"], "type": "urn:timewarden:problem:internal"})
            assert example["value"]["status"] == status


def test_scopes_are_the_same_in_the_document_the_metadata_and_the_policy(whole: dict[str, Any]) -> None:
    vocabulary = tomllib.loads((ROOT / "policies/vocabulary.toml").read_text(encoding="utf-8"))["scopes"]
    flows = whole["components"]["securitySchemes"][SECURITY_SCHEME]["flows"]
    assert set(flows) == {"authorizationCode", "clientCredentials"}
    assert all(flow["scopes"] == vocabulary == dict(SCOPES) for flow in flows.values())
    assert metadata_routes("https://api.example", ["https://issuer.example"])


def test_the_document_has_the_version_of_the_project() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"] == VERSION


def test_every_operation_is_on_the_page_with_its_scope(whole: dict[str, Any], shown: Links) -> None:
    text = render_page(whole, STYLE, SCRIPT)
    for method, path, operation in operations(whole):
        assert operation["operationId"] in shown.ids
        article = text.split(f"<article id='{operation['operationId']}'>", 1)[1].split("</article>", 1)[0]
        assert method.upper() in article
        assert f"<code>{escape(path)}</code>" in article
        for needs in operation.get("security", []):
            assert all(f"<code>{scope}</code>" in article for scope in needs[SECURITY_SCHEME])
        for given in operation.get("parameters", []):
            assert f"<code>{given['name']}</code>" in article


def test_every_operation_has_a_command_that_a_shell_reads_as_it_is_meant(whole: dict[str, Any]) -> None:
    text = render_page(whole, STYLE, SCRIPT)
    for method, path, operation in operations(whole):
        article = text.split(f"<article id='{operation['operationId']}'>", 1)[1].split("</article>", 1)[0]
        command = unescape(article.split("<pre class=command>", 1)[1].split("</pre>", 1)[0])
        words = shlex.split(command)
        assert words[:2] == ["curl", "-s"]
        given = {words[place + 1] for place, word in enumerate(words) if word == "-H"}
        (address,) = [word for word in words if word.startswith("https://timewarden.example/")]
        said = re.sub(r"\$([A-Z_]+)", lambda found: "{" + found[1].lower() + "}", address.partition("?")[0])
        assert said == f"https://timewarden.example{path}"
        assert ("Authorization: Bearer $TOKEN" in given) == bool(operation.get("security"))
        conditional = any(other["name"] == "If-Match" for other in operation.get("parameters", ()))
        assert any(re.fullmatch('If-Match: "[0-9]+"', other) for other in given) == conditional
        sent = words[words.index("-X") + 1] if "-X" in words else "POST" if "--data-binary" in words else "GET"
        assert sent == method.upper()
        if "--data-binary" in words:
            body = words[words.index("--data-binary") + 1]
            (kind,) = [other.removeprefix("Content-Type: ") for other in given if other.startswith("Content-Type")]
            schema = operation["requestBody"]["content"][kind]["schema"]
            if kind.endswith("json"):
                jsonschema_rs.validator_for(with_parts(whole, schema)).validate(json.loads(body))


def test_the_page_shows_files_unchanged_and_lists_choices(whole: dict[str, Any]) -> None:
    article = render_page(whole, STYLE, SCRIPT).split("<article id='upload_hours'>", 1)[1].split("</article>", 1)[0]
    assert "<pre>owner,day,project,minutes,external_ref\n" in article
    assert "<code>together</code> or <code>per-row</code>" in article
    assert "boolean, default <code>false</code>" in article


def test_a_command_says_a_text_with_quotes_as_it_is() -> None:
    for text in ("it's", "'", '"$(rm -rf)` \\n', "a\nb"):
        assert shlex.split(f"echo {shell_quote(text)}") == ["echo", text]


def test_the_page_loads_nothing_and_every_link_on_it_leads_somewhere(shown: Links) -> None:
    assert not shown.tags & {"link", "img", "iframe", "object", "embed", "form", "base"}
    assert not any(name.startswith("on") or name == "style" for name in shown.attributes)
    assert len(shown.ids) == len(set(shown.ids))
    for target in shown.targets:
        if target.startswith("#"):
            assert target.removeprefix("#") in shown.ids, target
        else:
            assert target == "openapi.json" or MAY_LINK.match(target), target
    assert "url(" not in STYLE
    assert "@import" not in STYLE


def test_whatever_stands_in_a_document_is_text_on_the_page() -> None:
    @get("/v1/<b>/odd", **make_operation(HOSTILE, scope=None, problems=COMMON, tag="Me"))
    async def odd(asked: Annotated[str, QueryParameter(description=HOSTILE)] = HOSTILE) -> dict[str, str]:
        return {HOSTILE: asked}

    config = openapi_config("", HOSTILE)
    config.title, config.summary, config.description = HOSTILE, HOSTILE, HOSTILE
    hostile = Litestar([odd], openapi_config=config, plugins=[Shapes()])
    shown = Links(render_page(build_document(hostile), STYLE, SCRIPT))
    assert (shown.scripts, shown.words.count(SCRIPT)) == (1, 1)
    assert "b" not in shown.tags
    assert HOSTILE in "".join(shown.words)


def test_the_operators_are_named_with_their_address_if_there_is_one() -> None:
    for url in ("", "mailto:timesheets@acme.com"):
        app = Litestar([], openapi_config=openapi_config("", "", url), plugins=[Shapes()])
        document = build_document(app)
        assert document["info"]["contact"]["name"] == "The operators of this service"
        assert document["info"]["contact"].get("url", "") == url
        assert [link for link in Links(render_page(document, STYLE, SCRIPT)).targets if "mailto" in link] == [url] * (
            url != ""
        )


def test_the_page_may_use_its_own_style_and_script_and_ask_this_service_and_nothing_else() -> None:
    policy = content_security_policy(STYLE, SCRIPT)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "; script-src 'sha256-" in policy
    assert "; connect-src 'self';" in policy
    assert "unsafe" not in policy
    assert (
        len({policy, content_security_policy(STYLE + " ", SCRIPT), content_security_policy(STYLE, SCRIPT + " ")}) == 3
    )


def test_the_script_makes_text_of_whatever_it_shows_and_stores_nothing() -> None:
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|[a-z]+Storage|cookie", SCRIPT
    )
    assert "</script" not in SCRIPT


async def test_document_and_page_are_served_to_anybody_with_a_policy_that_allows_nothing_else(
    whole: dict[str, Any],
) -> None:
    transport = httpx2.ASGITransport(app=cast("Any", RequestFrame(app())))
    async with httpx2.AsyncClient(transport=transport, base_url="https://timewarden.example") as client:
        document_answer = await client.get("/openapi.json")
        page_answer = await client.get("/docs")
        root_answer = await client.get("/", follow_redirects=True)
    assert document_answer.headers["content-type"] == "application/json"
    assert document_answer.json() == whole
    assert page_answer.headers["content-type"] == "text/html; charset=utf-8"
    assert page_answer.headers["content-security-policy"] == content_security_policy(STYLE, SCRIPT)
    assert page_answer.headers["x-content-type-options"] == "nosniff"
    assert page_answer.text == render_page(whole, STYLE, SCRIPT)
    assert f"<style>{STYLE}</style>" in page_answer.text
    assert root_answer.url.path == "/docs"
    assert root_answer.is_success


@pytest.fixture(scope="module")
async def anybody() -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=cast("Any", RequestFrame(app())))
    async with httpx2.AsyncClient(transport=transport, base_url="https://timewarden.example") as client:
        del client.headers["Accept-Encoding"]
        yield client


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("x-gzip", True),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("*, gzip;q=0.000", False),
        ("", False),
    ],
)
async def test_document_and_page_are_compressed_for_clients_that_accept_it(
    anybody: httpx2.AsyncClient, path: str, accepted: str, *, zipped: bool
) -> None:
    async with anybody.stream("GET", path, headers={"Accept-Encoding": accepted}) as answer:
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    plain = (await anybody.get(path)).content
    assert (answer.headers.get("content-encoding") == "gzip") == zipped
    assert int(answer.headers["content-length"]) == len(raw)
    assert (gzip.decompress(raw) if zipped else raw) == plain
    assert not zipped or 10 * len(raw) < 2 * len(plain)


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_each_form_of_document_and_page_has_a_version_and_says_on_what_it_depends(
    anybody: httpx2.AsyncClient, path: str
) -> None:
    plain, again = [await anybody.get(path) for _ in range(2)]
    zipped = await anybody.get(path, headers={"Accept-Encoding": "gzip"})
    assert plain.headers["etag"] == again.headers["etag"] != zipped.headers["etag"]
    for answer in (plain, zipped):
        assert answer.headers["vary"] == "Authorization, Origin, Accept-Encoding"
    known = {"If-None-Match": zipped.headers["etag"]}
    same = await anybody.get(path, headers={"Accept-Encoding": "gzip", **known})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == zipped.headers["etag"]
    assert same.headers["vary"] == zipped.headers["vary"]
    assert not {"content-type", "content-encoding"} & same.headers.keys()
    assert (await anybody.get(path, headers=known)).status_code == 200


def test_only_our_own_documentation_routes_are_served() -> None:
    found = {route.path for route in app().routes if not route.path.startswith("/v1/")}
    assert found == {
        "/",
        "/docs",
        "/openapi.json",
        "/health/live",
        "/health/ready",
        "/.well-known/oauth-protected-resource",
    }
    assert len(documentation_routes()) == 3
