"""Policy administration (PAP): propose, activate, roll back and read versions, each step decided and recorded.

Owns no state: versions and the head live in Postgres. Checks run before a transaction is opened, one of a sort at a
time, because they may take half a minute, and only for those who may do the step, so that nobody else can make us work.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.administration.checks.examination import PROPOSAL, PolicyReport
from service.administration.versions import four_eyes, version_store
from service.administration.versions.version_store import Activator, PolicyVersion
from service.authorization.active import replicas
from service.authorization.active.versions import load_texts
from service.authorization.enforcement.changes import AbortChange, Answer, Change, Target
from service.authorization.enforcement.decision_point import Resource, evaluate
from service.authorization.enforcement.policy_relations import KIND, RETIRED
from service.authorization.enforcement.preflight import admit
from service.database import Turns
from service.errors import Conflict, NotFound, PolicyRejected, PolicyUnavailable, StaleExpectation
from service.log.record import Kind
from service.places import Complaint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from service.authorization.active.replicas import Replica
    from service.authorization.active.versions import PolicyVersions
    from service.authorization.enforcement.changes import Caller
    from service.authorization.enforcement.gate import Gate
    from service.authorization.engine.engine import Snapshot
    from service.database import Connection
    from service.policy.policy_file import PolicyText

    Check = Callable[[PolicyText, int, PolicyText | None], Awaitable[PolicyReport]]

ATTEMPTS = 5
# Seconds.
LONGEST_WAIT = 10.0
BUSY = "Another policy version is being checked; send this one again in a moment"
LOCKED_OUT = Complaint("policy.csv", 0, 0, "you could not activate a version under this one, so you could not go back")


@dataclass(frozen=True, slots=True)
class VersionWithTexts:
    """A version with everything that it was made of."""

    version: PolicyVersion
    text: PolicyText


@dataclass(frozen=True, slots=True)
class Proposed:
    """A version that was put forward, and what is to be said of it. `anew` is False when the newest version had the
    same texts and nothing was activated since: there is no other then."""

    version: PolicyVersion
    report: PolicyReport
    anew: bool


class PolicyAdministration:
    """`check` says what is to be said of a version, beside the one that decides, and does its work aside. `tell` is
    called with the number of each version that has become active, and must return at once."""

    def __init__(
        self,
        gate: Gate,
        versions: PolicyVersions,
        check: Check,
        *,
        tell: Callable[[int], object] = lambda _number: None,
    ) -> None:
        self._gate = gate
        self._versions = versions
        self._check = check
        # One of each at a time: no proposal keeps anybody from going back.
        self._proposing, self._activating = (Turns(1, timeout=LONGEST_WAIT, full=BUSY) for _ in range(2))
        self._tell = tell

    async def list(self, caller: Caller, *, before: int | None, limit: int) -> Answer[Sequence[PolicyVersion]]:
        """Versions, newest first: those that the asker may read."""
        async with self._gate.list(caller, KIND, "read") as listing:
            versions = await version_store.listed(listing.visibility, listing.connection, before=before, limit=limit)
        return listing.answer(versions)

    async def read(self, caller: Caller, number: int) -> Answer[VersionWithTexts]:
        """One version with its texts. Raises NotFound."""
        async with self._gate.read(caller, KIND, "read", number) as reading:
            version = await version_store.version_of(reading.connection, number)
            text = await load_texts(reading.connection, number)
        return reading.answer(VersionWithTexts(version, text))

    async def active(self, caller: Caller) -> Answer[VersionWithTexts]:
        """The version that decides, with its texts."""
        for _ in range(ATTEMPTS):
            # What this process knows may be behind; a read that shows it has also brought the process up to date.
            answer = await self.read(caller, self._versions.current().number)
            if answer.value.version.active:
                return answer
        raise PolicyUnavailable(cause="the active version changed with every attempt")

    async def replicas(self, caller: Caller) -> Answer[Sequence[Replica]]:
        """The API processes, and by which version each decides."""
        async with self._gate.read(caller, KIND, "read") as reading:
            found = await replicas.list_replicas(reading.connection)
        return reading.answer(found)

    async def admit(self, caller: Caller) -> None:
        """Refuse whoever could not propose anything, before a policy is read. Raises Denied."""
        await admit(self._gate, caller, KIND, "propose")

    async def propose(self, caller: Caller, text: PolicyText, message: str) -> Answer[Proposed]:
        """Store a checked proposal under the next number; it decides nothing until it is activated. What was proposed
        last and not activated so far is not stored twice.

        Raises PolicyRejected, TryLater.
        """
        report: PolicyReport | None = None
        if await self._gate.would_allow(caller, KIND, "propose"):
            async with self._proposing.one():
                report = await self._check(text, PROPOSAL, self._versions.current().policy.text)
        async with self._gate.change(caller, KIND, "propose", Target()) as change:
            if report is None:
                raise PolicyUnavailable(cause="allowed only after the check was skipped")
            # Who may propose is told what is wrong, and it is on record that they were allowed to ask.
            if report.complaints:
                raise PolicyRejected(report.complaints)
            waiting = await version_store.waiting(change.connection, text)
            version = waiting or await _insert(change, text, message)
        return change.answer(Proposed(version, report, anew=waiting is None))

    async def activate(self, caller: Caller, number: int, *, expected: int) -> Answer[PolicyVersion]:
        """Make a version decide from now on, if `expected` is still the active one; an older one too.

        Whoever asks after this returned is decided by it, and no change commits under the former: the policy's lock is
        held exclusively until the commit. Raises StaleExpectation, NotFound, PolicyRejected, Conflict.
        """
        return await self._switch(caller, number, expected=expected, back=False)

    async def roll_back(self, caller: Caller, *, expected: int) -> Answer[PolicyVersion]:
        """As `activate`, for the version that was active before `expected`. Raises Conflict when there was none."""
        async with self._versions.connection() as connection:
            number = await version_store.way_back(connection)
        # With nothing to go back to, the decision is about the version that decides.
        return await self._switch(caller, number or self._versions.current().number, expected=expected, back=True)

    async def _switch(self, caller: Caller, number: int, *, expected: int, back: bool) -> Answer[PolicyVersion]:
        async def found(connection: Connection) -> int | None:
            return await version_store.existing(connection, number)

        snapshot, refused = None, None
        left: dict[int, Snapshot] = {}
        if await self._gate.would_allow(caller, KIND, "activate", row_id=number):
            left = await self._left_behind(caller, number)
            try:
                snapshot = await self._checked(number)
            except (NotFound, PolicyRejected) as error:
                refused = error
        # Only what can take effect may keep all other changes waiting, or any token could stop them.
        target = Target(str(number), found, must_exist=True)
        async with self._gate.change(caller, KIND, "activate", target, exclusively=snapshot is not None) as change:
            await _keep_four_eyes(change, number, left)
            if change.lookup.version != expected:
                raise StaleExpectation(f"Version {change.lookup.version} is active, not {expected}")
            if refused is not None:
                raise refused
            if snapshot is None:
                raise PolicyUnavailable(cause="allowed only after the check was skipped")
            version = await _moved(change, snapshot, back=back)
        self._tell(number)
        await self._versions.switch_to(number)
        return change.answer(version)

    async def _checked(self, number: int) -> Snapshot:
        """Check a stored version again: the code's laws may be newer than the proposal."""
        async with self._versions.connection() as connection:
            text = await load_texts(connection, number)
        async with self._activating.one():
            report = await self._check(text, number, None)
        if report.complaints:
            raise PolicyRejected(report.complaints)
        # Ready before it decides: whoever asks right after the commit does not wait for it to be built again.
        return await self._versions.prepare(number)

    async def _left_behind(self, caller: Caller, number: int) -> dict[int, Snapshot]:
        """The versions that still have a say when the asker activates what they proposed; mostly none."""
        async with self._versions.connection() as connection:
            numbers = await version_store.left_behind(connection, number, caller.principal)
        return {one: await self._versions.load(one) for one in numbers}


async def _insert(change: Change, text: PolicyText, message: str) -> PolicyVersion:
    """Store the text as the newest version and have that recorded."""
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


async def _moved(change: Change, snapshot: Snapshot, *, back: bool) -> PolicyVersion:
    """Let the snapshot's version decide from the commit on, under the policy's lock, and have that recorded."""
    number, expected, principal = snapshot.number, change.lookup.version, change.caller.principal
    if back:
        before = await version_store.way_back(change.connection)
        if before is None:
            raise Conflict("No version was active before")
        if before != number:
            raise StaleExpectation
    if number == expected:
        raise Conflict(f"Version {number} is active already")
    await replicas.require_words(change.connection, snapshot.vocabulary)
    _keep_a_way_back(change, snapshot)
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
    return await version_store.version_of(change.connection, number)


async def _keep_four_eyes(change: Change, number: int, left: Mapping[int, Snapshot]) -> None:
    """Raise AbortChange with Forbidden if a version that was left, and that no newer one replaced, denies this to the
    proposer. Raises StaleExpectation if another version was left since `left` was read."""
    numbers = await version_store.left_behind(change.connection, number, change.caller.principal)
    if not left.keys() >= set(numbers):
        raise StaleExpectation
    forbidding = four_eyes.still_forbidding([left[one] for one in numbers], change.decision.request)
    if forbidding:
        noted = {**change.decision.noted, "four_eyes_of": forbidding}
        raise AbortChange(four_eyes.refusal(forbidding), replace(change.decision, noted=noted))


def _keep_a_way_back(change: Change, snapshot: Snapshot) -> None:
    """Raise PolicyRejected unless whoever activates could go back again: the laws ask that somebody can, but whether
    that somebody exists, only the one who is here proves.

    The question is about a version that decided before and that somebody else proposed: no relation, state retired.
    Under four eyes that is exact, and nobody is kept from going back by having proposed this version and the one
    before: the first version came from files, so nobody proposed it, and everybody who passes here could go back to it.
    """
    unrelated = replace(change.lookup, row=None, relations=frozenset())
    retired = Resource(KIND, state=RETIRED)
    if not evaluate(snapshot, change.caller.principal, "activate", retired, unrelated).allowed:
        raise PolicyRejected([LOCKED_OUT])
