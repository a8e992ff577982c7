"""Policy administration (PAP): propose, activate, roll back and read versions; each step is decided and recorded.

Owns no state: versions are in Postgres. Checks may take half a minute, so they run before the transaction, one of each
sort at a time, and only for callers who may take the step.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from service.administration.checks.examination import PROPOSAL, PolicyReport
from service.administration.versions import four_eyes, version_store
from service.administration.versions.version_store import Activator, PolicyVersion
from service.authorization.active import replicas
from service.authorization.active.versions import load_texts
from service.authorization.enforcement.changes import AbortChange, Answer, Change, Target
from service.authorization.enforcement.decision_point import Resource, evaluate
from service.authorization.enforcement.names import load_names_of_change, load_names_of_row, load_names_of_rows
from service.authorization.enforcement.policy_relations import KIND, RETIRED
from service.authorization.enforcement.preflight import admit
from service.database import Turns
from service.errors import Conflict, NotFound, PolicyRejected, PolicyUnavailable, StaleExpectation
from service.log.record import Kind
from service.places import Complaint
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from service.authorization.active.replicas import Replica
    from service.authorization.active.versions import PolicyVersions
    from service.authorization.enforcement.changes import Caller
    from service.authorization.enforcement.gate import Gate
    from service.authorization.engine.engine import Snapshot
    from service.policy.policy_file import PolicyText

    Check = Callable[[PolicyText, int, PolicyText | None], Awaitable[PolicyReport]]

ATTEMPTS = 5
# Seconds.
LONGEST_WAIT = 10.0
BUSY = "Another policy version is being checked; send this one again in a moment"
LOCKED_OUT = Complaint(
    "policy.csv", 0, 0, "under this version you may not activate a version, so you could not roll back"
)


@dataclass(frozen=True, slots=True)
class VersionWithTexts:
    """A version with its texts."""

    version: PolicyVersion
    text: PolicyText


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposed version with its report. `anew` is False if the newest version has the same texts and no version was
    activated since: then no other version is stored."""

    version: PolicyVersion
    report: PolicyReport
    anew: bool


class PolicyAdministration:
    """`check` reports on a version, also compared with the active one, in a check worker. `publish` is called with
    the number of each version that has become active, and must return at once."""

    def __init__(
        self,
        gate: Gate,
        versions: PolicyVersions,
        check: Check,
        *,
        publish: Callable[[int], object] = lambda _number: None,
    ) -> None:
        self._gate = gate
        self._versions = versions
        self._check = check
        # Separate turns, so that a proposal does not delay a rollback.
        self._proposing, self._activating = (Turns(1, timeout=LONGEST_WAIT, full=BUSY) for _ in range(2))
        self._publish = publish

    async def list(
        self, caller: Caller, *, before: int | None, limit: int, with_names: bool = False
    ) -> Answer[Sequence[PolicyVersion]]:
        """The versions that the caller may read, newest first."""
        async with self._gate.list(caller, KIND, "read") as listing:
            versions = await version_store.load_page(listing.visibility, listing.connection, before=before, limit=limit)
            if with_names:
                ids = {version.number: version.people for version in versions}
                named = await load_names_of_rows(listing.visibility, listing.connection, ids)
                versions = [replace(version, names=named[version.number]) for version in versions]
        return listing.answer(versions)

    async def read(self, caller: Caller, number: int, *, with_names: bool = False) -> Answer[VersionWithTexts]:
        """A version with its texts. Raises NotFound."""
        async with self._gate.read(caller, KIND, "read", number) as reading:
            version = await version_store.load_version(reading.connection, number)
            if with_names:
                version = replace(version, names=await load_names_of_row(reading, version.people))
            text = await load_texts(reading.connection, number)
        return reading.answer(VersionWithTexts(version, text))

    async def active(self, caller: Caller, *, with_names: bool = False) -> Answer[VersionWithTexts]:
        """The active version with its texts."""
        for _ in range(ATTEMPTS):
            # This process may be behind; then the read has brought it up to date, and the next attempt succeeds.
            answer = await self.read(caller, self._versions.current().number, with_names=with_names)
            if answer.value.version.active:
                return answer
        raise PolicyUnavailable(cause="the active version changed with every attempt")

    async def replicas(self, caller: Caller) -> Answer[Sequence[Replica]]:
        """The API processes, and the version that each decides by."""
        async with self._gate.read(caller, KIND, "read") as reading:
            found = await replicas.list_replicas(reading.connection)
        return reading.answer(found)

    async def admit(self, caller: Caller) -> None:
        """Refuse callers who may not propose, before their policy is read. Raises Denied."""
        await admit(self._gate, caller, KIND, "propose")

    async def propose(self, caller: Caller, text: PolicyText, message: str) -> Answer[Proposed]:
        """Check a proposal and store it under the next number. It decides nothing until it is activated. The same
        proposal is not stored twice in a row.

        Raises PolicyRejected, TryLater.
        """
        report = await self._examine(caller, text)
        async with self._gate.change(caller, KIND, "propose", Target(hold=version_store.lock_proposals)) as change:
            if report is None:
                raise PolicyUnavailable(cause="allowed only after the check was skipped")
            # The complaints are for callers who may propose, and the record says that they were allowed to.
            if report.complaints:
                raise PolicyRejected(report.complaints, report.warnings)
            waiting = await version_store.find_waiting(change.connection, text)
            version = waiting or await _insert(change, text, message)
            version = replace(version, names=await load_names_of_change(change, version.people))
        return change.answer(Proposed(version, report, anew=waiting is None))

    async def check(self, caller: Caller, text: PolicyText) -> Answer[PolicyReport]:
        """What is found in a proposal, complaints included. Stores nothing: it is recorded as a dry run of a proposal.
        Raises TryLater."""
        report = await self._examine(caller, text)
        async with self._gate.read(replace(caller, dry_run=True), KIND, "propose") as reading:
            if report is None:
                raise PolicyUnavailable(cause="allowed only after the check was skipped")
        return reading.answer(report)

    async def _examine(self, caller: Caller, text: PolicyText) -> PolicyReport | None:
        """The findings about a proposal; None for a caller who may not propose. Raises TryLater."""
        if not await self._gate.would_allow(caller, KIND, "propose"):
            return None
        async with self._proposing.take():
            return await self._check(text, PROPOSAL, self._versions.current().policy.text)

    async def activate(self, caller: Caller, number: int, *, expected: int) -> Answer[PolicyVersion]:
        """Make a version active, also an older one, if `expected` is still active.

        Every request that starts after this returns is decided by it, and no change commits under the previous version:
        the policy lock is held exclusively until the commit. Raises StaleExpectation, NotFound, PolicyRejected,
        Conflict.
        """
        return await self._switch(caller, number, expected=expected, back=False)

    async def roll_back(self, caller: Caller, *, expected: int) -> Answer[PolicyVersion]:
        """As `activate`, for the version that was active before `expected`. Raises Conflict if there was none."""
        async with self._versions.connection() as connection:
            number = await version_store.find_rollback_target(connection)
        # Without a previous version, the decision is about the active one.
        return await self._switch(caller, number or self._versions.current().number, expected=expected, back=True)

    async def _switch(self, caller: Caller, number: int, *, expected: int, back: bool) -> Answer[PolicyVersion]:
        snapshot, refused = None, None
        left: dict[int, Snapshot] = {}
        if await self._gate.would_allow(caller, KIND, "activate", row_id=number):
            left = await self._load_left_behind(caller, number)
            # The check takes seconds, so it is only for a step that can succeed.
            if number != expected == self._versions.current().number:
                try:
                    snapshot = await self._check_stored(number)
                except (NotFound, PolicyRejected) as error:
                    refused = error
        target = Target(str(number), partial(version_store.find_number, number=number), must_exist=True)
        # The exclusive lock is only for activations that can succeed, or any token could block all changes.
        async with self._gate.change(caller, KIND, "activate", target, exclusively=snapshot is not None) as change:
            await _require_four_eyes(change, number, left)
            if change.lookup.version != expected:
                raise StaleExpectation(f"Version {change.lookup.version} is active, not {expected}")
            if refused is not None:
                raise refused
            if number == expected:
                raise Conflict("No version was active before" if back else f"Version {number} is active already")
            if snapshot is None:
                raise PolicyUnavailable(cause="allowed only after the check was skipped")
            version = await _move_head(change, snapshot, back=back)
            version = replace(version, names=await load_names_of_change(change, version.people))
        self._publish(number)
        # The version is active. If it cannot be loaded here now, the next request loads it or is refused.
        with suppress(PolicyUnavailable):
            await self._versions.switch_to(number)
        return change.answer(version)

    async def _check_stored(self, number: int) -> Snapshot:
        """Check a stored version again, because laws of the code may be newer, and prepare its snapshot. Raises
        PolicyRejected, and PolicyUnavailable if a restore replaced its texts during the check."""
        async with self._versions.connection() as connection:
            text = await load_texts(connection, number)
        async with self._activating.take():
            report = await self._check(text, number, None)
        if report.complaints:
            raise PolicyRejected(report.complaints)
        # Built before it decides, so that the first requests after the commit do not wait.
        snapshot = await self._versions.prepare(number)
        if snapshot.digest != text.digest():
            raise PolicyUnavailable(cause=f"version {number}: its texts were replaced during the check")
        return snapshot

    async def _load_left_behind(self, caller: Caller, number: int) -> dict[int, Snapshot]:
        """The versions whose four eyes still apply when the caller activates their own proposal; mostly none."""
        async with self._versions.connection() as connection:
            numbers = await version_store.find_left_behind(connection, number, caller.principal)
        return {left: await self._versions.load(left) for left in numbers}


async def _insert(change: Change, text: PolicyText, message: str) -> PolicyVersion:
    """Store the texts as the newest version and record that."""
    author = change.caller.principal
    version = await version_store.insert(
        change.connection, text, message=message, author_person=author.person, author_client=author.client
    )
    change.record(
        "policy.proposed",
        Resource(KIND, str(version.number)),
        before={},
        after={"number": version.number, "digest": version.digest, "parent": version.parent},
        texts={"message": message},
        kind=Kind.POLICY,
    )
    return version


async def _move_head(change: Change, snapshot: Snapshot, *, back: bool) -> PolicyVersion:
    """Make the snapshot's version active under the policy lock, and record that."""
    number, expected, principal = snapshot.number, change.lookup.version, change.caller.principal
    if back:
        before = await version_store.find_rollback_target(change.connection)
        if before is None:
            raise Conflict("No version was active before")
        if before != number:
            raise StaleExpectation
    await replicas.require_words(change.connection, snapshot.vocabulary)
    _require_rollback(change, snapshot)
    by = Activator(principal.person, principal.client, change.decision.uid)
    if not await version_store.move_head(change.connection, number, expected=expected, by=by, back=back):
        raise StaleExpectation
    change.record(
        "policy.activated",
        Resource(KIND, str(number)),
        before={"active": expected},
        after={"active": number, "digest": snapshot.digest},
        kind=Kind.POLICY,
    )
    return await version_store.load_version(change.connection, number)


async def _require_four_eyes(change: Change, number: int, left: Mapping[int, Snapshot]) -> None:
    """Raise AbortChange with Forbidden if a version that was left, and that no newer one replaced, denies this to the
    proposer. Raises StaleExpectation if another version was left since `left` was read."""
    numbers = await version_store.find_left_behind(change.connection, number, change.caller.principal)
    if not left.keys() >= set(numbers):
        raise StaleExpectation
    denying = four_eyes.find_denying([left[version] for version in numbers], change.decision.request)
    if denying:
        noted = {**change.decision.noted, "four_eyes_of": denying}
        raise AbortChange(four_eyes.refusal(denying), replace(change.decision, noted=noted))


def _require_rollback(change: Change, snapshot: Snapshot) -> None:
    """Raise PolicyRejected unless the caller could roll back afterwards. The laws require a rule that allows somebody a
    rollback; the caller is the only person who is known to exist.

    The request is about a retired version that another person proposed. Under four eyes, a caller who proposed both
    this version and the one before can still go back to the first version: it came from files, without a proposer.
    """
    unrelated = replace(change.lookup, row=None, relations=frozenset())
    retired = Resource(KIND, state=RETIRED)
    if not evaluate(snapshot, change.caller.principal, "activate", retired, unrelated).allowed:
        raise PolicyRejected([LOCKED_OUT])
