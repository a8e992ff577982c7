"""What goes with every answer: metadata from configuration, cross-origin rules, security and cache headers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import UUID

import pytest

from service.errors import Misconfigured
from tests.integration.api import AUDIENCE, InProcess, api
from tests.ports import unused_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
APP = "https://hours.example"
METADATA = "/.well-known/oauth-protected-resource"


@pytest.fixture(scope="module")
async def house(common_house: House) -> House:
    """Shared: no test here changes anything."""
    return common_house


@pytest.fixture(scope="module")
async def running(house: House, issuer: str) -> AsyncIterator[InProcess]:
    async with api(house, issuer, cors_origins=APP) as started:
        yield started


@pytest.mark.parametrize("path", [METADATA, f"{METADATA}/timesheets"])
@pytest.mark.parametrize("host", ["timewarden.example", "evil.example", "evil.example:1234"])
async def test_the_metadata_are_those_of_the_configuration_whatever_host_is_named(
    running: InProcess, path: str, host: str
) -> None:
    forged = {"Host": host, "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http", "Forwarded": "host=evil"}
    answer = await running.send("GET", path, headers=forged)
    assert answer.status_code == 200
    assert "evil" not in answer.text
    found = answer.json()
    assert found["resource"] == AUDIENCE
    assert found["authorization_servers"] == [running.issuer]
    assert found["bearer_methods_supported"] == ["header"]
    assert "manage:tokens" in found["scopes_supported"]


async def test_a_challenge_names_the_metadata_of_the_configured_url(running: InProcess) -> None:
    answer = await running.send("GET", "/v1/me", headers={"Host": "evil.example"})
    wanted = f'resource_metadata="https://timewarden.example{METADATA}/timesheets"'
    assert wanted in answer.headers["WWW-Authenticate"]
    assert "evil" not in str(answer.headers) + answer.text


async def test_the_metadata_of_another_path_are_not_ours(running: InProcess) -> None:
    assert (await running.send("GET", f"{METADATA}/other")).status_code == 404


async def test_an_audience_without_a_path_has_its_metadata_in_one_place(house: House, issuer: str) -> None:
    async with api(house, issuer, audience="api://timewarden") as running:
        assert (await running.send("GET", METADATA)).json()["resource"] == "api://timewarden"
        assert (await running.send("GET", "/v1/me")).headers["WWW-Authenticate"].count(f'{METADATA}"') == 1


@pytest.mark.parametrize("path", ["{tenant}", "{tenant:int}"])
async def test_an_audience_that_is_no_address_of_metadata_is_refused_at_the_start(
    house: House, issuer: str, path: str
) -> None:
    with pytest.raises(Misconfigured, match="must have no braces"):
        async with api(house, issuer, audience=f"https://timewarden.example/{path}"):
            pass


async def test_a_preflight_needs_no_token_and_lists_the_allowed_headers(running: InProcess) -> None:
    asked = {
        "Origin": APP,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization, dpop, if-match, content-type",
    }
    answer = await running.send("OPTIONS", "/v1/timesheets", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    assert {"GET", "POST", "PUT", "DELETE"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))
    allowed = {part.strip().lower() for part in answer.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"authorization", "dpop", "if-match", "content-type", "x-request-id"} <= allowed
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("token", [True, False])
async def test_an_app_of_a_known_origin_reads_what_it_needs_also_of_refusals(running: InProcess, token: bool) -> None:  # noqa: FBT001 - a parameter of the test
    answer = await running.send("GET", "/v1/me", running.token() if token else None, headers={"Origin": APP})
    assert answer.status_code == (200 if token else 401)
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    exposed = {part.strip() for part in answer.headers["Access-Control-Expose-Headers"].split(",")}
    assert {"WWW-Authenticate", "DPoP-Nonce", "ETag", "Decision-Id", "RateLimit", "Retry-After"} <= exposed
    assert answer.headers["Vary"] == "Authorization, Origin"


async def test_an_app_of_a_known_origin_reads_the_refusal_of_a_request_without_a_route(running: InProcess) -> None:
    answer = await running.send("GET", f"/v1/{'n' * 8_200}", headers={"Origin": APP})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (431, APP)
    other = await running.send("GET", f"/v1/{'n' * 8_200}", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in other.headers


@pytest.mark.parametrize("origin", [None, "https://evil.example"])
async def test_options_needs_no_token_and_tells_the_methods_alone(
    house: House, issuer: str, origin: str | None
) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET"} if origin else {}
    async with api(house, issuer) as running:
        answer = await running.send("OPTIONS", "/v1/me", headers=headers)
        assert (answer.status_code, answer.content) == (204, b"")
        assert {part.strip() for part in answer.headers["Allow"].split(",")} >= {"GET", "OPTIONS"}
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert (await running.send("OPTIONS", "/v1/nothing", headers=headers)).status_code == 404


async def test_another_origin_gets_no_cors_headers(running: InProcess) -> None:
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
        answer = await running.send(method, "/v1/me", headers=headers)
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("path", "token"),
    [("/v1/me", True), ("/v1/me", False), ("/nothing", False), (METADATA, False), ("/health/live", False)],
)
async def test_nothing_is_stored_framed_or_sniffed(running: InProcess, path: str, token: bool) -> None:  # noqa: FBT001 - a parameter of the test
    answer = await running.send("GET", path, running.token() if token else None)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "Server" not in answer.headers


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_the_documents_alone_may_be_kept(running: InProcess, path: str) -> None:
    answer = await running.send("GET", path)
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_without_https_there_is_no_strict_transport_security(house: House, issuer: str) -> None:
    async with api(house, issuer, public_url="http://127.0.0.1:8080") as running:
        assert "Strict-Transport-Security" not in (await running.send("GET", "/v1/me")).headers


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("limit=0", "query.limit", "must be a whole number from 1 to 200"),
        ("limit=ten", "query.limit", "must be a whole number"),
        ("limit=1e2", "query.limit", "must be a whole number"),
        ("limit=10.0", "query.limit", "must be a whole number"),
        ("state=open", "query.state", "must be one of draft, submitted, approved, rejected, locked"),
        ("since=today", "query.since", "must be a date such as 2026-11-23"),
        ("state=draft&state=open", "query.state", "must be one of draft, submitted, approved, rejected, locked"),
        ("owner=" + "x" * 512, "query.owner", "must be a text of at most 511 characters"),
    ],
)
async def test_the_problem_of_a_wrong_parameter_says_what_is_expected(
    running: InProcess, query: str, field: str, message: str
) -> None:
    answer = await running.send("GET", f"/v1/timesheets?{query}", running.token())
    assert (answer.status_code, answer.json()["fields"]) == (422, [{"field": field, "message": message}])


@pytest.mark.parametrize("kind", ["text/csv; charset=latin-1", 'text/csv;charset="utf-16"', "text/csv; CHARSET=x"])
async def test_text_of_another_charset_is_refused_on_every_route(running: InProcess, kind: str) -> None:
    token = running.token(scope="manage:directory batch:upload")
    for path in ("/v1/directory/import", "/v1/uploads"):
        answer = await running.send("POST", path, token, headers={"Content-Type": kind, "Content-Length": "4"})
        assert answer.status_code == 415


@pytest.mark.parametrize(
    "path",
    [
        "/v1/me",
        "/v1/timesheets",
        "/v1/timesheets/0198c0de-0000-7000-8000-00000000dead",
        "/v1/decisions",
        "/v1/audit/export",
        "/health/live",
        "/docs",
    ],
)
async def test_a_head_is_the_answer_of_a_get_without_its_body(house: House, running: InProcess, path: str) -> None:
    token = running.token(scope="read:timesheets read:audit", roles=["auditor"])
    get, head = [await running.send(method, path, token) for method in ("GET", "HEAD")]
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers.get("Content-Type") == get.headers.get("Content-Type")
    assert ("Decision-Id" in head.headers) == ("Decision-Id" in get.headers)
    if "Decision-Id" in get.headers:
        said = "SELECT action, outcome, resource_id, rules FROM audit_record WHERE uid = $1::text::uuid"
        records = [await house.owner.fetchrow(said, answer.headers["Decision-Id"]) for answer in (get, head)]
        assert records[0] == records[1]


async def test_a_head_of_a_route_without_get_lists_its_methods(running: InProcess) -> None:
    answer = await running.send("HEAD", "/v1/uploads", running.token())
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    other = await running.send("DELETE", "/v1/me", running.token())
    assert (other.status_code, other.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("method", "path", "kind", "content", "status", "slug"),
    [
        ("GET", "/v1/nothing", "", b"", 404, "no-such-route"),
        ("GET", f"/v1/{'n' * 8_200}", "", b"", 431, "headers-too-large"),
        ("DELETE", "/v1/me", "", b"", 405, "method-not-allowed"),
        ("DELETE", f"/v1/me?{'n' * 8_200}", "", b"", 431, "headers-too-large"),
        ("GET", "/v1/timesheets?surprise=1", "", b"", 422, "invalid-field"),
        ("GET", "/v1/timesheets/nothing", "", b"", 422, "invalid-field"),
        ("POST", "/v1/timesheets", "application/json", b"{}", 422, "invalid-field"),
        ("POST", "/v1/timesheets", "application/json", b"{", 400, "malformed-request"),
        ("POST", "/v1/timesheets", "text/plain", b"{}", 415, "unsupported-media-type"),
        ("POST", "/v1/uploads", "text/plain", b"", 415, "unsupported-media-type"),
        ("POST", "/v1/directory/import", "text/plain", b"", 415, "unsupported-media-type"),
    ],
)
async def test_the_form_of_a_request_is_refused_without_a_decision_and_a_record(
    house: House, running: InProcess, method: str, path: str, kind: str, content: bytes, status: int, slug: str
) -> None:
    token = running.token(scope="read:timesheets create:timesheets batch:upload")
    assert "Decision-Id" in (await running.send("GET", "/v1/me", token)).headers
    before = await house.count("audit_record")
    headers = {"Content-Type": kind} if kind else {}
    answer = await running.send(method, path, token, headers=headers, content=content or None)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:timewarden:problem:{slug}")
    assert "Decision-Id" not in answer.headers
    assert await house.count("audit_record") == before


async def test_one_issuer_of_two_that_is_down_at_the_start_leaves_the_replica_ready(
    house: House, issuer: str, tmp_path: Path
) -> None:
    file = tmp_path / "issuers.toml"
    file.write_text(
        f'[[issuer]]\nname = "down"\nprefix = "down"\nissuer = "http://127.0.0.1:{unused_port()}"\n'
        f'audience = "{AUDIENCE}"\n'
    )
    async with api(house, issuer, issuers_file=str(file)) as running:
        answer = await running.send("GET", "/health/ready")
        parts = {part["name"]: part for part in answer.json()["parts"]}
        assert answer.status_code == 200, answer.text
        assert (parts["keys of down"]["ready"], parts["keys of down"]["needed"]) == (False, False)
        assert "unreachable" in parts["keys of down"]["detail"]
        assert parts["keys of main"]["ready"]
        assert (await running.send("GET", "/v1/me", running.token())).status_code == 200
    async with api(house, "", issuers_file=str(file), jwks_url="") as running:
        assert (await running.send("GET", "/health/ready")).status_code == 503


@pytest.mark.parametrize("path", ["/health/live", "/v1/me"])
@pytest.mark.parametrize("more", [[], [(b"origin", b"https://elsewhere.example")]])
@pytest.mark.parametrize(
    ("version", "hosts", "served"),
    [
        ("1.1", [b"a.example"], True),
        ("1.1", [], False),
        ("1.1", [b""], False),
        ("1.1", [b"a.example", b"a.example"], False),
        ("1.0", [], True),
        ("2", [b""], True),
    ],
)
async def test_a_request_of_http_1_1_names_exactly_one_host(
    running: InProcess, path: str, more: list[tuple[bytes, bytes]], version: str, hosts: list[bytes], *, served: bool
) -> None:
    given = [(b"host", host) for host in hosts]
    token = [(b"authorization", f"Bearer {running.token()}".encode())]
    status, _, body = await ask(running, path, headers=[*given, *token, *more], http_version=version)
    assert (status, b"exactly one Host" in body) == ((200, False) if served else (400, True))


@pytest.mark.parametrize("more", [[], [(b"origin", b"https://elsewhere.example")]])
@pytest.mark.parametrize("path", ["//v1/me", "/v1//me", "/v1%2fme", "/v1%2Fme", "/v1/me/", "//health/live", "//"])
async def test_a_resource_has_one_path(running: InProcess, path: str, more: list[tuple[bytes, bytes]]) -> None:
    token = [(b"host", b"testserver"), (b"authorization", f"Bearer {running.token()}".encode())]
    status, _, body = await ask(running, path, headers=[*token, *more])
    assert (status, b"no-such-route" in body) == (404, True)


@pytest.mark.parametrize("path", ["/v1/timesheets", "/v1/people", "/v1/decisions"])
@pytest.mark.parametrize("query", [b"%s=%%ff", b"%s=a%%C3", b"%s=%%ED%%A0%%80"])
async def test_a_parameter_that_is_not_utf_8_is_refused_by_name(running: InProcess, path: str, query: bytes) -> None:
    name = {"/v1/timesheets": b"project", "/v1/people": b"name", "/v1/decisions": b"client"}[path]
    status, _, body = await ask(running, path, query % name)
    assert (status, json.loads(body)["fields"]) == (
        422,
        [{"field": f"query.{name.decode()}", "message": "must be UTF-8"}],
    )


async def test_the_replacement_character_itself_is_utf_8(running: InProcess) -> None:
    status, _, body = await ask(running, "/v1/timesheets", b"project=%EF%BF%BD")
    assert (status, json.loads(body)["items"]) == (200, [])


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/timesheets", "GET, HEAD, POST, OPTIONS"),
        ("/v1/timesheets?limit=1", "GET, HEAD, POST, OPTIONS"),
        (f"/v1/timesheets/{UUID(int=0)}", "GET, HEAD, PATCH, DELETE, OPTIONS"),
        ("/v1/uploads", "POST, OPTIONS"),
        ("/health/live", "GET, HEAD, OPTIONS"),
    ],
)
async def test_options_lists_every_method_of_a_path(running: InProcess, path: str, methods: str) -> None:
    answer = await running.send("OPTIONS", path)
    assert (answer.status_code, answer.headers["Allow"], answer.content) == (204, methods, b"")


async def ask(
    running: InProcess, path: str, query: bytes = b"", **parts: object
) -> tuple[int, dict[bytes, bytes], bytes]:
    """The answer to a GET whose path, query and headers are sent as they are."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "headers": [(b"host", b"testserver"), (b"authorization", f"Bearer {running.token()}".encode())],
        "scheme": "http",
        "path": unquote(path, errors="replace"),
        "raw_path": path.encode(),
        "query_string": query,
        "server": ("testserver", 80),
        "client": ("192.0.2.1", 40000),
        "root_path": "",
        "state": {},
        **parts,
    }
    await running.frame(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])
