"""The log over HTTP: public reads of a tlog client, reads of an auditor, and what no caller may read."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING

import pytest

from service.log.anchor import Anchor
from service.log.checkpoint import Signer
from service.log.log import Log
from service.log.packing import stored_leaf
from service.log.signing import CheckpointSigner
from tests.conformance.rfc9162_verifier import consistency_holds, inclusion_holds
from tests.integration.api import InProcess, api
from tests.integration.log_database import decision
from tests.integration.log_trees import seal_all
from tests.integration.tlog_client import entries_of, hashes_of, leaf_of, read_note, root_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

    from service.database import Database
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
SIGNER = Signer("timewarden.example/audit/test", b"k" * 32)
VKEY = SIGNER.verifier.vkey
PROBLEM = "urn:timewarden:problem:"


@pytest.fixture
async def served(house: House, issuer: str) -> AsyncIterator[InProcess]:
    async with api(house, issuer, address_rate=100_000, client_rate=100_000) as running:
        yield running


@pytest.fixture
async def keeper(house: House) -> Database:
    return await house.log_database.open("keeper")


@pytest.fixture(scope="module")
async def common_served(
    common_house: House, issuer: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[InProcess]:
    """For all tests that change nothing: a log with a signed record."""
    keeper = await common_house.log_database.open("keeper")
    await grow(common_house, keeper, tmp_path_factory.mktemp("signed"), 1)
    async with api(common_house, issuer, address_rate=100_000, client_rate=100_000) as running:
        yield running


def auditor(served: InProcess) -> str:
    return served.token(scope="read:audit", roles=["auditor"])


async def grow(house: House, keeper: Database, tmp_path: Path, count: int) -> None:
    """Append records, seal and sign."""
    await Log(house.requests).append([decision() for _ in range(count)])
    await seal_all(keeper)
    await CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor")).sign()


async def checkpoint(served: InProcess) -> tuple[int, bytes]:
    answer = await served.send("GET", "/v1/log/checkpoint")
    assert answer.status_code == 200, answer.text
    return read_note(answer.text, VKEY)


async def test_a_client_rebuilds_the_root_from_tiles_and_from_records(
    served: InProcess, house: House, keeper: Database, tmp_path: Path
) -> None:
    await grow(house, keeper, tmp_path, 700)
    size, root = await checkpoint(served)
    assert size > 700

    async def anybody(path: str) -> bytes:
        answer = await served.send("GET", f"/v1/log/{path}")
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert "Decision-Id" not in answer.headers
        return answer.content

    token = auditor(served)

    async def with_token(path: str) -> bytes:
        answer = await served.send("GET", f"/v1/log/{path}", token)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Decision-Id"]
        return answer.content

    leaves = await hashes_of(anybody, 0, size)
    assert (len(leaves), root_of(leaves)) == (size, root)
    above = await hashes_of(anybody, 1, size)
    assert above == [root_of(leaves[at : at + 256]) for at in range(0, size - 255, 256)]
    entries = await entries_of(with_token, size)
    assert [leaf_of(entry) for entry in entries] == leaves


async def test_reading_records_needs_a_token_and_is_recorded(
    served: InProcess, house: House, keeper: Database, tmp_path: Path
) -> None:
    await grow(house, keeper, tmp_path, 260)
    path = "/v1/log/tile/entries/000"
    assert (await served.send("GET", path)).status_code == 401
    assert (await served.send("GET", path, served.token(scope="read:timesheets"))).status_code == 403
    answer = await served.send("GET", path, auditor(served))
    row = await house.owner.fetchrow(
        "SELECT kind, outcome, returned, body, stored_hash FROM audit_record WHERE uid = $1",
        answer.headers["Decision-Id"],
    )
    assert row is not None
    assert (row["kind"], row["outcome"], stored_leaf(row["body"], row["stored_hash"]).hex()) == (
        "access",
        "allow",
        answer.headers["Decision-Leaf"],
    )
    assert len(row["returned"]) == 256


async def test_only_what_a_signed_checkpoint_covers_is_returned(
    served: InProcess, house: House, keeper: Database, tmp_path: Path
) -> None:
    early = await served.send("GET", "/v1/log/checkpoint")
    assert (early.status_code, early.json()["type"]) == (503, f"{PROBLEM}not-sealed")
    assert early.headers["Retry-After"] == "2"
    # Nothing was returned, but the access is recorded.
    bundle = await served.send("GET", "/v1/audit/bundle", auditor(served))
    assert (bundle.status_code, bundle.json()["type"]) == (503, f"{PROBLEM}not-sealed")
    assert await house.count(f"audit_record WHERE uid = '{bundle.headers['Decision-Id']}' AND kind = 'access'") == 1
    await grow(house, keeper, tmp_path, 1)
    size, _ = await checkpoint(served)
    receipts = await Log(house.requests).append([decision() for _ in range(300)])
    await seal_all(keeper)
    token = auditor(served)
    for path in (f"tile/0/000.p/{size + 1}", "tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1", "tile/9/000.p/1"):
        assert (await served.send("GET", f"/v1/log/{path}")).json()["type"] == f"{PROBLEM}not-found"
    unsigned = await served.send("GET", f"/v1/log/tile/entries/000.p/{size + 1}", token)
    assert (unsigned.status_code, "Decision-Id" in unsigned.headers) == (404, True)
    proof = await served.send("GET", f"/v1/audit/records/{receipts[0].uid}/proof", token)
    assert (proof.status_code, proof.json()["type"]) == (503, f"{PROBLEM}not-sealed")
    assert proof.headers["Retry-After"] == "2"
    assert proof.headers["Decision-Id"]
    ahead = await served.send("GET", f"/v1/audit/consistency?from=1&to={size + 1}", token)
    assert (ahead.status_code, ahead.json()["type"]) == (503, f"{PROBLEM}not-sealed")


async def test_a_proof_file_proves_the_record_of_an_answer(
    served: InProcess, house: House, keeper: Database, tmp_path: Path
) -> None:
    answer = await served.send("GET", "/v1/me", served.token())
    await grow(house, keeper, tmp_path, 300)
    found = await served.send("GET", f"/v1/audit/records/{answer.headers['Decision-Id']}/proof", auditor(served))
    assert found.status_code == 200, found.text
    assert found.headers["Content-Disposition"].endswith('.tlog-proof"')
    head, _, note = found.text.partition("\n\n")
    version, index, *hashes = head.split("\n")
    size, root = read_note(note, VKEY)
    assert (version, index[:6]) == ("c2sp.org/tlog-proof@v1", "index ")
    path = [base64.b64decode(value) for value in hashes]
    leaf = bytes.fromhex(answer.headers["Decision-Leaf"])
    assert inclusion_holds(leaf, int(index[6:]), size, path, root)
    assert not inclusion_holds(hashlib.sha256(leaf).digest(), int(index[6:]), size, path, root)


async def test_the_log_extends_every_earlier_checkpoint(
    served: InProcess, house: House, keeper: Database, tmp_path: Path
) -> None:
    from service.audit import published_log

    seen = []
    for count in (1, 20, 300, 7):
        await grow(house, keeper, tmp_path, count)
        async with keeper.connection() as connection:
            seen.append(await published_log.newest_checkpoint(connection))
    token = auditor(served)
    for old in seen:
        for new in seen:
            if old.size <= new.size:
                answer = await served.send("GET", f"/v1/audit/consistency?from={old.size}&to={new.size}", token)
                path = [base64.b64decode(value) for value in answer.json()["hashes"]]
                assert consistency_holds(old.size, old.root, new.size, new.root, path)
                # An older checkpoint that was signed can be had with it.
                assert read_note(answer.json()["checkpoint"], VKEY) == (new.size, new.root)
    newest = (await served.send("GET", f"/v1/audit/consistency?from={seen[0].size}", token)).json()
    assert (newest["from"], newest["to"]) == (seen[0].size, seen[-1].size)
    assert read_note(newest["checkpoint"], VKEY) == (seen[-1].size, seen[-1].root)


@pytest.mark.parametrize(
    ("path", "status", "problem"),
    [
        ("/v1/log/tile/0/1", 404, "not-found"),
        ("/v1/log/tile/00/000", 404, "not-found"),
        ("/v1/log/tile/data/000", 404, "not-found"),
        ("/v1/log/tile/0/000.p/256", 404, "not-found"),
        ("/v1/log/tile/0/x000/001", 404, "not-found"),
        ("/v1/log/tile/entries/1", 404, "not-found"),
        ("/v1/log/tile/entries/000.p/0", 404, "not-found"),
        ("/v1/log/checkpoint?size=1", 422, "invalid-field"),
        ("/v1/audit/records/0198c0de-0000-7000-8000-00000000dead/proof", 404, "not-found"),
        ("/v1/audit/records/7/proof", 422, "invalid-field"),
        ("/v1/audit/consistency", 422, "invalid-field"),
        ("/v1/audit/consistency?from=0", 422, "invalid-field"),
        ("/v1/audit/consistency?from=x", 422, "invalid-field"),
        ("/v1/audit/consistency?from=3&to=2", 422, "invalid-field"),
        ("/v1/audit/consistency?from=1&to=9007199254740991", 404, "not-found"),
        ("/v1/audit/consistency?from=1&to=9007199254740992", 422, "invalid-field"),
    ],
)
async def test_bad_input_is_explained(common_served: InProcess, path: str, status: int, problem: str) -> None:
    needs_token = "audit" in path or "entries" in path
    answer: httpx2.Response = await common_served.send("GET", path, auditor(common_served) if needs_token else None)
    assert (answer.status_code, answer.json()["type"]) == (status, PROBLEM + problem), answer.text


async def test_cors_allows_checkpoint_and_hashes_only(
    house: House, issuer: str, keeper: Database, tmp_path: Path
) -> None:
    await grow(house, keeper, tmp_path, 1)
    async with api(house, issuer, cors_origins="https://app.example") as served:
        for origin in ("https://app.example", "https://elsewhere.example"):
            for path in ("/v1/log/checkpoint", "/v1/log/tile/0/000.p/1"):
                answer = await served.send("GET", path, headers={"Origin": origin})
                assert answer.headers.get_list("Access-Control-Allow-Origin") in (["*"], [origin])
        path = "/v1/log/tile/entries/000.p/1"
        answer = await served.send("GET", path, auditor(served), headers={"Origin": "https://elsewhere.example"})
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_public_reads_of_the_log_are_limited(house: House, issuer: str, keeper: Database, tmp_path: Path) -> None:
    await grow(house, keeper, tmp_path, 1)
    # Many requests at once may wait long for their slots on a busy machine; this is not about overload.
    async with api(house, issuer, address_rate=3, admission_timeout=30) as limited:
        found = [(await limited.send("GET", "/v1/log/checkpoint")).status_code for _ in range(4)]
        assert found == [200, 200, 200, 429]
        # A verification reads many tiles, independent of other requests from its address.
        path = "/v1/log/tile/0/000.p/1"
        answers = await asyncio.gather(*(limited.send("GET", path) for _ in range(63)))
        assert sorted(answer.status_code for answer in answers) == [200] * 60 + [429] * 3
        assert answers[0].headers["RateLimit-Policy"] == '"tiles";q=60;w=60'
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert 1 <= int(refused.headers["Retry-After"]) <= 61
        assert (await limited.send("GET", "/v1/log/checkpoint", address="192.0.2.2")).status_code == 200
