"""The key set of an issuer: kept fresh, kept during outages up to a limit, rotated at once, fetched rarely."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from service.errors import InvalidToken, KeysUnavailable
from service.identity.key_source import metadata_urls
from service.identity.keys import KeySet, KeyTiming
from service.identity.tokens import Tokens
from tests.token_forge import (
    HeldKeys,
    bearer,
    claims,
    good_jwks,
    good_token,
    header,
    issuer,
    jwk,
    jwks,
    rsa_key,
    sign,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def second_jwks() -> bytes:
    """The issuer's set after a rotation, without the first keys."""
    return jwks(jwk(rsa_key("second"), "rsa-2"))


def key_set(source: HeldKeys, clock: Clock, **timing: Any) -> KeySet:
    return KeySet(issuer(), source, timing=KeyTiming(**{"spacing": 0.0, **timing}), clock=clock)


async def refresh(keys: KeySet) -> None:
    await keys._refresh()


async def test_keys_are_fetched_once_and_then_cached() -> None:
    source = HeldKeys(good_jwks())
    keys = key_set(source, Clock())
    for _ in range(50):
        await keys.find("rsa-1", "RS256")
    assert source.asked == 1


async def test_a_hundred_requests_at_once_cause_one_fetch() -> None:
    source, go = HeldKeys(good_jwks()), asyncio.Event()
    source.wait = go.wait
    keys = key_set(source, Clock())
    waiting = [asyncio.create_task(keys.find("rsa-1", "RS256")) for _ in range(100)]
    await asyncio.sleep(0)
    go.set()
    found = await asyncio.gather(*waiting)
    assert source.asked == 1
    assert len({key.digest for (key,) in found}) == 1


async def test_a_cancelled_caller_does_not_cancel_the_fetch_for_others() -> None:
    source, go = HeldKeys(good_jwks()), asyncio.Event()
    source.wait = go.wait
    keys = key_set(source, Clock())
    first, second = (asyncio.create_task(keys.find("rsa-1", "RS256")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert (await second)[0].kid == "rsa-1"


async def test_a_rotated_key_is_found_at_the_first_token_that_it_signed() -> None:
    source = HeldKeys(good_jwks())
    keys = key_set(source, Clock())
    await keys.find("rsa-1", "RS256")
    source.body = second_jwks()
    assert (await keys.find("rsa-2", "RS256"))[0].kid == "rsa-2"
    assert source.asked == 2


async def test_a_key_that_is_published_while_an_older_answer_is_on_its_way_is_found() -> None:
    source, go = HeldKeys(good_jwks()), asyncio.Event()
    keys = key_set(source, Clock())
    await keys.find("rsa-1", "RS256")
    source.wait = go.wait
    refreshing = asyncio.create_task(refresh(keys))
    await asyncio.sleep(0.01)
    assert source.asked == 2
    source.body = second_jwks()
    finding = [asyncio.create_task(keys.find("rsa-2", "RS256")) for _ in range(20)]
    await asyncio.sleep(0.01)
    go.set()
    await refreshing
    assert {key.kid for (key,) in await asyncio.gather(*finding)} == {"rsa-2"}
    assert source.asked == 3


async def test_a_flood_of_unknown_key_ids_causes_one_fetch_in_a_cool_down() -> None:
    source, clock = HeldKeys(good_jwks()), Clock()
    keys = key_set(source, clock, cool_down=30, burst=1)
    await keys.find("rsa-1", "RS256")
    for number in range(2000):
        with pytest.raises(InvalidToken):
            await keys.find(f"unknown-{number}", "RS256")
    assert source.asked == 2
    clock.now += 31
    with pytest.raises(InvalidToken):
        await keys.find("unknown-again", "RS256")
    assert source.asked == 3
    assert keys.state().unknown_kids == 2001
    assert len(keys._budget._absent) == 2


async def test_one_client_that_repeats_an_unknown_key_id_does_not_use_up_the_cool_down_of_others() -> None:
    source, clock = HeldKeys(good_jwks()), Clock()
    keys = key_set(source, clock, cool_down=30, absent_for=120)
    with pytest.raises(InvalidToken):
        await keys.find("stale", "RS256")
    clock.now += 31
    with pytest.raises(InvalidToken):
        await keys.find("stale", "RS256")
    source.body = second_jwks()
    assert (await keys.find("rsa-2", "RS256"))[0].kid == "rsa-2"


async def test_a_key_id_looked_for_while_the_issuer_was_down_is_looked_for_again_after_the_cool_down() -> None:
    source, clock = HeldKeys(good_jwks()), Clock()
    keys = key_set(source, clock, cool_down=30)
    await keys.find("rsa-1", "RS256")
    source.body = None
    with pytest.raises(KeysUnavailable):
        await keys.find("rsa-2", "RS256")
    source.body = second_jwks()
    clock.now += 31
    assert (await keys.find("rsa-2", "RS256"))[0].kid == "rsa-2"


@pytest.mark.parametrize("answer", [None, b"<html>", b'{"keys":[]}'], ids=["down", "no key set", "empty"])
async def test_a_token_with_an_unknown_key_is_not_refused_while_the_keys_cannot_be_fetched(
    answer: bytes | None,
) -> None:
    source, clock = HeldKeys(good_jwks()), Clock()
    keys = key_set(source, clock, burst=1)
    await keys.find("rsa-1", "RS256")
    source.body = answer
    # The second key is beyond the refresh budget, and not refused either.
    for kid in ("rsa-2", "rsa-3"):
        with pytest.raises(KeysUnavailable):
            await keys.find(kid, "RS256")
    assert (await keys.find("rsa-1", "RS256"))[0].kid == "rsa-1"


async def test_a_key_that_the_issuer_just_did_not_have_is_refused_even_while_it_is_down() -> None:
    source, clock = HeldKeys(good_jwks()), Clock()
    keys = key_set(source, clock)
    with pytest.raises(InvalidToken):
        await keys.find("rsa-2", "RS256")
    source.body = None
    await refresh(keys)
    with pytest.raises(InvalidToken):
        await keys.find("rsa-2", "RS256")
    clock.now += 61
    with pytest.raises(KeysUnavailable):
        await keys.find("rsa-2", "RS256")


async def test_the_memory_of_absent_key_ids_is_bounded() -> None:
    keys = key_set(HeldKeys(good_jwks()), Clock(), cool_down=0)
    for number in range(1100):
        with pytest.raises(InvalidToken):
            await keys.find(f"unknown-{number}", "RS256")
    assert len(keys._budget._absent) == 1000


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        b"[]",
        b"{}",
        b'{"keys":[]}',
        b'{"keys":{}}',
        b'{"keys":[],"keys":[]}',
        b"\xff",
        b'{"keys":[1,"x",{}]}',
    ],
    ids=[
        "down",
        "no body",
        "a list",
        "no keys member",
        "no keys",
        "an object",
        "repeated",
        "no UTF-8",
        "no usable key",
    ],
)
async def test_a_failed_or_empty_refresh_keeps_the_good_keys(answer: bytes | None) -> None:
    source = HeldKeys(good_jwks())
    keys = key_set(source, Clock())
    await keys.find("rsa-1", "RS256")
    source.body = answer
    await refresh(keys)
    assert (await keys.find("rsa-1", "RS256"))[0].kid == "rsa-1"
    assert keys.state().ready
    assert keys.state().last_failure
    assert keys.state().failures == 1


async def test_a_set_of_more_than_a_hundred_keys_is_refused() -> None:
    source = HeldKeys(jwks(*[jwk(rsa_key(), f"rsa-{number}") for number in range(101)]))
    with pytest.raises(KeysUnavailable):
        await key_set(source, Clock()).find("rsa-1", "RS256")


async def test_keys_that_we_do_not_understand_do_not_affect_the_others() -> None:
    odd: list[dict[str, Any]] = [{"kty": "OKP", "crv": "X25519", "x": "AA"}, {"kty": "future"}, {"kty": ["RSA"]}]
    source = HeldKeys(jwks(*odd, jwk(rsa_key(), "rsa-1")))
    assert (await key_set(source, Clock()).find("rsa-1", "RS256"))[0].kid == "rsa-1"


async def test_a_key_that_vanished_from_a_good_answer_is_dropped() -> None:
    source = HeldKeys(good_jwks())
    keys = key_set(source, Clock())
    (old,) = await keys.find("rsa-1", "RS256")
    source.body = second_jwks()
    await refresh(keys)
    assert not keys.has_key(old.digest)
    with pytest.raises(InvalidToken):
        await keys.find("rsa-1", "RS256")


async def test_a_cached_token_is_refused_when_its_key_is_gone() -> None:
    source = HeldKeys(good_jwks())
    tokens = Tokens([issuer()], source=lambda _: source)
    token = good_token()
    await tokens.verify(bearer(token))
    source.body = second_jwks()
    await tokens.verify(bearer(sign(header(kid="rsa-2"), claims(), rsa_key("second"))))
    with pytest.raises(InvalidToken) as caught:
        await tokens.verify(bearer(token))
    assert caught.value.cause == "unknown-key"


async def test_a_key_replaced_under_the_same_id_no_longer_verifies() -> None:
    source = HeldKeys(good_jwks())
    keys = key_set(source, Clock())
    (old,) = await keys.find("rsa-1", "RS256")
    source.body = jwks(jwk(rsa_key("second"), "rsa-1"))
    await refresh(keys)
    assert (await keys.find("rsa-1", "RS256"))[0].digest != old.digest


async def test_good_keys_are_used_for_a_day_of_outage_and_then_tokens_cannot_be_checked() -> None:
    source, clock = HeldKeys(good_jwks()), Clock()
    keys = key_set(source, clock)
    (held,) = await keys.find("rsa-1", "RS256")
    source.body = None
    clock.now += 86_000
    await keys.find("rsa-1", "RS256")
    clock.now += 500
    assert not keys.state().ready
    assert not keys.has_key(held.digest)
    with pytest.raises(KeysUnavailable):
        await keys.find("rsa-1", "RS256")
    source.body = good_jwks()
    clock.now += 1
    await keys.find("rsa-1", "RS256")
    assert keys.state().ready


async def test_keys_of_an_unreachable_issuer_are_unavailable_and_not_fetched_at_every_request() -> None:
    source, clock = HeldKeys(None), Clock()
    keys = key_set(source, clock)
    for _ in range(20):
        with pytest.raises(KeysUnavailable):
            await keys.find("rsa-1", "RS256")
    assert source.asked == 1
    assert keys.state().age is None
    assert keys.state().last_failure == "unreachable"


async def test_keys_of_an_issuer_that_is_down_at_the_start_are_fetched_in_the_background() -> None:
    source = HeldKeys(None)
    keys = KeySet(issuer(), source, timing=KeyTiming(first_retry=0.01))
    await keys.start()
    assert not keys.state().ready
    source.body = good_jwks()
    await wait_until_true(lambda: keys.state().ready)
    await keys.close()


async def test_keys_are_refreshed_before_they_expire_without_any_request() -> None:
    source = HeldKeys(good_jwks(), max_age=0.05)
    keys = KeySet(issuer(), source, timing=KeyTiming(min_age=0.05))
    await keys.start()
    source.body = second_jwks()
    await wait_until_true(lambda: source.asked >= 3)
    await keys.close()
    asked = source.asked
    assert (await keys.find("rsa-2", "RS256"))[0].kid == "rsa-2"
    await asyncio.sleep(0.1)
    assert source.asked == asked


async def test_an_unexpected_error_of_the_source_does_not_end_the_refreshing() -> None:
    source = HeldKeys(good_jwks())

    async def break_down() -> None:
        raise RuntimeError("unforeseen")

    source.wait = break_down
    keys = KeySet(issuer(), source, timing=KeyTiming(first_retry=0.01))
    await keys.start()
    assert keys.state().last_failure == "unexpected-RuntimeError"
    source.wait = None
    await wait_until_true(lambda: keys.state().ready)
    await keys.close()


@pytest.mark.parametrize(("said", "kept"), [(0.0, 60.0), (1e9, 86_400.0), (600.0, 600.0)])
async def test_the_age_that_the_server_allows_is_bounded(said: float, kept: float) -> None:
    clock = Clock()
    keys = key_set(HeldKeys(good_jwks(), max_age=said), clock)
    await keys.find("rsa-1", "RS256")
    assert keys._refresh_at - clock.now == pytest.approx(kept * 0.8)


async def test_closing_during_a_fetch_ends_it() -> None:
    source = HeldKeys(good_jwks())
    source.wait = asyncio.Event().wait
    keys = key_set(source, Clock())
    waiting = asyncio.create_task(keys.find("rsa-1", "RS256"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await keys.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_metadata_is_discovered_where_both_standards_put_it() -> None:
    assert metadata_urls(issuer(issuer="https://a.example/tenant/", jwks_url=None)) == (
        "https://a.example/.well-known/oauth-authorization-server/tenant",
        "https://a.example/tenant/.well-known/openid-configuration",
    )
    assert metadata_urls(issuer(issuer="https://a.example/", jwks_url=None)) == (
        "https://a.example/.well-known/oauth-authorization-server",
        "https://a.example/.well-known/openid-configuration",
    )
    assert metadata_urls(issuer(discovery_url="https://b.example/meta")) == ("https://b.example/meta",)


async def wait_until_true(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come true within 5 seconds")


async def test_a_client_that_floods_unknown_key_ids_cannot_keep_others_from_a_rotated_key() -> None:
    source, clock = HeldKeys(good_jwks()), Clock()
    keys = key_set(source, clock)
    await keys.find("rsa-1", "RS256")
    keys.note_verified("hours-app")
    for number in range(500):
        with pytest.raises(InvalidToken):
            await keys.find(f"made-up-{number}", "RS256", "noisy")
    assert source.asked <= 1 + KeyTiming().burst
    source.body = second_jwks()
    with pytest.raises(InvalidToken):
        await keys.find("rsa-2", "RS256", "noisy")
    assert (await keys.find("rsa-2", "RS256", "hours-app"))[0].kid == "rsa-2"


async def test_an_hour_of_flood_causes_at_most_the_burst_and_one_fetch_per_cool_down() -> None:
    source, clock = HeldKeys(good_jwks()), Clock()
    keys = key_set(source, clock)
    await keys.find("rsa-1", "RS256")
    for number in range(3600):
        clock.now += 1
        with pytest.raises(InvalidToken):
            await keys.find(f"made-up-{number}", "RS256", f"client-{number}")
    assert source.asked <= 1 + KeyTiming().burst + 3600 / KeyTiming().cool_down


async def test_a_rotation_right_after_a_refresh_is_noticed_once_the_spacing_has_passed() -> None:
    source = HeldKeys(good_jwks())
    keys = KeySet(issuer(), source, timing=KeyTiming(spacing=0.05))
    for number in range(3):
        with pytest.raises(InvalidToken):
            await keys.find(f"made-up-{number}", "RS256")
    source.body = second_jwks()
    assert (await keys.find("rsa-2", "RS256"))[0].kid == "rsa-2"
    await keys.close()
