"""Answers to good and bad tokens over HTTP (RFC 6750, 9110, 9457, 9470, 9728), and what the log has of the tokens.

The tokens are signed with the key of the running authorization server, so only the change of each test is wrong.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from service.development.authorization_server.access_tokens import sign
from service.development.authorization_server.signing_keys import load_or_create
from tests.acceptance.caller import SHEETS, draft, problem, submit_week
from tests.acceptance.policy_author import activate, active, propose
from tests.policy_forge import without_rule

if TYPE_CHECKING:
    import httpx2
    from joserfc.jwk import Key

    from tests.acceptance.caller import Caller, Callers
    from tests.acceptance.running_service import RunningService

QUOTED = re.compile(r'([a-z_]+)="([^"\\]*)"')
ME = "/v1/me"
SUBJECT = "dev|nobody-in-particular"


@dataclass(frozen=True, slots=True)
class Mint:
    """Makes tokens as the running authorization server makes them, changed."""

    key: Key
    issuer: str
    audience: str

    def token(self, typ: str = "at+jwt", **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": SUBJECT,
            "client_id": "hours-app",
            "jti": f"jti-{time.monotonic_ns()}",
            "iat": now,
            "exp": now + 300,
            "scope": "read:timesheets",
            **changes,
        }
        return sign({name: value for name, value in claims.items() if value is not None}, self.key, typ)


@pytest.fixture(scope="module")
def mint(service: RunningService) -> Mint:
    key = load_or_create(service.state / "authorization-server").signing_key("RS256")
    return Mint(key, service.addresses.issuer, service.addresses.audience)


def challenge(answer: httpx2.Response) -> dict[str, str]:
    """The parameters of the Bearer challenge, which must be safe to quote."""
    value = answer.headers["WWW-Authenticate"]
    assert value.startswith("Bearer ")
    assert value.isascii()
    assert value.isprintable()
    return dict(QUOTED.findall(value))


async def test_without_credentials_the_challenge_has_no_error_code(callers: Callers) -> None:
    answer = await callers.nobody().get(ME)
    problem(answer, 401, "missing-token")
    found = challenge(answer)
    assert found["realm"] == "timewarden"
    assert found["resource_metadata"].startswith(f"{callers.addresses.api}/.well-known/oauth-protected-resource")
    assert not {"error", "error_description", "scope"} & found.keys()


@pytest.mark.parametrize(
    "headers",
    [
        [b"Bearer"],
        [b"Bearer two words"],
        [b"Bearer a,b"],
        [b"Bearer a.b.c", b"Bearer a.b.c"],
        [b""],
    ],
)
async def test_malformed_credentials_are_a_bad_request(callers: Callers, headers: list[bytes]) -> None:
    answer = await callers.http.get(ME, headers=[(b"Authorization", header) for header in headers])
    problem(answer, 400, "malformed-request")
    assert challenge(answer)["error"] == "invalid_request"


async def test_a_token_in_the_url_is_a_bad_request_however_good_it_is(callers: Callers, mint: Mint) -> None:
    token = mint.token()
    for caller in (callers.nobody(), callers.bearer_of(token)):
        answer = await caller.get(f"{ME}?access_token={token}")
        problem(answer, 400, "malformed-request")
        assert challenge(answer)["error"] == "invalid_request"
        assert token not in answer.text


async def test_a_token_in_a_form_is_no_credential(callers: Callers, mint: Mint) -> None:
    answer = await callers.http.post(SHEETS, data={"access_token": mint.token()})
    problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_written_in_any_case(callers: Callers, mint: Mint, scheme: str) -> None:
    answer = await callers.http.get(ME, headers={"Authorization": f"{scheme} {mint.token()}"})
    assert answer.status_code == 200


NOW = int(time.time())
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "expired": ("at+jwt", {"iat": NOW - 4000, "exp": NOW - 3600}),
    "not yet valid": ("at+jwt", {"nbf": NOW + 3600}),
    "issued in the future": ("at+jwt", {"iat": NOW + 3600, "exp": NOW + 7200}),
    "another audience": ("at+jwt", {"aud": "https://other.example"}),
    "no audience": ("at+jwt", {"aud": None}),
    "another issuer": ("at+jwt", {"iss": "https://issuer.example"}),
    "an issuer with one more slash": ("at+jwt", {"iss": "SLASH"}),
    "no expiry": ("at+jwt", {"exp": None}),
    "expiry as text": ("at+jwt", {"exp": str(NOW + 300)}),
    "an endless life": ("at+jwt", {"exp": NOW + 10_000_000}),
    "no subject": ("at+jwt", {"sub": None}),
    "an empty subject": ("at+jwt", {"sub": ""}),
    "a subject with a NUL": ("at+jwt", {"sub": "a\x00b"}),
    "no client": ("at+jwt", {"client_id": None}),
    "no token id": ("at+jwt", {"jti": None}),
    "an ID token": ("JWT", {"nonce": "n"}),
    "a logout token": ("logout+jwt", {}),
    "a DPoP proof": ("dpop+jwt", {}),
    "bound to a key that nobody proves": ("at+jwt", {"cnf": {"jkt": "x" * 43}}),
    "bound in a way that nobody knows": ("at+jwt", {"cnf": {"new": "x"}}),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_token_that_does_not_hold_is_invalid(callers: Callers, mint: Mint, case: str) -> None:
    typ, changes = REFUSED[case]
    changes = {name: f"{mint.issuer}/" if value == "SLASH" else value for name, value in changes.items()}
    token = mint.token(typ, **changes)
    answer = await callers.bearer_of(token).get(ME)
    problem(answer, 401, "invalid-token")
    assert challenge(answer)["error"] == "invalid_token"
    assert "Decision-Id" not in answer.headers
    for part in (token, SUBJECT, token.split(".")[1]):
        assert part not in answer.text + str(answer.headers)


async def test_another_signature_or_another_payload_is_invalid(callers: Callers, mint: Mint) -> None:
    head, payload, signature = mint.token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    richer = base64.urlsafe_b64encode(json.dumps({**claims, "scope": "read:audit"}).encode()).rstrip(b"=").decode()
    nothing = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    for forged in (
        f"{head}.{richer}.{signature}",
        f"{head}.{payload}.{signature[::-1]}",
        f"{head}.{payload}.",
        f"{nothing}.{payload}.",
        f"{head}.{payload}.{signature}=",
    ):
        answer = await callers.bearer_of(forged).get(ME)
        assert answer.status_code in {400, 401}
        assert challenge(answer)["error"] in {"invalid_token", "invalid_request"}


async def test_a_missing_scope_is_named(callers: Callers, mint: Mint) -> None:
    answer = await callers.bearer_of(mint.token(scope="create:timesheets")).get(SHEETS)
    assert problem(answer, 403, "insufficient-scope")["required_scope"] == ["read:timesheets"]
    found = challenge(answer)
    assert (found["error"], found["scope"]) == ("insufficient_scope", "read:timesheets")


@pytest.mark.parametrize("scope", ["read:timesheet", "read:timesheetsx", "Read:timesheets", "read"])
async def test_a_scope_is_a_whole_word(callers: Callers, mint: Mint, scope: str) -> None:
    problem(await callers.bearer_of(mint.token(scope=scope)).get(SHEETS), 403, "insufficient-scope")


async def test_what_the_policy_denies_is_no_matter_of_scope(callers: Callers) -> None:
    mia, ana = await callers("mia"), await callers("ana")
    sheet = await submit_week(mia)
    own = await mia.post(f"{SHEETS}/{sheet.json()['id']}/approve", if_match=sheet.headers["ETag"])
    problem(own, 403, "forbidden")
    assert "WWW-Authenticate" not in own.headers
    problem(await ana.get(f"{SHEETS}/{sheet.json()['id']}"), 404, "not-found")


async def test_a_stronger_sign_in_is_required_and_the_refusal_is_recorded(callers: Callers) -> None:
    paula, mia, ana = await callers("paula"), await callers("mia"), await callers("ana")
    text = without_rule("approve-team")
    row = "p, allow, manager, approve, submitted, timesheet, approve:timesheets, {}, approve-team"
    before = await active(paula)
    sheet = await submit_week(ana)
    path = f"{SHEETS}/{sheet.json()['id']}/approve"
    try:
        number = await propose(
            paula, text.__class__(text.model, text.rules + row.format("mfa") + "\n", text.vocabulary, {})
        )
        assert (await activate(paula, number, before)).status_code == 200
        answer = await mia.post(path, if_match=sheet.headers["ETag"])
    finally:
        assert (await activate(paula, before, await active(paula))).status_code in {200, 409}
    problem(answer, 401, "step-up-needed")
    assert challenge(answer)["error"] == "insufficient_user_authentication"
    logged = await (await callers("audrey")).decision(answer)
    assert (logged["record"]["outcome"], logged["record"]["applied"]) == ("deny", False)
    assert (await mia.post(path, if_match=sheet.headers["ETag"])).status_code == 200


async def revoke(callers: Callers, **body: object) -> httpx2.Response:
    return await (await callers("adam")).post("/v1/revocations", body)


async def everything(caller: Caller, sheet: str) -> set[int]:
    """The statuses of a list, a read, a change, an upload, and who one is."""
    row = {"owner": sheet, "day": "2026-11-23", "project": "ATLAS", "minutes": 60, "external_ref": "revoked/1"}
    answers = [
        await caller.get(SHEETS),
        await caller.get(f"{SHEETS}/{sheet}"),
        await caller.post(SHEETS, {"period_start": "2026-11-23"}),
        await caller.delete(f"{SHEETS}/{sheet}", if_match="*"),
        await caller.post("/v1/uploads", {"rows": [row]}),
        await caller.get(ME),
    ]
    for answer in answers:
        if answer.status_code == 401:
            problem(answer, 401, "invalid-token")
            assert challenge(answer)["error"] == "invalid_token"
            assert "Decision-Id" not in answer.headers
    return {answer.status_code for answer in answers}


async def test_a_revoked_token_is_invalid_for_everything_at_once(callers: Callers, mint: Mint) -> None:
    token = mint.token(jti="to-be-revoked", scope="read:timesheets create:timesheets batch:upload")
    other = mint.token(jti="to-be-kept")
    sheet = (await draft(await callers("ben"))).json()["id"]
    assert (await callers.bearer_of(token).get(ME)).status_code == 200
    made = await revoke(callers, token_id="to-be-revoked", issuer=mint.issuer)
    assert made.status_code == 201, made.text
    assert made.json()["token_id"] == "to-be-revoked"
    assert await everything(callers.bearer_of(token), sheet) == {401}
    assert (await callers.bearer_of(other).get(ME)).status_code == 200
    listed = await (await callers("adam")).get("/v1/revocations")
    assert made.json() in listed.json()["items"]
    logged = await (await callers("audrey")).decision(made)
    assert logged["record"]["action"] == "revoke"


async def test_whoever_was_signed_out_everywhere_signs_in_anew(callers: Callers, mint: Mint) -> None:
    subject = "dev|signed-out"
    token = mint.token(sub=subject, iat=int(time.time()) - 30)
    person = (await callers.bearer_of(token).get(ME)).json()["person"]
    made = await revoke(callers, issuer=mint.issuer, subject=subject)
    assert made.json()["person"] == person
    assert subject not in made.text
    problem(await callers.bearer_of(token).get(ME), 401, "invalid-token")
    # An issuer's clock may be ahead by the leeway of 30 seconds, so a token of that time may have been there before.
    problem(await callers.bearer_of(mint.token(sub=subject)).get(ME), 401, "invalid-token")
    await asyncio.sleep(2.1)
    later = int(time.time()) + 29
    assert (await callers.bearer_of(mint.token(sub=subject, iat=later)).get(ME)).status_code == 200
    assert (await revoke(callers, person=person)).status_code == 201
    problem(await callers.bearer_of(token).get(ME), 401, "invalid-token")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"token_id": "a"},
        {"token_id": "a", "client": "b", "issuer": "c"},
        {"subject": "a"},
        {"person": "nobody"},
        {"person": "0198c0de-0000-7000-8000-00000000dead", "issuer": "https://a.example"},
        {"client": ""},
        {"client": "a\x00b"},
        {"client": "a", "issued_before": "tomorrow"},
        {"client": "a", "issued_before": "2999-01-01T00:00:00Z"},
        {"client": "a", "issued_before": "2026-01-01T00:00:00"},
        {"token_id": "a", "issuer": "b", "issued_before": "2026-01-01T00:00:00Z"},
        {"client": "a", "forever": True},
        {"client": 7},
    ],
)
async def test_a_revocation_that_cannot_be_meant_is_refused_by_field(callers: Callers, body: dict[str, object]) -> None:
    problem(await revoke(callers, **body), 422, "invalid-field")


async def test_answers_are_not_stored_and_differ_by_token(callers: Callers, mint: Mint) -> None:
    for caller in (callers.nobody(), callers.bearer_of(mint.token()), callers.bearer_of("a.b.c")):
        answer = await caller.get(ME)
        assert answer.headers["Cache-Control"] == "no-store"
        assert {"Authorization", "Origin"} <= {part.strip() for part in answer.headers["Vary"].split(",")}


async def test_nothing_of_a_token_reaches_the_log_of_the_service(
    callers: Callers, service: RunningService, mint: Mint
) -> None:
    subject, jti = "dev|never-to-be-logged", "jti-never-to-be-logged"
    good = mint.token(sub=subject, jti=jti, scope="read:timesheets create:timesheets")
    head, payload, signature = good.split(".")
    tokens = [
        good,
        mint.token(sub=subject, jti=jti, exp=int(time.time()) - 3600, iat=int(time.time()) - 4000),
        mint.token(sub=subject, jti=jti, aud="https://other.example"),
        mint.token(sub=f"{subject}\x00", jti=jti),
        mint.token(sub=subject, jti=jti, scope={"secret": subject}),
        f"{head}.{payload}.{signature[:-4]}AAAA",
        f"{head}.{payload}",
        f"{head}.{payload}.{signature} {subject}",
    ]
    for token in tokens:
        caller = callers.bearer_of(token)
        await caller.get(ME)
        await caller.get(f"{ME}?access_token={token.split(' ', maxsplit=1)[0]}")
        await caller.post(SHEETS, {"period_start": token[:50]})
        await caller.send("GET", ME, headers={"DPoP": token, "X-Request-Id": jti + subject})
    await revoke(callers, issuer=mint.issuer, subject=subject)
    await revoke(callers, issuer=mint.issuer, token_id=jti)
    await callers.bearer_of(good).get(ME)

    logged = service.log.read_text(encoding="utf-8", errors="replace")
    secrets = {subject, jti, head, *(part for token in tokens for part in token.split(".")[1:] if len(part) > 8)}
    assert [secret for secret in secrets if secret in logged] == []
    assert str(mint.key.as_dict(private=True)["d"]) not in logged
    assert "eyJ" not in logged  # how every JWT begins
