"""Our verifier against oidc-provider, an authorization server that we did not write: signed tokens in four algorithms,
bound tokens, opaque tokens, a person's sign-in, and the console's. Run by `make interop`, which installs it; no part of
`make test`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import pytest
import pytest_asyncio

from events.stream import open_redis
from service.console.application import connect, create
from service.development.authorization_server.page_walk import read_page
from service.development.authorization_server.proof_keys import ProofKey
from service.errors import InvalidProof, InvalidToken
from service.identity.credentials import RequestCredentials
from service.identity.dpop import Proofs
from service.identity.issuer import Introspection, Issuer
from service.identity.nonces import Nonces
from service.identity.principal import PrincipalKind
from service.identity.sender import SenderConstraint
from service.identity.tokens import Tokens
from service.identity.used_proofs import UsedProofs
from service.standalone.client import TokenRefused
from tests.integration.authorization_server.browser import AUDIENCE
from tests.ports import unused_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INSTALLED = Path(__file__).resolve().parents[2] / ".local" / "interop"
ALGORITHMS = ("RS256", "PS256", "ES256", "Ed25519")
SECRET = "interop secret of a machine"
API = "https://api.example.test/v1/timesheets"
VERIFIER = "v" * 64
CONSOLE = "http://127.0.0.1:8070"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def issuer() -> AsyncIterator[str]:
    """The running provider."""
    port = str(unused_port())
    url = f"http://127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(
        "node",
        "provider.mjs",
        port,
        AUDIENCE,
        cwd=INSTALLED,
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            while (line := await process.stdout.readline()).strip() != b"ready":
                assert line, "the provider ended by itself"
        yield url
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def verifier(url: str, redis_url: str, **changes: Any) -> AsyncIterator[Tokens]:
    """Our verifier, as it would be configured for the provider."""
    replay = UsedProofs(open_redis(redis_url, timeout=1.0))
    proofs = Proofs(replay.add, Nonces("s" * 32), algorithms=["ES256"])
    settings: dict[str, Any] = {"audience": AUDIENCE, "algorithms": frozenset(ALGORITHMS), **changes}
    tokens = Tokens([Issuer("interop", url, **settings)], sender=SenderConstraint(proofs))
    await tokens.start()
    try:
        yield tokens
    finally:
        await tokens.close()
        await replay.close()


async def machine_token(url: str, name: str, key: ProofKey | None = None) -> str:
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(
            f"{url}/token",
            data={"grant_type": "client_credentials", "scope": "batch:upload"},
            auth=(f"machine-{name}", quote(SECRET)),
            headers={"DPoP": key.proof("POST", f"{url}/token")} if key else {},
        )
    assert answer.status_code == 200, answer.text
    assert answer.json()["token_type"] == ("DPoP" if key else "Bearer")
    token: str = answer.json()["access_token"]
    return token


def bearer(token: str) -> RequestCredentials:
    return RequestCredentials((f"Bearer {token}".encode(),))


def with_proof(token: str, *proofs: str) -> RequestCredentials:
    return RequestCredentials((f"DPoP {token}".encode(),), tuple(proof.encode() for proof in proofs), "GET", API)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_machines_token_is_accepted_in_every_algorithm(issuer: str, redis_url: str, algorithm: str) -> None:
    async with verifier(issuer, redis_url) as tokens:
        principal = await tokens.verify(bearer(await machine_token(issuer, algorithm)))
    assert (principal.kind, principal.client) == (PrincipalKind.CLIENT, f"machine-{algorithm}")
    assert principal.scopes == frozenset({"batch:upload"})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_token_for_another_api_or_of_another_key_is_refused(
    issuer: str, redis_url: str, algorithm: str
) -> None:
    token = await machine_token(issuer, algorithm)
    head, body, signature = token.split(".")
    changed = f"{head}.{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
    async with (
        verifier(issuer, redis_url) as tokens,
        verifier(issuer, redis_url, audience="https://other.example") as other,
    ):
        for checker, presented, cause in ((tokens, bearer(changed), "signature"), (other, bearer(token), "audience")):
            with pytest.raises(InvalidToken) as refused:
                await checker.verify(presented)
            assert refused.value.cause == cause


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_bound_token_is_accepted_with_its_key_and_refused_without(
    issuer: str, redis_url: str, algorithm: str
) -> None:
    key = ProofKey()
    token = await machine_token(issuer, algorithm, key)
    async with verifier(issuer, redis_url) as tokens:
        proof = key.proof("GET", API, token)
        assert (await tokens.verify(with_proof(token, proof))).client == f"machine-{algorithm}"
        for presented in (
            with_proof(token, proof),
            with_proof(token),
            bearer(token),
            with_proof(token, ProofKey().proof("GET", API, token)),
        ):
            with pytest.raises((InvalidToken, InvalidProof)):
                await tokens.verify(presented)


async def test_an_opaque_token_is_introspected(issuer: str, redis_url: str) -> None:
    ours = Introspection(f"{issuer}/token/introspection", "api", client_secret=SECRET)
    token, _ = await sign_in(issuer, "ana", "app-opaque")
    assert "." not in token
    async with verifier(issuer, redis_url, introspection=ours) as tokens:
        principal = await tokens.verify(bearer(token))
        assert (principal.subject, principal.client, principal.scopes) == (
            "ana",
            "app-opaque",
            frozenset({"read:timesheets"}),
        )
        with pytest.raises(InvalidToken):
            await tokens.verify(bearer(f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'}"))


async def test_a_machines_opaque_token_names_no_subject_and_is_taken_only_where_that_is_configured(
    issuer: str, redis_url: str
) -> None:
    token = await machine_token(issuer, "opaque")
    for optional in (True, False):
        ours = Introspection(f"{issuer}/token/introspection", "api", client_secret=SECRET, subject_optional=optional)
        async with verifier(issuer, redis_url, introspection=ours) as tokens:
            if optional:
                principal = await tokens.verify(bearer(token))
                assert (principal.kind, principal.client) == (PrincipalKind.CLIENT, "machine-opaque")
                continue
            with pytest.raises(InvalidToken) as refused:
                await tokens.verify(bearer(token))
            assert refused.value.cause == "subject"


async def test_a_bound_opaque_token_needs_its_key_too(issuer: str, redis_url: str) -> None:
    key = ProofKey()
    ours = Introspection(f"{issuer}/token/introspection", "api", client_secret=SECRET)
    token, _ = await sign_in(issuer, "ana", "app-opaque", key)
    async with verifier(issuer, redis_url, introspection=ours) as tokens:
        assert (await tokens.verify(with_proof(token, key.proof("GET", API, token)))).subject == "ana"
        for presented in (bearer(token), with_proof(token), with_proof(token, ProofKey().proof("GET", API, token))):
            with pytest.raises((InvalidToken, InvalidProof)):
                await tokens.verify(presented)


async def test_a_person_signs_in_there_and_is_known_here(issuer: str, redis_url: str) -> None:
    token, identity = await sign_in(issuer, "ana")
    async with verifier(issuer, redis_url) as tokens:
        principal = await tokens.verify(bearer(token))
        assert (principal.kind, principal.subject, principal.client) == (PrincipalKind.USER, "ana", "app")
        assert principal.scopes == frozenset({"read:timesheets"})
        with pytest.raises(InvalidToken):
            await tokens.verify(bearer(identity))


async def test_the_console_signs_a_person_in_renews_their_tokens_and_signs_them_out(
    issuer: str, redis_url: str
) -> None:
    redis = open_redis(redis_url)
    async with (
        httpx2.AsyncClient(trust_env=False) as outside,
        httpx2.AsyncClient(trust_env=False, base_url=issuer) as person,
    ):
        console = connect(
            url=CONSOLE,
            api=CONSOLE,
            issuer=issuer,
            audience=AUDIENCE,
            audience_parameter="resource",
            client="console",
            secret="interop secret of the console",
            scopes=("openid", "profile", "offline_access", "read:timesheets"),
            keys=["k" * 32],
            redis=redis,
            http=outside,
        )
        transport = httpx2.ASGITransport(cast("Any", create(console)))
        async with httpx2.AsyncClient(transport=transport, base_url=CONSOLE) as pages:
            begun = await pages.get("/sign-in?next=/week")
            location = await follow(person, await person.get(begun.headers["location"]), CONSOLE, "ana")
            landed = await pages.get(location.removeprefix(CONSOLE))
            assert landed.headers["location"] == "/week", landed.text
            session = await console.sessions.find(pages.cookies[console.cookie])
        assert session is not None
        assert session.grant.claims["name"] == "Ana Lima"
        newer = await console.server.refresh(session.grant)
        assert newer.access_token != session.grant.access_token
        async with verifier(issuer, redis_url) as tokens:
            assert (await tokens.verify(bearer(newer.access_token))).scopes == {"read:timesheets"}
        await console.server.revoke(newer)
        with pytest.raises(TokenRefused):
            await console.server.refresh(newer)
        url = await console.server.end_session_url(newer, f"{CONSOLE}/signed-out")
        assert url is not None
        assert await follow(person, await person.get(url), CONSOLE, "ana") == f"{CONSOLE}/signed-out"
    await redis.aclose()


async def sign_in(url: str, login: str, client: str = "app", key: ProofKey | None = None) -> tuple[str, str]:
    """Access token and ID token of a person, by the provider's own pages."""
    back = "http://127.0.0.1/callback"
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "client_id": client,
        "response_type": "code",
        "redirect_uri": back,
        "scope": "openid read:timesheets",
        "resource": AUDIENCE,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    async with httpx2.AsyncClient(trust_env=False, base_url=url) as http:
        location = await walk(http, asked, back, login)
        form = {
            "grant_type": "authorization_code",
            "client_id": client,
            "redirect_uri": back,
            "code": parse_qs(urlsplit(location).query)["code"][0],
            "code_verifier": VERIFIER,
        }
        headers = {"DPoP": key.proof("POST", f"{url}/token")} if key else {}
        bought = (await http.post("/token", data=form, headers=headers)).json()
    return bought["access_token"], bought["id_token"]


async def walk(http: httpx2.AsyncClient, asked: dict[str, str], back: str, login: str) -> str:
    """Through the pages to the address of the app."""
    return await follow(http, await http.get("/auth", params=asked), back, login)


async def follow(http: httpx2.AsyncClient, answer: httpx2.Response, back: str, login: str) -> str:
    """Through the pages that begin with this answer, to an address that begins like `back`."""
    for _ in range(10):
        if answer.has_redirect_location:
            location = str(answer.url.join(answer.headers["location"]))
            if location.startswith(back):
                return location
            answer = await http.get(location)
            continue
        assert answer.status_code == 200, answer.text
        form = read_page(answer.text).forms[0]
        values = {field.name: field.value for field in form.fields if field.kind == "hidden"}
        answer = await http.post(form.action, data=values | {"login": login, "password": "x"})
    pytest.fail("the pages never lead back to the app")
