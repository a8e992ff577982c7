"""The console as an OAuth client: what it believes of an authorization server, and what it does without one."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from service.console.sign_in_server import Attempt, Demand, SignInFailed, SignInServer, SignInUnavailable
from service.standalone.client import TokenRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from joserfc.jwk import Key

ISSUER, CLIENT, SECRET = "https://issuer.example/tenant", "console", "a secret of the console, long enough for HS256"
KEY = RSAKey.generate_key(2048, parameters={"use": "sig", "alg": "RS256", "kid": "k"})
OTHER_KEY = RSAKey.generate_key(2048, parameters={"use": "sig", "alg": "RS256", "kid": "k"})


@dataclass
class LyingServer:
    """An authorization server that says what a test wants it to say."""

    metadata: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    asked: list[Mapping[str, list[str]]] = field(default_factory=list)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/openid-configuration"):
            return httpx2.Response(200, json=described(**self.metadata))
        if request.url.path == "/jwks":
            return httpx2.Response(200, json=KeySet([KEY]).as_dict(private=False))
        self.asked.append(parse_qs(request.content.decode()))
        return httpx2.Response(self.status, json=self.tokens)

    def client(self) -> SignInServer:
        return SignInServer(
            httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer)),
            issuer=ISSUER,
            client=CLIENT,
            secret=SECRET,
            redirect_uri="https://console.example/sign-in/callback",
            scopes=("openid", "profile", "offline_access", "read:timesheets"),
            audience="https://api.example",
            audience_parameter="resource",
        )


def described(**changed: Any) -> dict[str, Any]:
    return {
        "issuer": ISSUER,
        "authorization_endpoint": "https://issuer.example/authorize",
        "token_endpoint": "https://issuer.example/token",
        "jwks_uri": "https://issuer.example/jwks",
        "scopes_supported": ["openid", "profile"],
        **changed,
    }


def id_token(key: Key = KEY, algorithm: str = "RS256", **changed: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": CLIENT, "sub": "ana", "iat": now, "exp": now + 60, "nonce": "n", "name": "Ana"}
    kept = {name: value for name, value in (claims | changed).items() if value is not None}
    return jwt.encode({"alg": algorithm, "kid": "k"}, kept, key, algorithms=[algorithm])


def tokens(**changed: Any) -> dict[str, Any]:
    return {"access_token": "t", "token_type": "Bearer", "expires_in": 60, "refresh_token": "r", **changed}


ATTEMPT = Attempt("s", "n", "v", "/", Demand())
ANSWER = {"state": "s", "code": "c"}


async def test_a_sign_in_asks_with_pkce_and_for_what_the_server_offers() -> None:
    server = LyingServer()
    url, attempt = await server.client().begin("/week", Demand("mfa", 0))
    asked = parse_qs(urlsplit(url).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["code_challenge"][0] not in attempt.verifier
    assert asked["scope"] == ["openid profile read:timesheets"]
    assert (asked["acr_values"], asked["max_age"], asked["resource"]) == (["mfa"], ["0"], ["https://api.example"])
    server.tokens = tokens(id_token=id_token(nonce=attempt.nonce, auth_time=int(time.time())))
    grant = await server.client().finish(attempt, ANSWER)
    assert grant.claims["name"] == "Ana"
    assert server.asked[0]["code_verifier"] == [attempt.verifier]


@pytest.mark.parametrize(
    "lie",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"iss": "https://issuer.example/other"},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"sub": None},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    ],
    ids=str,
)
async def test_an_id_token_that_is_not_for_this_sign_in_signs_nobody_in(lie: dict[str, Any]) -> None:
    server = LyingServer(tokens=tokens(id_token=id_token(**lie)))
    with pytest.raises(SignInFailed):
        await server.client().finish(ATTEMPT, ANSWER)


@pytest.mark.parametrize(
    "forge",
    [
        lambda: id_token(OTHER_KEY),
        lambda: id_token(OctKey.import_key(SECRET), "HS256"),
        lambda: id_token().rpartition(".")[0] + ".",
        lambda: "e30.e30.",
        lambda: "no token",
    ],
    ids=["another key", "the secret as key", "no signature", "empty", "no token"],
)
async def test_a_forged_id_token_signs_nobody_in(forge: Callable[[], str]) -> None:
    # Made here and not at collection: by the time that the test runs it would have expired, and be refused for that.
    server = LyingServer(tokens=tokens(id_token=forge()))
    with pytest.raises(SignInFailed):
        await server.client().finish(ATTEMPT, ANSWER)


@pytest.mark.parametrize(
    "answer",
    [
        {"state": "s"},
        {"state": "s", "error": "access_denied", "error_description": "<b>call 0900 123</b>"},
        {"state": "s", "error": "made_up"},
        {**ANSWER, "iss": "https://elsewhere.example"},
    ],
)
async def test_an_answer_without_a_code_or_of_another_server_signs_nobody_in(answer: dict[str, str]) -> None:
    with pytest.raises(SignInFailed) as failed:
        await LyingServer(tokens=tokens()).client().finish(ATTEMPT, answer)
    assert "0900" not in str(failed.value)


async def test_a_server_that_names_itself_must_do_so() -> None:
    server = LyingServer({"authorization_response_iss_parameter_supported": True}, tokens())
    with pytest.raises(SignInFailed):
        await server.client().finish(ATTEMPT, ANSWER)
    assert (await server.client().finish(ATTEMPT, {**ANSWER, "iss": ISSUER})).access_token == "t"


@pytest.mark.parametrize(
    "metadata", [{"issuer": "https://elsewhere.example"}, {"token_endpoint": None}, {"authorization_endpoint": 7}]
)
async def test_metadata_of_another_issuer_or_without_endpoints_are_not_used(metadata: dict[str, Any]) -> None:
    with pytest.raises(SignInUnavailable):
        await LyingServer(metadata).client().begin("/", Demand())


@pytest.mark.parametrize("lie", [{"token_type": "DPoP"}, {"access_token": ""}, {"access_token": ["t"]}])
async def test_only_a_bearer_token_is_taken(lie: dict[str, Any]) -> None:
    with pytest.raises(SignInUnavailable):
        await LyingServer(tokens=tokens(**lie)).client().finish(ATTEMPT, ANSWER)


async def test_a_refresh_keeps_who_was_signed_in_and_tells_refusal_from_absence() -> None:
    server = LyingServer(tokens=tokens(id_token=id_token()))
    grant = await server.client().finish(ATTEMPT, ANSWER)
    server.tokens = {"access_token": "t2", "token_type": "bearer"}
    newer = await server.client().refresh(grant)
    assert (newer.access_token, newer.refresh_token, newer.claims) == ("t2", "r", grant.claims)
    server.status, server.tokens = 400, {"error": "invalid_grant"}
    with pytest.raises(TokenRefused):
        await server.client().refresh(grant)
    server.status = 500
    with pytest.raises(SignInUnavailable):
        await server.client().refresh(grant)
