"""Rate limits over HTTP, shared through Redis by two replicas, and what becomes of them while Redis is down."""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import asynccontextmanager
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from events.stream import open_redis
from service import metrics
from service.development.local_servers import start_redis
from service.errors import Misconfigured
from service.identity.verified_tokens import TokenCache
from service.web.http.rate_limits import (
    MAX_COUNTERS_PER_SCRIPT,
    MAX_LOCAL_COUNTERS,
    PREFIX,
    RETRY_PAUSE_SECONDS,
    Addresses,
    Allowance,
    Counters,
    LocalCounters,
)
from service.web.identity import metadata
from tests.integration.api import AUDIENCE, InProcess, api
from tests.integration.site import Site, ok, site
from tests.ports import unused_port
from tests.token_forge import good_jwks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from service.metric_families import Counter
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
RATES = {"client_rate": 10, "address_rate": 10, "failed_authentication_weight": 5}


@pytest.fixture
async def limited(house: House, issuer: str, redis_url: str) -> AsyncIterator[InProcess]:
    async with api(house, issuer, redis_url=redis_url, **RATES) as running:
        yield running


async def test_a_person_with_a_client_has_a_limit_and_learns_what_remains(limited: InProcess) -> None:
    token = limited.token()
    for used in range(1, 11):
        answer = await limited.send("GET", "/v1/me", token)
        assert answer.status_code == 200
        assert answer.headers["RateLimit-Policy"] == '"client";q=10;w=60'
        assert answer.headers["RateLimit"].startswith(f'"client";r={10 - used};t=')
    refused = await limited.send("GET", "/v1/me", token)
    assert refused.status_code == 429
    assert refused.json()["type"] == "urn:timewarden:problem:too-many-requests"
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert "Decision-Id" not in refused.headers
    other = limited.token(client_id="another-app", jti="token-2")
    assert (await limited.send("GET", "/v1/me", other)).status_code == 200
    assert (await limited.send("GET", "/v1/me", limited.token(sub="auth0|ben"))).status_code == 200


async def test_another_token_of_the_same_person_and_client_counts_the_same(limited: InProcess) -> None:
    found = [
        (await limited.send("GET", "/v1/me", limited.token(jti=f"token-{number}"))).status_code for number in range(11)
    ]
    assert found == [200] * 10 + [429]


async def test_two_replicas_together_allow_no_more_than_one(
    limited: InProcess, house: House, issuer: str, redis_url: str
) -> None:
    async with api(house, issuer, redis_url=redis_url, **RATES) as replica:
        token = limited.token()
        answers = await asyncio.gather(
            *((limited, replica)[number % 2].send("GET", "/v1/me", token) for number in range(24))
        )
    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429] * 14


async def test_without_a_token_an_address_has_a_limit(limited: InProcess) -> None:
    found = [(await limited.send("GET", "/v1/me")).status_code for _ in range(12)]
    assert found == [401] * 10 + [429] * 2
    assert (await limited.send("GET", "/v1/me", address="192.0.2.2")).status_code == 401
    assert (await limited.send("GET", "/openapi.json")).status_code == 429
    assert (await limited.send("GET", "/health/ready")).status_code == 200


@pytest.mark.parametrize("path", [metadata.PATH, metadata.metadata_path(AUDIENCE), "/openapi.json"])
async def test_a_public_route_counts_also_beside_credentials_that_nobody_checks(limited: InProcess, path: str) -> None:
    found = [(await limited.send("GET", path, "no.to.ken")).status_code for _ in range(12)]
    assert found == [200] * 10 + [429] * 2


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer no.to.ken"}])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("GET", f"{metadata.PATH}/v1", 404), ("PATCH", "/v1/me", 405)],
)
async def test_a_request_without_a_route_counts_as_one_without_a_token(
    limited: InProcess, method: str, path: str, status: int, headers: dict[str, str]
) -> None:
    answers = [await limited.send(method, path, headers=headers) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [status] * 10 + [429] * 2
    assert answers[0].headers["RateLimit"].startswith('"address";r=9;')
    assert "Retry-After" in answers[-1].headers
    assert (await limited.send("GET", "/v1/me", limited.token())).status_code == 200


async def test_refused_credentials_count_more_than_none(limited: InProcess) -> None:
    for presented in ("no.to.ken", "two words"):
        assert (await limited.send("GET", "/v1/me", presented)).status_code in {400, 401}
    refused = await limited.send("GET", "/v1/me", "no.to.ken")
    assert refused.status_code == 429
    assert "WWW-Authenticate" not in refused.headers
    assert (await limited.send("GET", "/v1/me")).status_code == 429


CERTIFICATES = {"client_certificate_header": "Client-Cert", "trusted_proxies": "192.0.2.1"}
# Requests that are refused before their token is verified, by the cause in the metrics.
MALFORMED: dict[str, tuple[str, dict[str, str]]] = {
    "empty-header": ("/v1/me", {"Authorization": ""}),
    "not-a-bearer-token": ("/v1/me", {"Authorization": "Bearer two words"}),
    "token-in-url": ("/v1/me?access_token=a", {"Authorization": "Bearer a"}),
    "certificate-unreadable": ("/v1/me", {"Authorization": "Bearer a", "Client-Cert": "-----BEGIN"}),
}


async def test_what_is_refused_before_its_token_is_verified_is_counted_by_its_cause(house: House, issuer: str) -> None:
    before = {cause: count_of(metrics.TOKENS_REFUSED, cause) for cause in MALFORMED}
    async with api(house, issuer, address_rate=0, **CERTIFICATES) as running:
        for path, headers in MALFORMED.values():
            assert (await running.send("GET", path, headers=headers)).status_code == 400
    after = {cause: count_of(metrics.TOKENS_REFUSED, cause) - count for cause, count in before.items()}
    assert after == dict.fromkeys(MALFORMED, 1)


async def test_what_is_beyond_a_limit_is_counted_by_the_limit(limited: InProcess) -> None:
    before = [count_of(metrics.RATE_LIMITED, limit) for limit in ("client", "address")]
    token = limited.token()
    for _ in range(12):
        await limited.send("GET", "/v1/me", token)
    for _ in range(3):
        await limited.send("GET", "/v1/me", "no.to.ken")
    after = [count_of(metrics.RATE_LIMITED, limit) for limit in ("client", "address")]
    assert [then - count for then, count in zip(after, before, strict=True)] == [2, 1]


def count_of(counter: Counter, label: str) -> float:
    return sum(counter.series.get((label,), [0]))


async def test_a_valid_token_does_not_suffer_from_its_neighbours(limited: InProcess) -> None:
    for _ in range(3):
        await limited.send("GET", "/v1/me", "no.to.ken")
    answer = await limited.send("GET", "/v1/me", limited.token())
    assert answer.status_code == 200
    assert answer.headers["RateLimit"].startswith('"client";')


async def test_an_address_is_the_peer_s_unless_a_trusted_proxy_says_otherwise(
    house: House, issuer: str, redis_url: str
) -> None:
    async with api(house, issuer, redis_url=redis_url, trusted_proxies="10.0.0.0/8", **RATES) as running:
        strange = [
            (await running.send("GET", "/v1/me", headers={"X-Forwarded-For": f"198.51.100.{number}"})).status_code
            for number in range(11)
        ]
        assert strange == [401] * 10 + [429]
        for number in range(11):
            passed = await running.send(
                "GET", "/v1/me", address="10.1.2.3", headers={"X-Forwarded-For": f"198.51.100.{number}"}
            )
            assert passed.status_code == 401
        written = {"X-Forwarded-For": "203.0.113.9, 198.51.100.77, 10.9.9.9"}
        forged = [
            (await running.send("GET", "/v1/me", address="10.1.2.3", headers=written)).status_code for _ in range(11)
        ]
        assert forged == [401] * 10 + [429]
        assert (
            await running.send("GET", "/v1/me", address="10.1.2.3", headers={"X-Forwarded-For": "203.0.113.9"})
        ).status_code == 401


async def test_zero_means_any_number(house: House, issuer: str, redis_url: str) -> None:
    async with api(house, issuer, redis_url=redis_url, client_rate=0, address_rate=0) as running:
        answer = await running.send("GET", "/v1/me", running.token())
        assert "RateLimit" not in answer.headers
        assert {(await running.send("GET", "/v1/me", "x")).status_code for _ in range(20)} == {401}


async def test_while_redis_is_down_each_process_counts_for_itself_and_recovers(
    house: House, issuer: str, tmp_path: Path
) -> None:
    port = unused_port()
    url = f"redis://127.0.0.1:{port}/0"
    async with api(house, issuer, redis_url=url, **RATES) as running:
        token = running.token()
        with capture_logs() as lines:
            found = [(await running.send("GET", "/v1/me", token)).status_code for _ in range(12)]
        assert found == [200] * 10 + [429] * 2
        assert len([line for line in lines if line["log_level"] == "warning"]) == 1


async def test_counters_go_back_to_redis_by_themselves(tmp_path: Path) -> None:
    now = [0.0]
    limit = 5
    with start_redis(tmp_path, preferred_port=0) as server:
        url = server.database_url(0)
        shared = Counters(url)
        await shared.spend(limit, "key", 2)
        counters = Counters(url, clock=lambda: now[0])
        assert (await counters.spend(limit, "key")).remaining == 2
    with capture_logs() as lines:
        assert (await counters.spend(limit, "key")).remaining == 4
        assert (await counters.spend(limit, "key")).remaining == 3
    assert [line["log_level"] for line in lines] == ["warning"]
    with start_redis(tmp_path, preferred_port=urlsplit(url).port or 0) as server:
        assert server.database_url(0) == url
        assert (await counters.spend(limit, "other")).remaining == 4
        now[0] += 6
        with capture_logs() as lines:
            assert (await counters.spend(limit, "fresh")).remaining == 4
        assert [line["log_level"] for line in lines] == ["info"]
        replica = Counters(url)
        assert (await replica.spend(limit, "fresh")).remaining == 3
        for each in (shared, counters, replica):
            await each.close()


async def test_a_replica_without_requests_says_whether_its_limits_are_shared(tmp_path: Path) -> None:
    now = [100.0]

    async def is_shared(counters: Counters) -> float:
        now[0] += RETRY_PAUSE_SECONDS
        counters.measure()
        assert counters._question is not None
        await counters._question
        counters.measure()
        return metrics.LIMITS_SHARED.series[()][0]

    with start_redis(tmp_path, preferred_port=0) as server:
        url = server.database_url(0)
        counters = Counters(url, clock=lambda: now[0])
        assert await is_shared(counters) == 1
    assert await is_shared(counters) == 0
    with start_redis(tmp_path, preferred_port=urlsplit(url).port or 0) as server:
        assert server.database_url(0) == url
        assert await is_shared(counters) == 1
        await counters.close()


async def test_a_full_redis_is_not_said_to_be_away(tmp_path: Path) -> None:
    with start_redis(tmp_path, preferred_port=0) as server:
        counters, redis = Counters(server.database_url(0)), open_redis(server.database_url(0))
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("maxmemory", "1")
        with capture_logs() as lines:
            assert (await counters.spend(5, "key")).remaining == 4
        await redis.aclose()
        await counters.close()
    assert [(line["event"], line["error"]) for line in lines] == [
        ("rate limits hold for each process alone: Redis does not answer or refuses", "OOM")
    ]


async def test_requests_that_come_at_once_share_round_trips(tmp_path: Path) -> None:
    with start_redis(tmp_path, preferred_port=0) as server:
        counters, redis = Counters(server.database_url(0)), open_redis(server.database_url(0))
        await counters.spend(1_000, "other")
        before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        found = await asyncio.gather(*(counters.spend(200, f"key-{number % 2}") for number in range(500)))
        after = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        assert after - before == 1 + math.ceil(499 / MAX_COUNTERS_PER_SCRIPT)
        # Each is counted by itself, in the order in which they came.
        assert [spent.remaining for spent in found[:6]] == [199, 199, 198, 198, 197, 197]
        assert sum(spent.allowed for spent in found) == 400
        await redis.aclose()
        await counters.close()


async def test_a_window_in_redis_slides_as_in_a_process(tmp_path: Path) -> None:
    """A counter's beginning is moved into the past, instead of waiting."""
    with start_redis(tmp_path, preferred_port=0) as server:
        counters, redis = Counters(server.database_url(0)), open_redis(server.database_url(0))
        now = [0.0]
        local = LocalCounters(lambda: now[0])
        for seconds, cost in ((0, 7), (0, 4), (90, 3), (0, 5), (0, -2), (0, -30), (45, 6), (70, 3), (200, 1)):
            now[0] += seconds
            if seconds:
                await redis.hincrby(f"{PREFIX}key", "begun", -seconds * 1000)
            shared, own = await counters.spend(10, "key", cost), local.spend(10, "key", cost)
            assert (shared.allowed, shared.remaining) == (own.allowed, own.remaining)
            assert own.reset - 1 <= shared.reset <= own.reset
        assert await redis.ttl(f"{PREFIX}key") in range(60, 121)
        await redis.aclose()
        await counters.close()


def scope_of(address: str, *forwarded: str) -> dict[str, object]:
    return {
        "client": (address, 1) if address else None,
        "headers": [(b"x-forwarded-for", address.encode()) for address in forwarded],
    }


@pytest.mark.parametrize(
    ("scope", "wanted"),
    [
        (scope_of("192.0.2.1"), "192.0.2.1"),
        (scope_of("192.0.2.1", "198.51.100.1"), "192.0.2.1"),
        (scope_of("10.0.0.1", "198.51.100.1"), "198.51.100.1"),
        (scope_of("10.0.0.1", "203.0.113.1, 198.51.100.1, 10.0.0.2"), "198.51.100.1"),
        (scope_of("10.0.0.1", "203.0.113.1", "198.51.100.1"), "198.51.100.1"),
        (scope_of("10.0.0.1"), "10.0.0.1"),
        (scope_of("10.0.0.1", "nonsense"), "unknown"),
        (scope_of("10.0.0.1", "198.51.100.1:4711"), "198.51.100.1"),
        (scope_of("10.0.0.1", "198.51.100.1, 10.0.0.2:443"), "198.51.100.1"),
        (scope_of("10.0.0.1", "[2001:db8:1:2::5]:4711"), "2001:db8:1:2::/64"),
        (scope_of(""), "unknown"),
        (scope_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64"),
        (scope_of("::ffff:192.0.2.1"), "192.0.2.1"),
    ],
)
def test_whose_address_counts(scope: dict[str, object], wanted: str) -> None:
    assert Addresses(["10.0.0.0/8"])(scope) == wanted  # type: ignore[arg-type]  # the two members that are read


def test_a_proxy_that_is_no_address_stops_the_start() -> None:
    with pytest.raises(Misconfigured):
        Addresses(["proxy.internal"])


@asynccontextmanager
async def opaque(house: House, tmp_path: Path, redis_url: str) -> AsyncIterator[tuple[InProcess, Site]]:
    """The API with one issuer, which is asked about opaque tokens and knows those that begin with `good`."""
    async with site() as here:
        here.answers["/jwks"] = ok(good_jwks())
        (tmp_path / "secret").write_text("s")
        (tmp_path / "issuers.toml").write_text(
            f'[[issuer]]\nname = "opaque"\nissuer = "{here.origin}"\naudience = "{AUDIENCE}"\n'
            f'jwks_url = "{here.origin}/jwks"\n[issuer.introspection]\nurl = "{here.origin}/introspect"\n'
            'client_id = "us"\nclient_secret_file = "secret"\npositive_seconds = 60\nsubject_optional = true\n'
        )
        file = str(tmp_path / "issuers.toml")
        settings: dict[str, Any] = {"redis_url": redis_url, "issuers_file": file, "jwks_url": "", **RATES}
        # Many requests at once may wait long for their slots on a busy machine; this is not about overload.
        async with api(house, "", admission_timeout=30, **settings) as running:
            yield running, here


INACTIVE = ok(b'{"active":false}', "Content-Type: application/json")


def active() -> bytes:
    said = {"active": True, "client_id": "hours-app", "aud": AUDIENCE, "exp": int(time()) + 600, "scope": "x"}
    return ok(json.dumps(said).encode(), "Content-Type: application/json")


def questions(here: Site) -> int:
    return here.asked.count("/introspect")


@pytest.mark.parametrize("at_once", [False, True], ids=["one after the other", "at once"])
@pytest.mark.parametrize(
    ("answer", "status"), [(INACTIVE, 401), (ok(b"<html>"), 503)], ids=["refused", "the issuer fails"]
)
async def test_made_up_opaque_tokens_are_counted_before_their_issuer_is_asked(
    house: House, tmp_path: Path, redis_url: str, answer: bytes, status: int, *, at_once: bool
) -> None:
    async with opaque(house, tmp_path, redis_url) as (running, here):
        here.answers["/introspect"] = answer
        sent = [running.send("GET", "/v1/me", f"made-up-{number}") for number in range(60)]
        answers = await asyncio.gather(*sent) if at_once else [await request for request in sent]
        assert sorted(answer.status_code for answer in answers) == sorted([status] * 2 + [429] * 58)
        assert questions(here) == 2
        assert (await running.send("GET", "/v1/me", "made-up", address="192.0.2.2")).status_code == status


async def test_a_good_opaque_token_is_not_counted_and_does_not_suffer_from_its_neighbours(
    house: House, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opaque(house, tmp_path, redis_url) as (running, here):
        here.answers["/introspect"] = active()
        for number in range(5):
            assert (await running.send("GET", "/v1/me", f"good-{number}")).status_code == 200
        here.answers["/introspect"] = INACTIVE
        found = [(await running.send("GET", "/v1/me", f"made-up-{number}")).status_code for number in range(4)]
        assert found == [401, 401, 429, 429]
        assert (await running.send("GET", "/v1/me", "good-0")).status_code == 200
        # The cached answer expires after a minute; the token is then introspected again without charge. Only the clock
        # of the cache is moved, so that the counters stay in their window.
        get = TokenCache.get
        monkeypatch.setattr(TokenCache, "get", lambda cache, digest, now: get(cache, digest, now + 61))
        here.answers["/introspect"] = active()
        before = questions(here)
        assert (await running.send("GET", "/v1/me", "good-0")).status_code == 200
        assert questions(here) == before + 1
        assert (await running.send("GET", "/v1/me", "good-but-new")).status_code == 429


async def test_made_up_opaque_tokens_are_counted_while_redis_is_down(house: House, tmp_path: Path) -> None:
    async with opaque(house, tmp_path, f"redis://127.0.0.1:{unused_port()}/0") as (running, here):
        here.answers["/introspect"] = INACTIVE
        found = [(await running.send("GET", "/v1/me", f"made-up-{number}")).status_code for number in range(6)]
        assert found == [401, 401, 429, 429, 429, 429]
        assert questions(here) == 2


def test_a_process_keeps_a_bounded_number_of_counters_and_drops_the_least_used() -> None:
    limit, own = 2, LocalCounters(lambda: 0.0)
    for number in range(MAX_LOCAL_COUNTERS + 100):
        own.spend(limit, "busy", 1)
        own.spend(limit, f"address-{number}", 1)
    assert len(own) == MAX_LOCAL_COUNTERS
    assert not own.spend(limit, "busy", 1).allowed


def test_a_process_counts_in_a_window_that_slides() -> None:
    now = [0.0]
    limit, own = 10, LocalCounters(lambda: now[0])
    assert own.spend(limit, "key", 10).allowed
    assert not own.spend(limit, "key", 1).allowed
    now[0] = 90.0
    assert own.spend(limit, "key", 5) == Allowance(allowed=True, remaining=0, reset=30)
    assert not own.spend(limit, "key", 1).allowed
    assert own.spend(limit, "key", -3).remaining == 3
    assert own.spend(limit, "key", -30).remaining == 5
    now[0] = 300.0
    assert own.spend(limit, "key", 1).remaining == 9
