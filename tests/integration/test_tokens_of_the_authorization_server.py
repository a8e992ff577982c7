"""The verifier against the running development authorization server: metadata, keys and tokens over real HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.development.authorization_server.application import running
from service.development.authorization_server.sign_in import authorization_code_token, client_credentials_token
from service.development.people import PEOPLE
from service.errors import InvalidToken
from service.identity.issuer import Issuer
from service.identity.principal import PrincipalKind
from service.identity.tokens import Tokens
from tests.integration.authorization_server.browser import AUDIENCE, held_issuer
from tests.token_forge import bearer

if TYPE_CHECKING:
    from pathlib import Path


async def test_people_and_clients_are_distinguished_and_another_audience_refuses_them(tmp_path: Path) -> None:
    url, held = held_issuer()
    async with running(url, AUDIENCE, tmp_path, listener=held):
        signed_in = await authorization_code_token(url, "ana", PEOPLE["ana"].password, "hours-app", ["read:timesheets"])
        person = signed_in.access_token
        machine = (await client_credentials_token(url, "payroll-import", "payroll-import-demo")).access_token
        ours, other = (Tokens([Issuer("local", url, audience)]) for audience in (AUDIENCE, "https://other.example"))
        for tokens in (ours, other):
            await tokens.start()
        principal = await ours.verify(bearer(person))
        assert (principal.kind, principal.scopes) == (PrincipalKind.USER, frozenset({"read:timesheets"}))
        assert principal.methods == frozenset({"pwd"})
        assert (await ours.verify(bearer(machine))).kind is PrincipalKind.CLIENT
        with pytest.raises(InvalidToken) as caught:
            await other.verify(bearer(person))
        assert caught.value.cause == "audience"
        for tokens in (ours, other):
            await tokens.close()
