"""Bound tokens over HTTP: the API as it is wired, a real Redis, and the answers of RFC 9449 sections 7 to 9."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from service.development.local_servers import start_redis
from service.identity.jwk_set import digest64
from tests.conformance.test_sender_rfcs import RFC8705_CERTIFICATE
from tests.dpop_forge import proof_key
from tests.integration.api import InProcess, api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
PUBLIC = "https://timewarden.example"
ME = f"{PUBLIC}/v1/me"
KEY = proof_key()
OTHER = proof_key()
BY_KEY = {"jkt": KEY.thumbprint}
ALGS = 'algs="ES256 ES384 Ed25519 EdDSA PS256 RS256"'
PROXY = "10.0.0.7"
CERTIFICATE = {"Client-Cert": f":{RFC8705_CERTIFICATE}:"}
BY_CERTIFICATE = {"x5t#S256": digest64(base64.b64decode(RFC8705_CERTIFICATE))}


@pytest.fixture
async def running(house: House, issuer: str, redis_url: str) -> AsyncIterator[InProcess]:
    certificates = {"client_certificate_header": "Client-Cert", "trusted_proxies": "10.0.0.0/8"}
    async with api(
        house, issuer, redis_url=redis_url, cors_origins="https://app.example", **certificates
    ) as in_process:
        yield in_process


async def ask(running: InProcess, token: str, *proofs: bytes, scheme: str = "DPoP", **more: Any) -> httpx2.Response:
    headers = {"Authorization": f"{scheme} {token}", **more.pop("headers", {})}
    if proofs:
        headers["DPoP"] = b", ".join(proofs).decode()
    return await running.send("GET", more.pop("path", "/v1/me"), headers=headers, **more)


def problem(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:timewarden:problem:")


async def test_a_bound_token_is_accepted_once_with_each_proof(running: InProcess) -> None:
    token = running.token(cnf=BY_KEY)
    proof = KEY.proof("GET", ME, token)
    good = await ask(running, token, proof)
    assert good.status_code == 200
    assert len(good.headers["DPoP-Nonce"]) == 32
    again = await ask(running, token, proof)
    assert problem(again) == (401, "invalid-dpop-proof")
    assert again.headers["WWW-Authenticate"].startswith('DPoP realm="timewarden", error="invalid_dpop_proof"')
    assert ALGS in again.headers["WWW-Authenticate"]
    assert "DPoP-Nonce" in again.headers


async def test_a_head_needs_a_proof_for_a_head(running: InProcess) -> None:
    token = running.token(cnf=BY_KEY)
    for method, status in (("GET", 401), ("HEAD", 200)):
        headers = {"Authorization": f"DPoP {token}", "DPoP": KEY.proof(method, ME, token).decode()}
        assert (await running.send("HEAD", "/v1/me", headers=headers)).status_code == status


async def test_a_proof_with_the_offered_nonce_is_accepted_at_any_client_time(running: InProcess) -> None:
    token = running.token(cnf=BY_KEY)
    late = await ask(running, token, KEY.proof("GET", ME, token, iat=1_600_000_000))
    assert problem(late) == (401, "invalid-dpop-proof")
    nonce = late.headers["DPoP-Nonce"]
    assert (await ask(running, token, KEY.proof("GET", ME, token, iat=1_600_000_000, nonce=nonce))).status_code == 200
    stale = await ask(running, token, KEY.proof("GET", ME, token, nonce="A" * 32))
    assert problem(stale) == (401, "use-dpop-nonce")
    assert 'error="use_dpop_nonce"' in stale.headers["WWW-Authenticate"]
    assert stale.headers["DPoP-Nonce"] == nonce or len(stale.headers["DPoP-Nonce"]) == 32


async def test_where_nonces_are_required_the_first_answer_gives_one(house: House, issuer: str, redis_url: str) -> None:
    async with api(house, issuer, redis_url=redis_url, dpop_nonce="required") as running:
        token = running.token(cnf=BY_KEY)
        first = await ask(running, token, KEY.proof("GET", ME, token))
        assert problem(first) == (401, "use-dpop-nonce")
        assert (
            await ask(running, token, KEY.proof("GET", ME, token, nonce=first.headers["DPoP-Nonce"]))
        ).status_code == 200


async def test_a_nonce_and_a_used_proof_of_one_replica_are_known_to_the_other(
    house: House, issuer: str, redis_url: str
) -> None:
    options = {"redis_url": redis_url, "dpop_nonce": "required"}
    async with api(house, issuer, **options) as first, api(house, issuer, **options) as two:
        token = first.token(cnf=BY_KEY)
        nonce = (await ask(first, token, KEY.proof("GET", ME, token))).headers["DPoP-Nonce"]
        proof = KEY.proof("GET", ME, token, nonce=nonce)
        assert (await ask(two, token, proof)).status_code == 200
        assert problem(await ask(first, token, proof)) == (401, "invalid-dpop-proof")


async def test_a_stolen_token_is_worth_nothing(running: InProcess) -> None:
    token = running.token(cnf=BY_KEY)
    as_bearer = await ask(running, token, scheme="Bearer")
    assert problem(as_bearer) == (401, "invalid-token")
    assert as_bearer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert f"DPoP {ALGS}" in as_bearer.headers["WWW-Authenticate"]
    with_proof = await ask(running, token, KEY.proof("GET", ME, token), scheme="Bearer")
    assert problem(with_proof) == (401, "invalid-token")
    other_key = await ask(running, token, OTHER.proof("GET", ME, token))
    assert problem(other_key) == (401, "invalid-token")
    assert other_key.headers["WWW-Authenticate"].startswith('DPoP realm="timewarden", error="invalid_token"')
    assert problem(await ask(running, token)) == (401, "invalid-dpop-proof")
    two = await ask(running, token, KEY.proof("GET", ME, token), KEY.proof("GET", ME, token))
    assert problem(two) == (401, "invalid-dpop-proof")


async def test_an_unbound_token_under_dpop_is_refused(running: InProcess) -> None:
    token = running.token()
    answer = await ask(running, token, KEY.proof("GET", ME, token))
    assert problem(answer) == (401, "invalid-token")
    assert answer.headers["WWW-Authenticate"].startswith("DPoP ")


async def test_the_target_is_the_configured_url_and_never_the_host_header(running: InProcess) -> None:
    token = running.token(cnf=BY_KEY)
    for url in ("http://testserver/v1/me", "https://attacker.example/v1/me"):
        host = url.split("/")[2]
        answer = await ask(running, token, KEY.proof("GET", url, token), headers={"Host": host})
        assert problem(answer) == (401, "invalid-dpop-proof")
    good = await ask(running, token, KEY.proof("GET", ME, token), headers={"Host": "attacker.example"})
    assert good.status_code == 200
    query = await ask(running, token, KEY.proof("GET", f"{PUBLIC}/v1/timesheets", token), path="/v1/timesheets?limit=2")
    assert query.status_code == 200


async def test_a_proof_for_another_method_or_path_is_refused(running: InProcess) -> None:
    token = running.token(cnf=BY_KEY)
    for method, url in (("POST", ME), ("GET", f"{PUBLIC}/v1/timesheets"), ("HEAD", ME)):
        assert problem(await ask(running, token, KEY.proof(method, url, token))) == (401, "invalid-dpop-proof")


async def test_without_credentials_both_schemes_are_offered_without_an_error(running: InProcess) -> None:
    answer = await running.send("GET", "/v1/me")
    assert problem(answer) == (401, "missing-token")
    metadata = f"{PUBLIC}/.well-known/oauth-protected-resource/timesheets"
    assert answer.headers["WWW-Authenticate"] == (
        f'Bearer realm="timewarden", resource_metadata="{metadata}", DPoP {ALGS}'
    )
    assert "DPoP-Nonce" not in answer.headers


async def test_browser_apps_may_send_proofs_and_read_nonces_and_challenges(running: InProcess) -> None:
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization, dpop",
    }
    answer = await running.send("OPTIONS", "/v1/me", headers=asked)
    assert answer.status_code == 204
    assert "dpop" in answer.headers["Access-Control-Allow-Headers"].lower()
    refused = await ask(running, running.token(cnf=BY_KEY), headers={"Origin": "https://app.example"})
    exposed = {part.strip() for part in refused.headers["Access-Control-Expose-Headers"].split(",")}
    assert {"WWW-Authenticate", "DPoP-Nonce"} <= exposed
    assert "DPoP-Nonce" in refused.headers


async def test_the_metadata_say_how_tokens_may_be_bound(house: House, issuer: str, running: InProcess) -> None:
    offered = (await running.send("GET", "/.well-known/oauth-protected-resource")).json()
    assert offered["dpop_signing_alg_values_supported"] == ["ES256", "ES384", "Ed25519", "EdDSA", "PS256", "RS256"]
    assert offered["tls_client_certificate_bound_access_tokens"] is True
    assert offered.get("dpop_bound_access_tokens_required", False) is False
    async with api(house, issuer) as plain:
        bare = (await plain.send("GET", "/.well-known/oauth-protected-resource")).json()
        assert not {name for name in bare if "dpop" in name or "tls" in name}
        challenge = (await plain.send("GET", "/v1/me")).headers["WWW-Authenticate"]
        assert "DPoP" not in challenge
        token = plain.token(cnf=BY_KEY)
        assert problem(await ask(plain, token, KEY.proof("GET", ME, token))) == (401, "invalid-token")


async def test_bearer_is_neither_offered_nor_accepted_if_dpop_is_required(
    house: House, issuer: str, redis_url: str
) -> None:
    async with api(house, issuer, redis_url=redis_url, dpop_required=True) as running:
        token = running.token(cnf=BY_KEY)
        assert (await ask(running, token, KEY.proof("GET", ME, token))).status_code == 200
        bearer = await running.send("GET", "/v1/me", running.token())
        assert problem(bearer) == (401, "invalid-token")
        assert "Bearer" not in bearer.headers["WWW-Authenticate"]
        offered = (await running.send("GET", "/.well-known/oauth-protected-resource")).json()
        assert offered["dpop_bound_access_tokens_required"] is True


async def test_while_redis_is_down_bound_tokens_get_503_and_everything_else_goes_on(
    house: House, issuer: str, tmp_path: Path
) -> None:
    redis = start_redis(tmp_path, preferred_port=0)
    certificates = {"client_certificate_header": "Client-Cert", "trusted_proxies": "10.0.0.0/8"}
    async with api(house, issuer, redis_url=redis.url, **certificates) as running:
        bound, free = running.token(cnf=BY_KEY), running.token(jti="free")
        certified = running.token(cnf=BY_CERTIFICATE, jti="certified")
        assert (await ask(running, bound, KEY.proof("GET", ME, bound))).status_code == 200
        redis.kill()
        answer = await ask(running, bound, KEY.proof("GET", ME, bound))
        assert problem(answer) == (503, "replay-store-unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert "WWW-Authenticate" not in answer.headers
        assert problem(await ask(running, bound, OTHER.proof("GET", ME, bound))) == (401, "invalid-token")
        assert (await running.send("GET", "/v1/me", free)).status_code == 200
        assert (await running.send("GET", "/v1/me", certified, address=PROXY, headers=CERTIFICATE)).status_code == 200


async def test_a_certificate_bound_token_needs_its_certificate_from_the_proxy(running: InProcess) -> None:
    token = running.token(cnf=BY_CERTIFICATE)
    assert (await running.send("GET", "/v1/me", token, address=PROXY, headers=CERTIFICATE)).status_code == 200
    for address, headers in (("192.0.2.1", CERTIFICATE), (PROXY, {}), ("192.0.2.1", {})):
        answer = await running.send("GET", "/v1/me", token, address=address, headers=headers)
        assert problem(answer) == (401, "invalid-token")
    other = running.token(cnf={"x5t#S256": digest64(b"another")}, jti="other")
    answer = await running.send("GET", "/v1/me", other, address=PROXY, headers=CERTIFICATE)
    assert problem(answer) == (401, "invalid-token")
    unreadable = await running.send("GET", "/v1/me", token, address=PROXY, headers={"Client-Cert": "rubbish"})
    assert problem(unreadable) == (400, "malformed-request")


async def test_a_token_bound_to_both_needs_both(running: InProcess) -> None:
    token = running.token(cnf={**BY_KEY, **BY_CERTIFICATE})
    good = await ask(running, token, KEY.proof("GET", ME, token), address=PROXY, headers=CERTIFICATE)
    assert good.status_code == 200
    without = await ask(running, token, KEY.proof("GET", ME, token), address=PROXY)
    assert problem(without) == (401, "invalid-token")


@pytest.mark.parametrize("cnf", [{}, [], None, "text", {"kid": "1"}, {"jkt": 1}, {"jwk": KEY.jwk}, {"new": True}])
async def test_a_binding_that_cannot_be_checked_is_refused(running: InProcess, cnf: object) -> None:
    token = running.token(cnf={"new": None} if cnf is None else cnf)
    for scheme in ("Bearer", "DPoP"):
        assert problem(await ask(running, token, KEY.proof("GET", ME, token), scheme=scheme)) == (401, "invalid-token")
