"""`token explain`: every refusal is reported at its check, and no content of the token is shown."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from click.testing import CliRunner

from service.__main__ import timewarden
from service.identity.refusals import SENTENCES
from service.identity.token_explanation import CHECKS, explain
from tests.token_forge import ABSENT, NOW, claims, good_token, header, issuer, rsa_key, sign, verifier

REFUSED: dict[str, tuple[bytes, str]] = {
    "shape": (b"abc", "format"),
    "header": (sign(header(crit=["exp"]), claims()), "critical"),
    "issuer": (good_token(iss="https://other.example"), "issuer"),
    "type": (sign(header(typ="JWT"), claims()), "type"),
    "algorithm": (sign(header(alg="RS512"), claims()), "algorithm"),
    "key": (sign(header(kid="other"), claims()), "unknown-key"),
    "signature": (sign(header(), claims(), rsa_key("attacker")), "signature"),
    "time": (good_token(exp=NOW - 1), "expired"),
    "client": (good_token(client_id=""), "client"),
    "audience": (good_token(aud="other"), "audience"),
    "subject": (good_token(sub=ABSENT), "subject"),
    "kind": (good_token(sub="other@clients"), "kind"),
    "scopes": (good_token(scope=1), "scope"),
    "roles": (good_token(roles="x"), "roles"),
    "token-id": (good_token(jti=ABSENT), "token-id"),
    "sign-in": (good_token(acr=1), "authentication"),
    "actors": (good_token(act="assistant"), "actors"),
    "sender": (good_token(cnf=None), "sender-constrained"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_is_reported_at_its_check_and_all_earlier_checks_passed(name: str) -> None:
    token, cause = REFUSED[name]
    explanation = await explain(verifier(), token, NOW)
    assert (explanation.verdict, explanation.cause) == ("refused", cause)
    assert (explanation.checks[-1].name, explanation.checks[-1].outcome, explanation.checks[-1].detail) == (
        name,
        "failed",
        SENTENCES[cause],
    )
    assert {check.outcome for check in explanation.checks[:-1]} <= {"passed"}


async def test_an_accepted_token_passed_every_check_and_its_grants_are_shown() -> None:
    explanation = await explain(verifier(), good_token(roles=["lead"], cnf={"jkt": "secret-thumbprint"}), NOW)
    assert explanation.verdict == "accepted"
    assert [check.name for check in explanation.checks] == [name for name in CHECKS if name != "introspection"]
    assert (explanation.kind, explanation.client, explanation.roles, explanation.expires_in) == (
        "user",
        "web-app",
        ("lead",),
        3600,
    )
    assert explanation.needs == ("a DPoP proof with each request",)


async def test_attributes_are_shown_by_what_their_claims_hold() -> None:
    mapped = issuer(attributes={"country": "c", "level": ("job", "level"), "sites": "s", "leave": "absent"})
    token = good_token(c="secret-country", job={"level": 3.5}, s=["secret-site"])
    explanation = await explain(verifier(mapped), token, NOW)
    assert explanation.attributes == {
        "country": "a text",
        "level": "nothing that an attribute can be",
        "sites": "a list of texts",
    }


async def test_a_token_that_cannot_be_checked_is_not_refused() -> None:
    explanation = await explain(verifier(body=b"{}"), good_token(), NOW)
    assert (explanation.verdict, explanation.checks[-1].name, explanation.checks[-1].outcome) == (
        "not checked",
        "key",
        "unknown",
    )


@pytest.mark.parametrize("changes", [{}, {"exp": NOW - 1}, {"sub": "secret\x00"}])
async def test_no_content_of_the_token_is_shown(changes: dict[str, Any]) -> None:
    token = good_token(**{"sub": "secret-person", "jti": "secret-id", **changes})
    shown = json.dumps(asdict(await explain(verifier(), token, NOW)))
    assert "secret" not in shown
    assert not any(part in shown for part in token.decode().split("."))


def test_the_command_reads_only_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMEWARDEN_ISSUER", issuer().issuer)
    monkeypatch.setenv("TIMEWARDEN_AUDIENCE", issuer().audience)
    run = CliRunner().invoke
    done = run(timewarden, ["token", "explain", "--json"], input="Bearer abc.def.ghi\n")
    assert (done.exit_code, json.loads(done.output)["cause"]) == (1, "encoding")
    assert run(timewarden, ["token", "explain", "abc.def.ghi"], input="").exit_code == 2
    assert run(timewarden, ["token", "explain"], input="one two three").exit_code == 2
