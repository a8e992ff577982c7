"""The client's proofs (RFC 9449): what is in them, and when a request is made again with another one.

The signatures are checked by joserfc, which the client does not use.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey

from service.identity.credentials import RequestCredentials
from service.standalone.client import Problem, Timewarden, TokenRefused, client_credentials, make_proof, refreshing
from service.standalone.client.dpop import DpopKey
from tests.example_count import example_count
from tests.token_forge import encode_part
from tests.unit.test_client import MADE, TOKENS, URL, Server, problem, sheet, token, waits
from tests.unit.test_dpop import proofs as checks

__all__ = ["waits"]

BOUND = {"token_type": "DPoP"}
KEY = DpopKey()


def read_proof(request: httpx2.Request, key: DpopKey = KEY) -> dict[str, Any]:
    """The claims of a request's proof, checked: it is signed by the key that it names, which is this one."""
    (proof,) = request.headers.get_list("DPoP")
    header = jws.extract_compact(proof.encode()).headers()
    assert header == {"typ": "dpop+jwt", "alg": "ES256", "jwk": dict(key.jwk)}
    named = ECKey.import_key(header["jwk"])
    assert named.thumbprint() == key.thumbprint
    claims: dict[str, Any] = json.loads(jws.deserialize_compact(proof, named, algorithms=["ES256"]).payload)
    assert abs(claims.pop("iat") - time.time()) < 60
    return claims


def nonce_wanted(nonce: str, slug: str = "use-dpop-nonce") -> httpx2.Response:
    return problem(401, slug, {"DPoP-Nonce": nonce})


async def test_each_request_has_a_proof_for_itself_and_its_token() -> None:
    first = httpx2.Response(200, json={"items": [MADE], "next_cursor": "c"})
    server = Server(first, httpx2.Response(200, json={"items": [], "next_cursor": None}))
    api = Timewarden(f"{URL}/", "a.b.c", http=server.http, dpop=KEY)
    assert len([item async for item in api.timesheets(project="A?#é")]) == 1

    proofs = [read_proof(request) for request in server.seen]
    assert len({proof.pop("jti") for proof in proofs}) == 2
    ath = encode_part(hashlib.sha256(b"a.b.c").digest()).decode()
    assert proofs == [{"htm": "GET", "htu": f"{URL}/v1/timesheets", "ath": ath}] * 2
    assert {request.headers["Authorization"] for request in server.seen} == {"DPoP a.b.c"}


@settings(max_examples=example_count(50), deadline=None)
@given(code=st.text(min_size=1, max_size=20), text=st.text(max_size=20), base=st.sampled_from(["", "/hours", "/a b"]))
async def test_the_service_accepts_the_proof_for_whatever_address(code: str, text: str, base: str) -> None:
    """The service reads the address from the request line, as the client sent it."""
    request = httpx2.Request("GET", f"{URL}{base}/v1/projects/{quote(code, safe='')}", params={"text": text})
    proof = make_proof(KEY, "GET", str(request.url), "a.b.c").encode()
    seen = request.url.raw_path.partition(b"?")[0].decode()
    credentials = RequestCredentials((b"DPoP a.b.c",), (proof,), "GET", URL + seen)
    await checks().check(credentials, b"a.b.c", KEY.thumbprint)


async def test_each_attempt_has_a_fresh_proof_with_the_newest_nonce(waits: list[float]) -> None:
    busy = problem(503, "replay-store-unavailable", {"DPoP-Nonce": "n2"})
    server = Server(nonce_wanted("n1"), busy, httpx2.ReadError("broken off"), sheet())
    api = Timewarden(URL, "t", http=server.http, dpop=KEY)
    assert (await api.timesheet("s1")).id == "s1"

    proofs = [read_proof(request) for request in server.seen]
    assert [proof.get("nonce") for proof in proofs] == [None, "n1", "n2", "n2"]
    assert len({proof["jti"] for proof in proofs}) == 4
    assert len(waits) == 2, "a nonce is no reason to wait"


async def test_a_change_without_a_key_is_sent_again_with_the_nonce_as_it_was_not_made() -> None:
    server = Server(nonce_wanted("n1"), problem(409, "stale-expectation"))
    with pytest.raises(Problem, match="stale-expectation"):
        await Timewarden(URL, "t", http=server.http, dpop=KEY).activate_policy(2, instead_of=1)
    assert [request.content for request in server.seen] == [b'{"expected_active":1}'] * 2


async def test_a_wrong_clock_is_corrected_by_the_nonce_of_the_refusal() -> None:
    server = Server(nonce_wanted("n1", "invalid-dpop-proof"), sheet())
    await Timewarden(URL, "t", http=server.http, dpop=KEY).timesheet("s1")
    assert read_proof(server.seen[1])["nonce"] == "n1"


@pytest.mark.parametrize("refusal", [nonce_wanted("n1"), nonce_wanted("n1", "invalid-dpop-proof")])
async def test_a_nonce_that_does_not_help_is_tried_once(refusal: httpx2.Response) -> None:
    server = Server(refusal, refusal)
    with pytest.raises(Problem, match="401"):
        await Timewarden(URL, "t", http=server.http, dpop=KEY).timesheet("s1")
    assert len(server.seen) == 2


async def test_a_refusal_without_a_nonce_or_without_a_key_is_raised() -> None:
    for answer, key in ((problem(401, "use-dpop-nonce"), KEY), (nonce_wanted("n1"), None)):
        server = Server(answer)
        with pytest.raises(Problem, match="use-dpop-nonce"):
            await Timewarden(URL, "t", http=server.http, dpop=key).timesheet("s1")
        assert len(server.seen) == 1


async def test_a_large_file_is_asked_for_again_with_the_nonce_and_with_a_new_token() -> None:
    signed_in = Server(token("old", **BOUND), token("new", **BOUND))
    server = Server(nonce_wanted("n1"), problem(401, "invalid-token"), httpx2.Response(200, content=b"rows"))
    api = Timewarden(URL, client_credentials(TOKENS, "job", "s", http=signed_in.http, dpop=KEY), http=server.http)
    async with api.stream("/v1/audit/export", query={"format": "csv"}) as answer:
        assert await answer.aread() == b"rows"
    assert [request.headers["Authorization"] for request in server.seen] == ["DPoP old", "DPoP old", "DPoP new"]
    assert read_proof(server.seen[2])["ath"] == encode_part(hashlib.sha256(b"new").digest()).decode()


async def test_tokens_are_bound_to_the_key_and_renewed_with_it() -> None:
    wanted = httpx2.Response(400, json={"error": "use_dpop_nonce"}, headers={"DPoP-Nonce": "a1"})
    newer = httpx2.Response(
        200, json={"access_token": "a", "refresh_token": "r2", **BOUND}, headers={"DPoP-Nonce": "a2"}
    )
    signed_in, server = Server(wanted, newer, token("b", **BOUND)), Server(problem(401, "invalid-token"), sheet())
    tokens = refreshing(TOKENS, "app", "r1", http=signed_in.http, dpop=KEY)
    await Timewarden(URL, tokens, http=server.http).timesheet("s1")

    proofs = [read_proof(request) for request in signed_in.seen]
    assert [proof.get("nonce") for proof in proofs] == [None, "a1", "a2"]
    assert {(proof["htm"], proof["htu"], proof.get("ath")) for proof in proofs} == {("POST", TOKENS, None)}
    assert [b"refresh_token=r1" in request.content for request in signed_in.seen] == [True, True, False]
    assert [request.headers["Authorization"] for request in server.seen] == ["DPoP a", "DPoP b"]
    assert "nonce" not in read_proof(server.seen[0]), "a nonce is of one server"


async def test_a_server_that_ignores_the_key_gives_no_token() -> None:
    tokens = client_credentials(TOKENS, "job", "s", http=Server(token("a")).http, dpop=KEY)
    with pytest.raises(TokenRefused, match="not_bound"):
        await tokens()


async def test_a_token_server_that_always_wants_another_nonce_is_asked_twice() -> None:
    wanted = httpx2.Response(400, json={"error": "use_dpop_nonce"}, headers={"DPoP-Nonce": "a1"})
    server = Server(wanted, wanted)
    with pytest.raises(TokenRefused, match="use_dpop_nonce"):
        await client_credentials(TOKENS, "job", "s", http=server.http, dpop=KEY)()
    assert len(server.seen) == 2


def test_a_key_is_stored_as_pem_and_loaded_again() -> None:
    loaded = DpopKey(KEY.pem())
    assert (loaded.jwk, loaded.thumbprint) == (KEY.jwk, KEY.thumbprint)
    assert DpopKey().thumbprint != KEY.thumbprint
    wrong = ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for text in (wrong.decode(), "no key"):
        with pytest.raises(ValueError):
            DpopKey(text)


async def test_a_key_of_the_caller_needs_only_its_public_half_and_a_signature() -> None:
    class Module:
        """A key that never leaves its place."""

        def __init__(self) -> None:
            self.jwk = KEY.jwk

        def sign(self, data: bytes) -> bytes:
            return KEY.sign(data)

    server = Server(sheet())
    await Timewarden(URL, "t", http=server.http, dpop=Module()).timesheet("s1")
    assert read_proof(server.seen[0])["htm"] == "GET"


def test_a_proof_for_a_sign_in_of_the_app_names_the_address_alone() -> None:
    proof = make_proof(KEY, "POST", f"{TOKENS}?tenant=1#top", nonce="n")
    claims = read_proof(httpx2.Request("POST", TOKENS, headers={"DPoP": proof}))
    assert (claims["htu"], claims["nonce"]) == (TOKENS, "n")
