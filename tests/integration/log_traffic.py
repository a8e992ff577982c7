"""Shared by tests of replays: decisions of every kind, and many copies of them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from service.errors import TimewardenError
from service.timesheets.listing import Filters
from service.values import replace
from tests.integration.house import MONDAY, anything, at

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Caller
    from tests.integration.house import House

COLUMNS = (
    "decided_at, person_id, client_id, action, resource_kind, resource_id, owner_id, outcome, applied, reason, rules,"
    " policy_version, request_id, returned, body"
)


def author(house: House) -> Caller:
    return house.caller(
        "adam", scopes=frozenset({"read:policies", "write:policies"}), roles=frozenset({"role:policy-author"})
    )


def auditor(house: House) -> Caller:
    return house.caller("dora", scopes=frozenset({"read:audit"}), roles=frozenset({"role:auditor"}))


async def traffic(house: House) -> None:
    """Decisions of every kind: allowed, denied, not found, without scope, lists."""
    sheet = await house.submit_week("ana")
    await house.timesheets.read(house.caller("mia"), sheet.id)
    await house.timesheets.approve(house.caller("mia"), sheet.id, at(sheet.version))
    for caller in (house.caller("ana"), house.caller("mia"), house.machine()):
        poor = replace(caller, principal=replace(caller.principal, scopes=frozenset({"read:timesheets"})))
        for work in (
            house.timesheets.list(caller, Filters()),
            house.timesheets.read(caller, sheet.id),
            house.timesheets.approve(caller, sheet.id, anything),
            house.timesheets.delete(caller, sheet.id, anything),
            house.timesheets.create(caller, MONDAY + timedelta(days=7), "UTC"),
            house.timesheets.submit(poor, sheet.id, anything),
        ):
            try:
                await work
            except TimewardenError:
                continue


async def multiply_records(house: House, wanted: int) -> None:
    """Copy the log's decisions until there are this many more."""
    await house.owner.execute(
        f"INSERT INTO audit_record (uid, kind, {COLUMNS}) SELECT uid, kind, {COLUMNS} FROM audit_record,"
        " generate_series(1, $1::integer / (SELECT count(*) FROM audit_record WHERE kind = 'decision')) AS again"
        " WHERE kind = 'decision'",
        wanted,
    )
