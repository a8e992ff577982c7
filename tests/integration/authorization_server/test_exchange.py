"""Requests that the token endpoint refuses, over HTTP against a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.authorization_server.browser import (
    CHALLENGE,
    exchange,
    get_code,
)

if TYPE_CHECKING:
    import httpx2


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_verifier": None}, "invalid_request"),
        ({"code_verifier": "w" * 64}, "invalid_grant"),
        ({"code_verifier": CHALLENGE}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:4200/other"}, "invalid_grant"),
        ({"redirect_uri": None}, "invalid_grant"),
        ({"client_id": "timesheets-cli"}, "invalid_grant"),
        ({"client_id": "no-such-client"}, "invalid_client"),
        ({"client_id": None}, "invalid_client"),
        ({"code": None}, "invalid_request"),
        ({"code": "x"}, "invalid_grant"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": None}, "invalid_request"),
        ({"client_secret": "guess"}, "invalid_client"),
    ],
)
async def test_a_code_is_exchanged_only_by_its_client_with_its_verifier(
    browser: httpx2.AsyncClient, changed: dict[str, str | None], error: str
) -> None:
    answer = await exchange(browser, await get_code(browser), **changed)
    assert answer.status_code in (400, 401)
    assert answer.json()["error"] == error
    assert "access_token" not in answer.text


async def test_a_code_that_met_a_wrong_verifier_is_spent(browser: httpx2.AsyncClient) -> None:
    code = await get_code(browser)
    await exchange(browser, code, code_verifier="w" * 64)
    assert (await exchange(browser, code)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("way", ["basic", "post"])
async def test_a_machine_client_proves_itself_in_either_way(browser: httpx2.AsyncClient, way: str) -> None:
    unsendable = 401 if way == "basic" else 400  # RFC 6749 appendix A.2: a secret in a form is printable ASCII
    for secret, status in (("payroll-import-demo", 200), ("wrong", 401), ("\u00e9", unsendable), ("", 401)):
        form = {"grant_type": "client_credentials"}
        if way == "basic":
            answer = await browser.post("/token", data=form, auth=("payroll-import", secret))
        else:
            answer = await browser.post("/token", data=form | {"client_id": "payroll-import", "client_secret": secret})
        assert answer.status_code == status, answer.text
        assert ("access_token" in answer.json()) is (status == 200)
        if status == 401:
            assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic /w==", "Basic gICA", "Bearer x", "Basic cGF5cm9sbA=="])
async def test_credentials_that_cannot_be_read_are_no_credentials(browser: httpx2.AsyncClient, header: str) -> None:
    answer = await browser.post("/token", data={"grant_type": "client_credentials"}, headers={"Authorization": header})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_two_ways_of_authentication_at_once_are_refused(browser: httpx2.AsyncClient) -> None:
    form = {"grant_type": "client_credentials", "client_secret": "payroll-import-demo"}
    answer = await browser.post("/token", data=form, auth=("payroll-import", "payroll-import-demo"))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_public_client_has_no_client_credentials(browser: httpx2.AsyncClient) -> None:
    answer = await browser.post("/token", data={"grant_type": "client_credentials", "client_id": "timesheets-cli"})
    assert answer.json()["error"] == "invalid_client"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"grant_type": "client_credentials"}', "application/json"),
        (b"grant_type=client_credentials&grant_type=client_credentials", "application/x-www-form-urlencoded"),
        (b"grant_type=%ff", "application/x-www-form-urlencoded"),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b"", "application/x-www-form-urlencoded"),
    ],
)
async def test_a_body_that_is_no_token_request_is_explained(
    browser: httpx2.AsyncClient, body: bytes, kind: str
) -> None:
    answer = await browser.post("/token", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_request_in_another_hosts_name_is_refused(browser: httpx2.AsyncClient) -> None:
    answer = await browser.get("/jwks", headers={"Host": "rebound.example:80"})
    assert answer.status_code == 400
    assert "keys" not in answer.json()
