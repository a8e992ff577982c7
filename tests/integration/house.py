"""What tests of floor 5 share: the parts wired on a real database, and an organisation. Fixture: house_fixtures.py.

division: led by dora
├── east: led by mia; ana, ben
└── west: led by max; carl; the client payroll-import may upload
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from service.administration.checks import examination
from service.administration.versions import version_store
from service.authorization.active.versions import PolicyVersions
from service.authorization.enforcement.changes import Caller
from service.authorization.enforcement.directory_memory import DirectoryMemory
from service.authorization.enforcement.gate import Gate
from service.authorization.enforcement.policy_relations import POLICY_FACTS
from service.authorization.enforcement.relationships import Relationships
from service.database import Turns
from service.directory.access_request_store import ACCESS_REQUEST_FACTS
from service.directory.access_requests import AccessRequests
from service.directory.actions import Directory
from service.directory.delegations import DELEGATION_FACTS, Delegations
from service.directory.entities import GroupMember, Part, Project, ProjectLead
from service.directory.erasure import Erasure, Memory
from service.directory.fallbacks import Fallbacks
from service.directory.groups import Groups
from service.directory.holder_store import LEADS, MEMBERS
from service.directory.holders import Holders
from service.directory.imports import DirectoryImports
from service.directory.people import People
from service.directory.projects import Projects
from service.errors import PreconditionFailed
from service.identity.principal import Principal, PrincipalKind
from service.identity.subject_hashes import SubjectHashes
from service.log.log import Log
from service.log.packing import unpack
from service.log.record import read_body
from service.timesheets.actions import Timesheets
from service.timesheets.approvals import Approvals
from service.timesheets.entry import Hours
from service.timesheets.relations import TIMESHEET_FACTS
from service.timesheets.upload import Uploads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg

    from service.authorization.engine.engine import Snapshot
    from service.database import Database
    from service.policy.policy_file import PolicyText
    from service.timesheets.timesheet import Timesheet
    from tests.integration.log_database import LogDatabase

MONDAY = date(2026, 3, 2)
HASHES = SubjectHashes(["the erasure key of the tests, which is long enough"])
EIGHT_HOURS = Hours(MONDAY, "apollo", 480)
NAMES = ("ana", "ben", "carl", "mia", "max", "dora", "adam")
# The projects of hours in tests.
PROJECTS = ("apollo", "gemini", "zeus", "x", "ATLAS", "BOREALIS", "SITE", "p", "p" * 40)
ALL_SCOPES = frozenset(
    {"read:timesheets", "create:timesheets", "delete:timesheets", "approve:timesheets", "manage:directory"}
)


ISSUER = "https://issuer.example"


@dataclass(slots=True)
class House:
    """Timewarden without HTTP; `people` and `teams` by name."""

    log_database: LogDatabase
    requests: Database
    log: Log
    versions: PolicyVersions
    gate: Gate
    owner: asyncpg.Connection[asyncpg.Record]
    memory: DirectoryMemory
    relationships: Relationships
    people: dict[str, UUID] = field(default_factory=dict)
    teams: dict[str, UUID] = field(default_factory=dict)

    @property
    def timesheets(self) -> Timesheets:
        return Timesheets(self.gate)

    @property
    def uploads(self) -> Uploads:
        return Uploads(self.gate)

    @property
    def approvals(self) -> Approvals:
        return Approvals(self.gate)

    @property
    def directory(self) -> Directory:
        return Directory(self.gate, HASHES)

    @property
    def erasure(self) -> Erasure:
        return Erasure(self.gate, Memory(HASHES, days=400, lifetime=86_400, ahead=30))

    @property
    def known_people(self) -> People:
        return People(self.requests, self.log, HASHES)

    @property
    def delegations(self) -> Delegations:
        return Delegations(self.gate)

    @property
    def access_requests(self) -> AccessRequests:
        return AccessRequests(self.gate)

    @property
    def imports(self) -> DirectoryImports:
        return DirectoryImports(self.gate, HASHES)

    @property
    def fallbacks(self) -> Fallbacks:
        return Fallbacks(self.gate)

    @property
    def projects(self) -> Projects:
        return Projects(self.gate)

    @property
    def project_leads(self) -> Holders[ProjectLead]:
        return Holders(self.gate, LEADS)

    @property
    def groups(self) -> Groups:
        return Groups(self.gate)

    @property
    def members(self) -> Holders[GroupMember]:
        """The members of groups."""
        return Holders(self.gate, MEMBERS)

    def caller(self, name: str, *, scopes: frozenset[str] = ALL_SCOPES, roles: frozenset[str] = frozenset()) -> Caller:
        """A person of the organisation, who calls through an app."""
        found = self.people.get(name) or uuid4()
        return Caller(principal(PrincipalKind.USER, "hours-app", scopes, roles, found), "request-1", "POST", "/v1/test")

    def machine(
        self, client: str = "payroll-import", *, scopes: frozenset[str] = frozenset({"batch:upload"})
    ) -> Caller:
        """A client that acts for itself."""
        return Caller(
            principal(PrincipalKind.CLIENT, client, scopes, frozenset(), None), "request-2", "POST", "/v1/test"
        )

    def administrator(self) -> Caller:
        return self.caller("adam", roles=frozenset({"role:administrator"}))

    def manager(self, name: str) -> Caller:
        """A person whose token has the role of managers, who may read the directory as shipped."""
        return self.caller(name, roles=frozenset({"role:manager"}))

    async def read_last_record(self) -> tuple[str, str, bool | None, str | None]:
        """Action, outcome, applied and why not, of the newest record."""
        body: dict[str, Any] = read_body(
            await self.owner.fetchval("SELECT body FROM audit_record ORDER BY id DESC LIMIT 1")
        )
        return body["action"], body["outcome"], body["applied"], body["not_applied_because"]

    async def count_records_with(self, text: str) -> int:
        """How many records of the log hold the text."""
        rows = await self.owner.fetch("SELECT body FROM audit_record")
        return sum(text.encode() in unpack(row["body"]) for row in rows)

    async def link_people(self, issuer: str) -> None:
        """Make the names of all people their subjects at this issuer."""
        links = [(issuer, name, person) for name, person in self.people.items()]
        await self.owner.executemany("INSERT INTO person_link VALUES ($1, $2, $3)", links)

    async def submit_week(self, name: str, period_start: date = MONDAY) -> Timesheet:
        """Submit a sheet of this person, with eight hours on its first day."""
        caller = self.caller(name)
        sheet = (await self.timesheets.create(caller, period_start, "UTC")).value
        hours = Hours(period_start, EIGHT_HOURS.project, EIGHT_HOURS.minutes)
        edited = (await self.timesheets.add_entry(caller, sheet.id, at(1), hours)).value.sheet
        return (await self.timesheets.submit(caller, sheet.id, at(edited.version))).value

    async def count(self, what: str) -> int:
        """The rows of a table, or of a table with a condition."""
        found: int = await self.owner.fetchval(f"SELECT count(*) FROM {what}")
        return found


def principal(
    kind: PrincipalKind, client: str, scopes: frozenset[str], roles: frozenset[str], person: UUID | None
) -> Principal:
    return Principal(kind, ISSUER, "subject", client, scopes, roles, None, 0, 1, person=person)


def speaking(issuer: str, subject: str, client: str = "hours-app") -> Principal:
    """A person of whom only the token is known."""
    nothing: frozenset[str] = frozenset()
    return Principal(PrincipalKind.USER, issuer, subject, client, nothing, nothing, None, 0, 1)


async def check_in_process(text: PolicyText, number: int, beside: PolicyText | None = None) -> examination.PolicyReport:
    """Check a policy in this process, since a check worker takes longer to start than to work."""
    return examination.report(text, number, beside)


def at(version: int) -> Callable[..., None]:
    """If-Match with this version."""

    def check(found: int | None, _: UUID | None = None) -> None:
        if found != version:
            raise PreconditionFailed

    return check


def anything(_: int | None, __: UUID | None = None) -> None:
    """If-Match: *"""


def build_once(text: PolicyText, number: int) -> Snapshot:
    """As `examination.build`. Most tests decide under the shipped policy, which takes eight milliseconds to build."""
    key = (text.digest(), number)
    if key not in _snapshots:
        _snapshots[key] = examination.build(text, number)
    return _snapshots[key]


_snapshots: dict[tuple[str, int], Snapshot] = {}


@asynccontextmanager
async def rewriting_versions(house: House) -> AsyncIterator[None]:
    """Stored versions can be changed in the block, as only the owner of the database can."""
    async with house.owner.transaction():
        await house.owner.execute("ALTER TABLE policy_version DISABLE TRIGGER USER")
        yield
        await house.owner.execute("ALTER TABLE policy_version ENABLE TRIGGER USER")


async def alter_rules(house: House, number: int, added: str) -> None:
    """Add a row to a stored version."""
    async with rewriting_versions(house):
        await house.owner.execute("UPDATE policy_version SET rules = rules || $2 WHERE number = $1", number, added)


async def activate_unread(house: House, text: PolicyText) -> int:
    """Make a version active that nobody has proposed or checked, which only the database's owner can do."""
    made = await version_store.insert(house.owner, text, message="unread", author_person=None, author_client="owner")
    active = await house.owner.fetchval("SELECT active FROM policy_head")
    assert await version_store.move_head(house.owner, made.number, expected=active)
    return made.number


async def wire_house(log_database: LogDatabase) -> House:
    """Connect the parts as the composition root does, under the active policy."""
    requests = await log_database.open("app", size=6)
    log = Log(await log_database.open("app"))
    versions = PolicyVersions(await log_database.open("app", size=1), build_once)
    await versions.start()
    memory = DirectoryMemory()
    relationships = Relationships(
        [TIMESHEET_FACTS, POLICY_FACTS, DELEGATION_FACTS, ACCESS_REQUEST_FACTS], memory, requests
    )
    gate = Gate(
        requests,
        log,
        versions,
        relationships,
        turns=Turns(8, timeout=60, full="busy"),
    )
    return House(
        log_database, requests, log, versions, gate, await log_database.connect("owner"), memory, relationships
    )


async def add_organisation(house: House) -> House:
    """Add the organisation with the use cases of the directory."""
    people = People(house.requests, house.log)
    for name in NAMES:
        house.people[name] = await people.person_for(speaking("https://issuer.example", name))
    administrator = house.administrator()
    for code in PROJECTS:
        await house.projects.add(administrator, Project(code, f"Project {code}"))
    for name, parent in (("division", None), ("east", "division"), ("west", "division")):
        team = await house.directory.add_team(administrator, name, house.teams[parent] if parent else None)
        house.teams[name] = team.value.id
    for name, team_name, part in (
        ("dora", "division", Part.LEAD),
        ("mia", "east", Part.LEAD),
        ("max", "west", Part.LEAD),
        ("ana", "east", Part.MEMBER),
        ("ben", "east", Part.MEMBER),
        ("carl", "west", Part.MEMBER),
    ):
        await house.directory.add_membership(administrator, house.people[name], house.teams[team_name], part)
    await house.directory.grant_importer(administrator, "payroll-import", house.teams["west"])
    return house
