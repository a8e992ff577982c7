"""Tokens bound to a key, from the sign-in to the decision log: the running service, and proofs of two clients.

Most are made by the development server's client (joserfc), the last by ours; both were written apart from the check.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from service.development.authorization_server import sign_in, token_endpoint
from service.development.authorization_server.proof_keys import ProofKey
from service.development.people import CLIENTS, PEOPLE
from service.standalone.client import Timewarden, Unauthenticated, client_credentials, refreshing
from service.standalone.client.dpop import DpopKey
from tests.acceptance.caller import SHEETS, fresh_week, problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

    from tests.acceptance.caller import Callers
    from tests.acceptance.running_service import RunningService

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class BoundCaller:
    """A client that holds a key and a token for it, and makes a proof for each request."""

    http: httpx2.AsyncClient
    key: ProofKey
    token: str

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        proof: str | None = None,
        scheme: str = "DPoP",
        headers: Mapping[str, str] = NOTHING,
    ) -> httpx2.Response:
        given = {"Authorization": f"{scheme} {self.token}", "DPoP": proof or self.proof(method, path), **headers}
        return await self.http.request(method, path, json=body, headers=given)

    def proof(self, method: str, path: str, nonce: str | None = None) -> str:
        return self.key.proof(method, str(self.http.base_url).rstrip("/") + path, self.token, nonce)


@pytest.fixture
async def carl(service: RunningService, http: httpx2.AsyncClient) -> BoundCaller:
    """Carl in an app that binds its tokens."""
    key = ProofKey()
    answer = await sign_in.authorization_code_token(
        service.addresses.issuer, "carl", PEOPLE["carl"].password, "timesheets-cli", dpop=key
    )
    assert answer.token_type == "DPoP"
    return BoundCaller(http, key, answer.access_token)


async def test_a_person_writes_and_reads_hours_with_a_bound_token(carl: BoundCaller, callers: Callers) -> None:
    me = await carl.send("GET", "/v1/me")
    assert me.status_code == 200, me.text
    assert me.json()["person"] == await (await callers("carl")).me(), "the same person as with a bearer token"
    made = await carl.send("POST", SHEETS, {"period_start": fresh_week().isoformat()})
    assert made.status_code == 201, made.text
    sheet = made.headers["Location"]
    assert (await carl.send("GET", sheet)).status_code == 200
    assert (await carl.send("GET", f"{SHEETS}?limit=1", proof=carl.proof("GET", SHEETS))).status_code == 200
    gone = await carl.send("DELETE", sheet, headers={"If-Match": made.headers["ETag"]})
    assert gone.status_code == 204, gone.text
    assert len(gone.headers["DPoP-Nonce"]) == 32


async def test_a_machine_uses_a_bound_token(service: RunningService, http: httpx2.AsyncClient) -> None:
    key, secret = ProofKey(), CLIENTS["payroll-import"].secret
    assert secret is not None
    answer = await sign_in.client_credentials_token(service.addresses.issuer, "payroll-import", secret, dpop=key)
    job = BoundCaller(http, key, answer.access_token)
    assert (await job.send("GET", "/v1/me")).status_code == 200


async def test_a_proof_is_good_once_and_a_change_is_not_made_twice(carl: BoundCaller) -> None:
    body = {"period_start": fresh_week().isoformat()}
    proof = carl.proof("POST", SHEETS)
    assert (await carl.send("POST", SHEETS, body, proof=proof)).status_code == 201
    problem(await carl.send("POST", SHEETS, body, proof=proof), 401, "invalid-dpop-proof")


async def test_an_offered_nonce_is_accepted_and_another_one_is_answered_with_a_new_nonce(
    carl: BoundCaller,
) -> None:
    nonce = (await carl.send("GET", "/v1/me")).headers["DPoP-Nonce"]
    assert (await carl.send("GET", "/v1/me", proof=carl.proof("GET", "/v1/me", nonce))).status_code == 200
    refused = await carl.send("GET", "/v1/me", proof=carl.proof("GET", "/v1/me", "of-another-server"))
    problem(refused, 401, "use-dpop-nonce")
    assert refused.headers["WWW-Authenticate"].startswith('DPoP realm="timewarden", error="use_dpop_nonce"')
    again = carl.proof("GET", "/v1/me", refused.headers["DPoP-Nonce"])
    assert (await carl.send("GET", "/v1/me", proof=again)).status_code == 200


async def test_who_steals_the_token_without_the_key_gets_nowhere(carl: BoundCaller, service: RunningService) -> None:
    thief = BoundCaller(carl.http, ProofKey(), carl.token)
    problem(await thief.send("GET", "/v1/me"), 401, "invalid-token")
    problem(await thief.send("GET", "/v1/me", scheme="Bearer"), 401, "invalid-token")
    problem(await carl.send("GET", "/v1/me", scheme="Bearer"), 401, "invalid-token")
    problem(await thief.send("GET", "/v1/me", proof="rubbish"), 401, "invalid-dpop-proof")
    problem(await carl.send("GET", SHEETS, proof=carl.proof("GET", "/v1/me")), 401, "invalid-dpop-proof")
    logged = service.log.read_text(encoding="utf-8")
    assert "proof-target" in logged
    assert carl.token not in logged
    assert carl.key.thumbprint not in logged


async def test_an_ordinary_token_is_not_ennobled_by_the_scheme(carl: BoundCaller, callers: Callers) -> None:
    token = (await callers("carl")).token
    assert token is not None
    answer = await BoundCaller(carl.http, carl.key, token).send("GET", "/v1/me")
    problem(answer, 401, "invalid-token")


async def test_two_proofs_in_two_headers_are_refused(carl: BoundCaller) -> None:
    headers = [("Authorization", f"DPoP {carl.token}"), *[("DPoP", carl.proof("GET", "/v1/me")) for _ in range(2)]]
    problem(await carl.http.get("/v1/me", headers=headers), 401, "invalid-dpop-proof")


@dataclass
class Recorder:
    """A hook of the client: the proofs that were sent, and how they were answered."""

    seen: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, answer: httpx2.Response) -> None:
        self.seen.append((answer.request.headers["DPoP"], answer.status_code))


async def test_our_client_binds_its_tokens_and_keeps_its_key(service: RunningService, http: httpx2.AsyncClient) -> None:
    endpoint, secret = service.addresses.issuer.rstrip("/") + token_endpoint.PATH, CLIENTS["payroll-import"].secret
    assert secret is not None
    sent, key = Recorder(), DpopKey()
    tokens = client_credentials(endpoint, "payroll-import", secret, dpop=key)
    job = Timewarden(service.addresses.api, tokens, http=http, on_answer=sent)
    assert (await job.me()).client == "payroll-import"
    first = await tokens()
    assert await tokens(refused=first) != first
    assert (await job.me()).client == "payroll-import", "the new token is bound to the same key"
    assert [status for _, status in sent.seen] == [200, 200]


async def test_our_client_answers_a_challenge_with_a_fresh_proof(service: RunningService, carl: BoundCaller) -> None:
    """And renews the tokens of a person with the key of the sign-in."""
    key = ProofKey()
    bound = await sign_in.authorization_code_token(
        service.addresses.issuer, "carl", PEOPLE["carl"].password, "hours-app", dpop=key
    )
    endpoint = service.addresses.issuer.rstrip("/") + token_endpoint.PATH
    assert bound.refresh_token is not None
    tokens = refreshing(endpoint, "hours-app", bound.refresh_token, dpop=dpop_key(key))
    sent = Recorder()
    api = Timewarden(service.addresses.api, tokens, http=carl.http, on_answer=sent)
    assert api._proofs is not None
    # A nonce from before the service was installed anew.
    api._proofs._nonce = "of-another-server"
    sheet = await api.open_week(fresh_week())
    assert [status for _, status in sent.seen] == [401, 201]
    await tokens(refused=await tokens())
    await api.delete(sheet)
    assert [status for _, status in sent.seen] == [401, 201, 204]
    assert len({proof for proof, _ in sent.seen}) == 3


async def test_a_token_stolen_from_our_client_is_refused_without_its_key(
    carl: BoundCaller, service: RunningService
) -> None:
    owner, *thieves = (
        Timewarden(service.addresses.api, carl.token, http=carl.http, dpop=key)
        for key in (dpop_key(carl.key), DpopKey(), None)
    )
    assert (await owner.me()).kind == "user"
    for thief in thieves:
        with pytest.raises(Unauthenticated, match="invalid-token"):
            await thief.me()


def dpop_key(key: ProofKey) -> DpopKey:
    """The key of a sign-in, stored by the app and loaded again."""
    return DpopKey(key._key.as_pem(private=True).decode())
