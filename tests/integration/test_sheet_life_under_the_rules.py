"""Every sequence of steps against the running rules on a real database: a model foretells each answer, and the log
tells the same story. Rows let managers enter and hand in for their people: every way to act for an owner is walked."""

from __future__ import annotations

import asyncio
import itertools
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from service.errors import Denied, NoApprover, NotFound, PreconditionFailed, TimewardenError, WrongState
from service.timesheets.entry import Amendment, Hours
from service.timesheets.timesheet import TRANSITIONS, State
from service.timesheets.upload_rows import Row, Rows
from tests.example_count import example_count
from tests.integration.house import ALL_SCOPES, MONDAY, House, activate_unread, at
from tests.policy_forge import with_more

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import date

    from service.authorization.enforcement.changes import Caller
    from service.timesheets.timesheet import Timesheet

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

ON_BEHALF_OF_ANYONE = """
p, allow, manager, edit, draft or rejected, timesheet, create:timesheets, always, edit-team
p, allow, manager, submit, draft or rejected, timesheet, create:timesheets, always, submit-team
"""
OWNER, IMPORTER = "carl", "payroll-import"
MANAGERS, PAYROLL = {"max", "dora"}, {"ana", "ben"}
# Carl's sheets; max leads his team and dora the one above; mia leads another; ana and ben are payroll, adam looks after
# the directory; the client imports for carl's team.
ROLES = {**dict.fromkeys(PAYROLL, "role:payroll"), "adam": "role:administrator"}
ACTORS = [OWNER, *sorted(MANAGERS), *sorted(PAYROLL), "mia", "adam", IMPORTER]
ACTOR, PAYER, STALE = st.sampled_from(ACTORS), st.sampled_from(sorted(PAYROLL)), st.sampled_from([0, 0, 0, 0, 1])
WRITERS = {"edit": {OWNER, *MANAGERS}, "submit": {OWNER, *MANAGERS}, "withdraw": {OWNER}, "upload": {IMPORTER}}
JUDGES = {"approve": MANAGERS, "reject": MANAGERS, "reopen": MANAGERS, "lock": PAYROLL, "unlock": PAYROLL}
MAY = {**WRITERS, **JUDGES}
SAID = {"edit": "edited", "submit": "submitted", "withdraw": "withdrawn", "upload": "uploaded", "approve": "approved"}
SAID |= {"reject": "rejected", "reopen": "reopened", "lock": "locked", "unlock": "unlocked"}
weeks = itertools.count()


class Life(RuleBasedStateMachine):
    """One sheet, and what should have become of it."""

    house: ClassVar[House]
    loop: ClassVar[asyncio.AbstractEventLoop]

    @initialize()
    def begin(self) -> None:
        self.week: date = MONDAY + timedelta(days=7 * next(weeks))
        self.sheet: Timesheet = self.run(self.house.timesheets.create(self.caller(OWNER), self.week, "UTC")).value
        self.state, self.version, self.rows = State.DRAFT, 1, 0
        self.hands: set[str] = {OWNER}
        self.locker: str | None = None
        self.story: list[tuple[str, str, int]] = [("created", OWNER, 1)]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def caller(self, name: str) -> Caller:
        if name == IMPORTER:
            return self.house.machine(scopes=ALL_SCOPES | {"batch:upload"})
        return self.house.caller(name, roles=frozenset({ROLES[name]} if name in ROLES else ()))

    def attempt(self, action: str, name: str, stale: int, work: Coroutine[Any, Any, Any]) -> bool:
        """Whether it was done, which must be what the model foretells; a refusal must be the one it foretells."""
        reads = name in {OWNER, *MANAGERS} or (name in PAYROLL and self.state in {State.APPROVED, State.LOCKED})
        four_eyes = (action == "approve" and name in self.hands) or (action == "unlock" and name == self.locker)
        may = name in MAY[action] and not four_eyes
        starts = self.state in TRANSITIONS[action].starts
        wanted: tuple[type[TimewardenError], ...] = ()
        if not may or (not starts and not reads):
            wanted = (Denied, WrongState) if action == "upload" else (Denied,)
        elif stale:
            wanted = (PreconditionFailed,)
        elif not starts:
            wanted = (WrongState,)
        elif action == "submit" and {name, *self.hands} >= MANAGERS:
            wanted = (NoApprover,)
        refused = self.refusal(work)
        if refused is not None:
            assert isinstance(refused, wanted), (action, name, self.state, repr(refused))
            assert reads or action == "upload" or isinstance(refused, NotFound), (action, name, repr(refused))
            return False
        assert not wanted, (action, name, self.state)
        self.version += 1
        self.state = TRANSITIONS[action].leads_to or self.state
        self.story.append((SAID[action], name, self.version))
        return True

    def refusal(self, work: Coroutine[Any, Any, Any]) -> TimewardenError | None:
        try:
            self.run(work)
        except TimewardenError as error:
            return error
        return None

    def expect_version(self, stale: int) -> Callable[[int | None], None]:
        return at(self.version - stale)

    @rule(name=ACTOR, stale=STALE, day=st.integers(0, 6))
    def enter(self, name: str, stale: int, day: int) -> None:
        hours = Hours(self.week + timedelta(days=day), "apollo", 1)
        work = self.house.timesheets.add_entry(self.caller(name), self.sheet.id, self.expect_version(stale), hours)
        if self.attempt("edit", name, stale, work):
            self.hands.add(name)
            self.rows += 1

    @rule(name=ACTOR, stale=STALE, minutes=st.integers(1, 10))
    def amend(self, name: str, stale: int, minutes: int) -> None:
        entry = next(iter(self.sheet.entries), None)
        if entry is None:
            return
        work = self.house.timesheets.amend_entry(
            self.caller(name), self.sheet.id, self.expect_version(stale), entry.id, Amendment({"minutes": minutes})
        )
        if self.attempt("edit", name, stale, work):
            self.hands.add(name)

    @rule(name=ACTOR)
    def upload(self, name: str) -> None:
        row = Row(
            day=self.week,
            project="apollo",
            minutes=1,
            owner=self.house.people[OWNER],
            external_ref=str(self.version),
        )
        if self.attempt("upload", name, 0, self.house.uploads.upload(self.caller(name), Rows.of([row]))):
            self.hands.add(name)
            self.rows += 1

    @rule(name=ACTOR, stale=STALE)
    def submit(self, name: str, stale: int) -> None:
        if self.rows and self.step("submit", name, stale):
            self.hands.add(name)

    @rule(name=ACTOR, stale=STALE)
    def withdraw(self, name: str, stale: int) -> None:
        self.step("withdraw", name, stale)

    @rule(name=ACTOR, stale=STALE)
    def approve(self, name: str, stale: int) -> None:
        if self.step("approve", name, stale):
            assert name not in {OWNER, *self.hands}

    @rule(action=st.sampled_from(["reject", "reopen"]), name=ACTOR, stale=STALE)
    def send_back(self, action: str, name: str, stale: int) -> None:
        self.step(action, name, stale, "look again")

    @rule(name=ACTOR, stale=STALE)
    def lock(self, name: str, stale: int) -> None:
        if self.step("lock", name, stale, "paid"):
            self.locker = name

    @rule(name=ACTOR, stale=STALE)
    def unlock(self, name: str, stale: int) -> None:
        if self.step("unlock", name, stale, "a mistake"):
            assert name != self.locker
            self.locker = None

    def step(self, action: str, name: str, stale: int, *reason: str) -> bool:
        move = getattr(self.house.timesheets, action)
        return self.attempt(
            action, name, stale, move(self.caller(name), self.sheet.id, self.expect_version(stale), *reason)
        )

    @rule(
        wanted=st.sampled_from([State.SUBMITTED, State.APPROVED, State.REJECTED, State.LOCKED, State.LOCKED]),
        name=PAYER,
    )
    def bring(self, wanted: State, name: str) -> None:
        """The usual steps, so that every state is reached; the people whom four eyes forbid a step try first."""
        judges = sorted(MANAGERS - self.hands)
        for _ in range(5):
            if self.state in {State.DRAFT, State.REJECTED}:
                _ = self.rows or self.enter(OWNER, 0, 0)
                self.submit(OWNER, 0)
            elif self.state is wanted:
                break
            elif self.state is State.SUBMITTED and judges:
                for hand in sorted(self.hands):
                    self.approve(hand, 0)
                self.step(*("reject", judges[0], 0, "no") if wanted is State.REJECTED else ("approve", judges[0], 0))
            elif self.state is State.APPROVED:
                self.lock(name, 0) if wanted is State.LOCKED else self.send_back("reopen", "max", 0)
            elif self.state is State.LOCKED:
                self.unlock(str(self.locker), 0)
                self.unlock(next(iter(PAYROLL - {str(self.locker)})), 0)

    @invariant()
    def the_sheet_is_what_the_model_says(self) -> None:
        if not hasattr(self, "sheet"):
            return
        self.sheet = self.run(self.house.timesheets.read(self.caller(OWNER), self.sheet.id)).value
        assert (self.sheet.state, self.sheet.version) == (self.state, self.version)
        people, clients = self.sheet.editors, self.sheet.uploaders
        assert people == {self.house.people[hand] for hand in self.hands - {IMPORTER}}
        assert clients == self.hands & {IMPORTER}

    def teardown(self) -> None:
        if hasattr(self, "sheet"):
            self.run(self.check_log())

    async def check_log(self) -> None:
        """The log's changes of this sheet are the model's, and each stands beside a decision that allowed it."""
        rows = await self.house.owner.fetch(
            "SELECT kind, outcome, applied, body FROM audit_record"
            " WHERE resource_id = $1 AND (kind = 'change' OR (applied AND action <> 'read')) ORDER BY id",
            str(self.sheet.id),
        )
        names = {str(person): name for name, person in self.house.people.items()}
        changes = [json.loads(row["body"]) for row in rows if row["kind"] == "change"]
        assert [
            (
                change["change"]["type"].removeprefix("timesheet."),
                names.get(change["principal"].get("person"), IMPORTER),
                change["change"]["to"]["version"],
            )
            for change in changes
        ] == self.story
        assert [change["change"]["from"].get("version") for change in changes[1:]] == [
            version for _, _, version in self.story[:-1]
        ]
        applied = [row for row in rows if row["kind"] == "decision"]
        assert all(row["outcome"] == "allow" for row in applied)


async def test_every_sequence_keeps_four_eyes_and_the_log_tells_the_same_story(house: House) -> None:
    await activate_unread(house, with_more(ON_BEHALF_OF_ANYONE))
    Life.house, Life.loop = house, asyncio.get_running_loop()
    # A sequence that fails is told as it was found: to look for a shorter one would take minutes.
    few = settings(
        max_examples=example_count(30),
        stateful_step_count=20,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    await asyncio.to_thread(run_state_machine_as_test, Life, settings=few)
