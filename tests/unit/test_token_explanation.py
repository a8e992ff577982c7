"""`token explain`: every refusal is told at the check that it belongs to, and nothing of the token is."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from click.testing import CliRunner

from service.__main__ import timewarden
from service.identity.refusals import SENTENCES
from service.identity.token_explanation import CHECKS, explain
from tests.token_forge import ABSENT, NOW, claims, good_token, header, issuer, rsa_key, signed, verifier

REFUSED: dict[str, tuple[bytes, str]] = {
    "shape": (b"abc", "format"),
    "header": (signed(header(crit=["exp"]), claims()), "critical"),
    "issuer": (good_token(iss="https://other.example"), "issuer"),
    "type": (signed(header(typ="JWT"), claims()), "type"),
    "algorithm": (signed(header(alg="RS512"), claims()), "algorithm"),
    "key": (signed(header(kid="other"), claims()), "unknown-key"),
    "signature": (signed(header(), claims(), rsa_key("attacker")), "signature"),
    "time": (good_token(exp=NOW - 1), "expired"),
    "client": (good_token(client_id=""), "client"),
    "audience": (good_token(aud="other"), "audience"),
    "subject": (good_token(sub=ABSENT), "subject"),
    "kind": (good_token(sub="other@clients"), "kind"),
    "scopes": (good_token(scope=1), "scope"),
    "roles": (good_token(roles="x"), "roles"),
    "token-id": (good_token(jti=ABSENT), "token-id"),
    "sign-in": (good_token(acr=1), "authentication"),
    "sender": (good_token(cnf=None), "sender-constrained"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_is_told_at_its_check_and_all_before_it_passed(name: str) -> None:
    token, cause = REFUSED[name]
    told = await explain(verifier(), token, NOW)
    assert (told.verdict, told.cause) == ("refused", cause)
    assert (told.checks[-1].name, told.checks[-1].outcome, told.checks[-1].told) == (name, "failed", SENTENCES[cause])
    assert {check.outcome for check in told.checks[:-1]} <= {"passed"}


async def test_an_accepted_token_passed_every_check_and_its_grants_are_told() -> None:
    told = await explain(verifier(), good_token(roles=["lead"], cnf={"jkt": "secret-thumbprint"}), NOW)
    assert told.verdict == "accepted"
    assert [check.name for check in told.checks] == [name for name in CHECKS if name != "introspection"]
    assert (told.kind, told.client, told.roles, told.expires_in) == ("user", "web-app", ("lead",), 3600)
    assert told.needs == ("a DPoP proof with each request",)


async def test_a_token_that_cannot_be_judged_is_not_called_bad() -> None:
    told = await explain(verifier(body=b"{}"), good_token(), NOW)
    assert (told.verdict, told.checks[-1].name, told.checks[-1].outcome) == ("not judged", "key", "unknown")


@pytest.mark.parametrize("changes", [{}, {"exp": NOW - 1}, {"sub": "secret\x00"}])
async def test_nothing_of_the_token_itself_is_told(changes: dict[str, Any]) -> None:
    token = good_token(**{"sub": "secret-person", "jti": "secret-id", **changes})
    shown = json.dumps(asdict(await explain(verifier(), token, NOW)))
    assert "secret" not in shown
    assert not any(part in shown for part in token.decode().split("."))


def test_the_command_reads_standard_input_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMEWARDEN_ISSUER", issuer().issuer)
    monkeypatch.setenv("TIMEWARDEN_AUDIENCE", issuer().audience)
    run = CliRunner().invoke
    done = run(timewarden, ["token", "explain", "--json"], input="Bearer abc.def.ghi\n")
    assert (done.exit_code, json.loads(done.output)["cause"]) == (1, "encoding")
    assert run(timewarden, ["token", "explain", "abc.def.ghi"], input="").exit_code == 2
    assert run(timewarden, ["token", "explain"], input="one two three").exit_code == 2
