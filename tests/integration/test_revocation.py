"""Revoked tokens are refused from the next decision on, for every request; no record holds a subject."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from service.authorization.enforcement.token_revocation import RevocationKind, RevocationRequest, Revocations
from service.errors import Denied, Forbidden, InsufficientScope, InvalidField, InvalidToken, NotApplied
from service.log.packing import unpack
from service.log.record import commitment
from service.timesheets.entry import Hours
from service.timesheets.listing import Filters
from service.timesheets.upload_rows import Row, Rows
from service.values import replace
from tests.integration.house import MONDAY, House, anything, wire_house

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.authorization.enforcement.changes import Caller

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

ISSUER = "https://issuer.example"
LIFETIME, AHEAD = 86_430, 30
MANAGE = frozenset({"manage:tokens", "manage:directory"})


def now() -> int:
    return int(datetime.now(UTC).timestamp())


def token(
    caller: Caller, *, issued: int | None = None, jti: str | None = "token-1", subject: str = "sub|secret"
) -> Caller:
    """The same request with another token."""
    at = now() - 10 if issued is None else issued
    return replace(caller, principal=replace(caller.principal, token_id=jti, issued_at=at, subject=subject))


def administrator(house: House) -> Caller:
    return token(
        house.caller("adam", scopes=MANAGE, roles=frozenset({"role:administrator"})), jti="admin", subject="sub|adam"
    )


async def revoke(house: House, what: RevocationKind, value: str, issuer: str | None = ISSUER, **more: datetime) -> None:
    await Revocations(house.gate, LIFETIME, AHEAD).revoke(
        administrator(house), RevocationRequest(what, value, issuer, **more)
    )


async def assert_refused(house: House, caller: Caller) -> bool:
    """Whether this token is refused; if so, it must be refused for every request."""
    sheet = (await house.timesheets.list(house.caller("ben"), Filters(), limit=1)).value.items[0]
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: house.timesheets.list(caller, Filters()),
        lambda: house.timesheets.read(caller, sheet.id),
        lambda: house.timesheets.submit(caller, sheet.id, anything),
        lambda: house.timesheets.create(caller, MONDAY + timedelta(weeks=1), "UTC"),
        lambda: house.directory.add_team(caller, "mine"),
        lambda: house.gate.would_allow(caller, "policy", "propose"),
        lambda: house.uploads.upload(
            caller, Rows.of([Row(MONDAY, "x", 1, owner=house.people["carl"], external_ref="1")])
        ),
    ]
    before = await house.count("audit_record")
    found = [await fails_as_revoked(attempt) for attempt in attempts]
    if all(found):
        assert await house.count("audit_record") == before
        return True
    assert not any(found), "refused for one thing and not for another"
    return False


async def fails_as_revoked(attempt: Callable[[], Awaitable[object]]) -> bool:
    try:
        await attempt()
    except InvalidToken as error:
        return error.cause == "revoked"
    except (Denied, NotApplied):
        return False
    return False


@pytest.fixture
async def filled(house: House) -> House:
    await house.submit_week("ben")
    return house


async def test_a_single_revoked_token_is_refused_and_no_other(filled: House) -> None:
    ana = filled.caller("ana")
    assert not await assert_refused(filled, token(ana))
    await revoke(filled, RevocationKind.TOKEN, "token-1")
    assert await assert_refused(filled, token(ana))
    assert not await assert_refused(filled, token(ana, jti="token-2"))
    assert not await assert_refused(filled, token(ana, jti=None))
    other_issuer = token(ana)
    other_issuer = replace(other_issuer, principal=replace(other_issuer.principal, issuer="https://other.example"))
    assert not await assert_refused(filled, other_issuer)


async def test_tokens_of_a_subject_up_to_now_are_refused_and_a_new_one_is_accepted(filled: House) -> None:
    ana = filled.caller("ana")
    await revoke(filled, RevocationKind.SUBJECT, "sub|secret")
    assert await assert_refused(filled, token(ana))
    assert await assert_refused(filled, token(ana, jti=None))
    assert not await assert_refused(filled, token(ana, subject="sub|other"))
    assert not await assert_refused(filled, token(ana, issued=now() + AHEAD + 5))


@pytest.mark.parametrize("what", [RevocationKind.SUBJECT, RevocationKind.PERSON, RevocationKind.CLIENT])
async def test_a_token_that_is_valid_now_is_refused_though_its_issuers_clock_is_ahead(
    filled: House, what: RevocationKind
) -> None:
    ana = token(filled.caller("ana"), issued=now() + AHEAD - 5)
    ana = replace(ana, principal=replace(ana.principal, client="web-app"))
    value = {
        RevocationKind.SUBJECT: "sub|secret",
        RevocationKind.PERSON: str(filled.people["ana"]),
        RevocationKind.CLIENT: "web-app",
    }[what]
    assert not await assert_refused(filled, ana)
    await revoke(filled, what, value, None if what is RevocationKind.PERSON else ISSUER)
    assert await assert_refused(filled, ana)


async def test_a_client_whose_id_has_the_longest_prefix_of_an_issuer_can_be_revoked(filled: House) -> None:
    client = "p" * 20 + ":" + "c" * 255
    machine = token(filled.machine(client))
    assert not await assert_refused(filled, machine)
    await revoke(filled, RevocationKind.CLIENT, client, None)
    assert await assert_refused(filled, machine)


async def test_every_token_of_a_person_is_refused_for_every_subject(filled: House) -> None:
    await revoke(filled, RevocationKind.PERSON, str(filled.people["ana"]), None)
    assert await assert_refused(filled, token(filled.caller("ana"), subject="another|account"))
    assert not await assert_refused(filled, token(filled.caller("ben")))


async def test_every_token_of_a_client_is_refused_for_every_user(filled: House) -> None:
    await revoke(filled, RevocationKind.CLIENT, "payroll-import", None)
    assert await assert_refused(filled, token(filled.machine()))
    assert not await assert_refused(filled, token(filled.caller("ana")))
    await revoke(filled, RevocationKind.CLIENT, "web-app", "https://other.example")
    ana = token(filled.caller("ana"))
    through = replace(ana, principal=replace(ana.principal, client="web-app"))
    assert not await assert_refused(filled, through)
    await revoke(filled, RevocationKind.CLIENT, "web-app")
    assert await assert_refused(filled, through)


async def test_only_tokens_issued_before_the_time_are_refused(filled: House) -> None:
    moment = datetime.now(UTC) - timedelta(hours=1)
    await revoke(filled, RevocationKind.SUBJECT, "sub|secret", issued_before=moment)
    assert await assert_refused(filled, token(filled.caller("ana"), issued=int(moment.timestamp()) - 1))
    assert not await assert_refused(filled, token(filled.caller("ana"), issued=int(moment.timestamp()) + 1))


async def test_another_replica_refuses_it_at_once(filled: House) -> None:
    replica = await wire_house(filled.log_database)
    replica.people = filled.people
    await revoke(filled, RevocationKind.TOKEN, "token-1")
    with pytest.raises(InvalidToken):
        await replica.timesheets.list(token(replica.caller("ana")), Filters())


async def test_a_revoked_token_changes_nothing(filled: House) -> None:
    ana = token(filled.caller("ana"))
    sheet = (await filled.timesheets.create(ana, MONDAY, "UTC")).value
    await revoke(filled, RevocationKind.TOKEN, "token-1")
    with pytest.raises(InvalidToken):
        await filled.timesheets.add_entry(ana, sheet.id, anything, Hours(MONDAY, "apollo", 60))
    assert (await filled.timesheets.read(filled.caller("ana"), sheet.id)).value.entries == ()


async def test_revoking_is_decided_and_recorded_without_any_subject(filled: House) -> None:
    await revoke(filled, RevocationKind.SUBJECT, "sub|secret")
    for row in await filled.owner.fetch("SELECT body FROM audit_record UNION ALL SELECT value::bytea FROM audit_text"):
        assert b"sub|secret" not in unpack(row["body"])
    assert (
        await filled.count("audit_record WHERE kind = 'change' AND action = 'revoke' AND resource_kind = 'token'") == 1
    )
    assert await filled.count("audit_record WHERE kind = 'decision' AND action = 'revoke' AND applied") == 1


async def test_texts_from_outside_stand_beside_the_record(filled: House) -> None:
    await revoke(filled, RevocationKind.TOKEN, "Ana's telephone", "https://gossip.example")
    await revoke(filled, RevocationKind.CLIENT, "the app of ana@example.com", None)
    bodies = [unpack(row["body"]) for row in await filled.owner.fetch("SELECT body FROM audit_record")]
    words = [b"telephone", b"gossip", b"ana@example.com"]
    assert not [word for word in words for body in bodies if word in body]
    rows = await filled.owner.fetch(
        "SELECT t.field, t.value, t.salt, r.body FROM audit_text t JOIN audit_record r ON r.uid = t.record_uid"
        " WHERE r.resource_kind = 'token' ORDER BY r.id, t.field"
    )
    assert [(row["field"], row["value"]) for row in rows] == [
        ("issuer", "https://gossip.example"),
        ("token", "Ana's telephone"),
        ("client", "the app of ana@example.com"),
    ]
    for row in rows:
        assert json.loads(row["body"])["commitments"][row["field"]] == commitment(row["salt"], row["value"]).hex()


async def test_a_caller_without_permission_revokes_nothing(filled: House) -> None:
    revocations = Revocations(filled.gate, LIFETIME, AHEAD)
    wanted = RevocationRequest(RevocationKind.TOKEN, "token-1", ISSUER)
    with pytest.raises(InsufficientScope):
        await revocations.revoke(filled.caller("ana"), wanted)
    with pytest.raises(Forbidden):
        await revocations.revoke(filled.caller("ana", scopes=MANAGE), wanted)
    with pytest.raises(Forbidden):
        await revocations.list(filled.caller("ana", scopes=MANAGE))
    assert await filled.count("revocation") == 0


async def test_the_list_is_paged_newest_first_and_names_no_subject(filled: House) -> None:
    revocations = Revocations(filled.gate, LIFETIME, AHEAD)
    for number in range(3):
        await revoke(filled, RevocationKind.TOKEN, f"token-{number}")
    await revoke(filled, RevocationKind.SUBJECT, "ana")
    first = (await revocations.list(administrator(filled), limit=3)).value
    rest = (await revocations.list(administrator(filled), after=first.after, limit=3)).value
    assert [item.token_id for item in (*first.items, *rest.items)] == [None, "token-2", "token-1", "token-0"]
    assert first.items[0].person == filled.people["ana"]
    assert rest.after is None


async def test_entries_are_deleted_when_their_tokens_have_expired(filled: House) -> None:
    old = datetime.now(UTC) - timedelta(seconds=LIFETIME + 60)
    await revoke(filled, RevocationKind.SUBJECT, "sub|gone", issued_before=old)
    assert await filled.count("revocation") == 1
    await revoke(filled, RevocationKind.TOKEN, "token-1")
    assert await filled.owner.fetchval("SELECT value FROM revocation") == "token-1"
    left = await filled.owner.fetchval("SELECT expires_at - statement_timestamp() FROM revocation")
    assert timedelta(seconds=LIFETIME - 60) < left <= timedelta(seconds=LIFETIME + AHEAD)


@pytest.mark.parametrize(
    ("wanted", "wrong"),
    [
        (RevocationRequest(RevocationKind.TOKEN, "", ISSUER), "token_id"),
        (RevocationRequest(RevocationKind.TOKEN, "x" * 256, ISSUER), "token_id"),
        (RevocationRequest(RevocationKind.CLIENT, "a\x00b"), "client"),
        (RevocationRequest(RevocationKind.CLIENT, "x" * 277), "client"),
        (RevocationRequest(RevocationKind.TOKEN, "token-1"), "issuer"),
        (RevocationRequest(RevocationKind.SUBJECT, "sub|secret"), "issuer"),
        (RevocationRequest(RevocationKind.TOKEN, "token-1", ISSUER, datetime.now(UTC)), "issued_before"),
        (
            RevocationRequest(RevocationKind.CLIENT, "web-app", None, datetime.now(UTC) + timedelta(hours=1)),
            "issued_before",
        ),
    ],
)
async def test_a_wrong_revocation_is_refused_with_its_field(
    house: House, wanted: RevocationRequest, wrong: str
) -> None:
    with pytest.raises(InvalidField) as found:
        await Revocations(house.gate, LIFETIME, AHEAD).revoke(administrator(house), wanted)
    assert [field.field for field in found.value.fields] == [wrong]
