"""Keys over real HTTP from a local server that behaves, and from ones that do not."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from structlog.testing import capture_logs

from service.errors import InvalidToken, KeysUnavailable
from service.identity.key_source import HttpKeySource
from service.identity.keys import KeyTiming
from service.identity.outbound import NoAnswer
from service.identity.tokens import Tokens
from tests.certificate import write_certificate
from tests.integration.site import Site, ok, site
from tests.token_forge import bearer, claims, good_jwks, good_token, header, issuer, jwk, jwks, rsa_key, sign

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def verifier(issuer_url: str, **options: Any) -> AsyncIterator[Tokens]:
    """A verifier with the real source, started and closed."""
    timing = KeyTiming(**options.pop("timing", {"first_retry": 0.05}))
    made = Tokens([issuer(issuer=issuer_url, **options)], timing=timing)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def failure(here: Site, **options: Any) -> str:
    """The slug of a failed fetch of `/jwks`."""
    source = HttpKeySource(issuer(jwks_url=f"{here.origin}/jwks"), **options)
    try:
        with pytest.raises(NoAnswer) as caught:
            await source.fetch()
    finally:
        await source.close()
    return caught.value.failure


async def test_a_token_is_verified_with_keys_fetched_over_http() -> None:
    async with site() as here:
        here.answers["/jwks"] = ok(good_jwks(), "Cache-Control: public, max-age=600")
        async with verifier(here.origin, jwks_url=f"{here.origin}/jwks") as tokens:
            principal = await tokens.verify(bearer(good_token(iss=here.origin)))
            assert principal.issuer == here.origin
            assert here.asked == ["/jwks"]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Cache-Control: max-age=600", 600),
        ('Cache-Control: public, MAX-AGE="42", must-revalidate', 42),
        ("Cache-Control: no-store, max-age=600", 0),
        ("Cache-Control: no-cache", 0),
        ("Cache-Control: s-max-age=5", 300),
        ("Cache-Control: max-age=-5", 300),
        ("X-Nothing: said", 300),
    ],
)
async def test_how_long_keys_may_be_kept_is_read_from_cache_control(said: str, kept: float) -> None:
    async with site() as here:
        here.answers["/jwks"] = ok(good_jwks(), said)
        source = HttpKeySource(issuer(jwks_url=f"{here.origin}/jwks"))
        assert (await source.fetch()).max_age == kept
        await source.close()


@pytest.mark.parametrize("path", ["/.well-known/oauth-authorization-server/t", "/t/.well-known/openid-configuration"])
async def test_keys_are_found_through_the_issuers_metadata(path: str) -> None:
    async with site() as here:
        name = f"{here.origin}/t"
        here.answers[path] = ok(json.dumps({"issuer": name, "jwks_uri": f"{here.origin}/jwks"}).encode())
        here.answers["/jwks"] = ok(good_jwks())
        async with verifier(name, jwks_url=None) as tokens:
            await tokens.verify(bearer(good_token(iss=name)))


async def test_metadata_of_another_issuer_or_with_an_unsafe_address_is_not_believed() -> None:
    async with site() as here:
        path = "/.well-known/oauth-authorization-server"
        here.answers["/jwks"] = ok(good_jwks())
        for metadata, slug in (
            ({"issuer": here.origin + "/", "jwks_uri": f"{here.origin}/jwks"}, "metadata-of-another-issuer"),
            ({"jwks_uri": f"{here.origin}/jwks"}, "metadata-of-another-issuer"),
            ({"issuer": here.origin, "jwks_uri": "http://keys.example/jwks"}, "metadata-without-safe-jwks-uri"),
            ({"issuer": here.origin, "jwks_uri": "file:///etc/passwd"}, "metadata-without-safe-jwks-uri"),
            ({"issuer": here.origin}, "metadata-without-safe-jwks-uri"),
        ):
            here.answers[path] = ok(json.dumps(metadata).encode())
            async with verifier(here.origin, jwks_url=None) as tokens:
                with pytest.raises(KeysUnavailable):
                    await tokens.verify(bearer(good_token(iss=here.origin)))
                assert tokens.states()[0].last_failure == slug
        assert "/jwks" not in here.asked


async def test_metadata_read_over_https_lead_to_no_server_of_plain_http(tmp_path: Path) -> None:
    certificate = write_certificate(tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate, tmp_path / "key.pem")
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with site() as inside, site(tls=serving) as outside:
        inside.answers["/jwks"] = outside.answers["/jwks"] = ok(good_jwks())
        for keys in (f"{inside.origin}/jwks", f"{outside.origin}/jwks"):
            metadata = {"issuer": outside.origin, "jwks_uri": keys}
            outside.answers["/.well-known/oauth-authorization-server"] = ok(json.dumps(metadata).encode())
            source = HttpKeySource(
                issuer(issuer=outside.origin, jwks_url=None),
                connect=lambda: httpx2.AsyncClient(verify=trusting, trust_env=False),
            )
            if keys.startswith(inside.origin):
                with pytest.raises(NoAnswer, match="metadata-without-safe-jwks-uri"):
                    await source.fetch()
            else:
                assert (await source.fetch()).body == good_jwks()
            await source.close()
        assert inside.asked == []


async def test_a_redirect_is_not_followed() -> None:
    async with site() as here:
        here.answers["/jwks"] = (
            b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        here.answers["/other"] = ok(good_jwks())
        assert await failure(here) == "redirected"
        assert here.asked == ["/jwks"]


async def test_an_answer_that_is_too_large_is_not_read_to_its_end() -> None:
    async with site() as here:
        here.answers["/jwks"] = ok(b'{"keys":[' + b" " * 10_000_000 + b"]}")
        assert await failure(here) == "too-large"


async def test_a_compressed_answer_is_not_unpacked() -> None:
    async with site() as here:
        here.answers["/jwks"] = ok(gzip.compress(b" " * 10_000_000), "Content-Encoding: gzip")
        assert await failure(here) == "compressed"


async def test_a_silent_and_a_dripping_server_are_given_up_in_time() -> None:
    async with site() as here:
        here.answers["/jwks"] = ok(good_jwks())
        here.pause = 0.5
        assert await failure(here, timeout=0.1) == "timeout"
        here.pause, here.drip = 0.0, 0.05
        assert await failure(here, timeout=0.2) == "timeout"


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"])
async def test_what_is_not_a_whole_http_answer_is_a_failure(answer: bytes) -> None:
    async with site() as here:
        here.answers["/jwks"] = answer
        assert await failure(here) == "unreachable"


async def test_an_error_page_is_a_failure() -> None:
    async with site() as here:
        assert await failure(here) == "status-404"


async def test_a_hundred_first_requests_fetch_once() -> None:
    async with site() as here:
        here.answers["/jwks"] = ok(good_jwks())
        here.pause = 0.1
        tokens = Tokens([issuer(issuer=here.origin, jwks_url=f"{here.origin}/jwks")])
        token = good_token(iss=here.origin)
        await asyncio.gather(*(tokens.verify(bearer(token)) for _ in range(100)))
        assert here.asked == ["/jwks"]
        await tokens.close()


async def test_keys_live_through_an_outage_and_a_rotation_during_it_is_learned_afterwards() -> None:
    async with site() as here:
        origin, port = here.origin, int(here.origin.rsplit(":", 1)[1])
        here.answers["/jwks"] = ok(good_jwks())
        tokens = Tokens([issuer(issuer=origin, jwks_url=f"{origin}/jwks")], timing=KeyTiming(cool_down=0, absent_for=0))
        await tokens.start()
    new = sign(header(kid="rsa-2"), claims(iss=origin), rsa_key("second"))
    await tokens.verify(bearer(good_token(iss=origin)))
    with pytest.raises(KeysUnavailable):
        await tokens.verify(bearer(new))
    assert tokens.states()[0].last_failure == "unreachable"
    assert tokens.states()[0].ready
    async with site(port) as again:
        again.answers["/jwks"] = ok(jwks(jwk(rsa_key("second"), "rsa-2")))
        await tokens.verify(bearer(new))
        with pytest.raises(InvalidToken):
            await tokens.verify(bearer(good_token(iss=origin)))
        await tokens.close()


async def test_nothing_of_a_token_and_no_key_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with site() as here:
        here.answers["/jwks"] = ok(good_jwks())
        async with verifier(here.origin, jwks_url=f"{here.origin}/jwks") as tokens:
            here.answers["/jwks"] = b""
            with capture_logs() as logged, pytest.raises(KeysUnavailable):
                await tokens.verify(bearer(sign(header(kid="secret-kid"), claims(iss=here.origin, sub="secret-sub"))))
    assert [line["event"] for line in logged] == ["keys_not_fetched"]
    shown = f"{logged} {caplog.text}"
    assert "secret" not in shown
    assert jwk(rsa_key(), "rsa-1")["n"][:20] not in shown
