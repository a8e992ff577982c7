"""The tables of grants, which hold for a time: memberships, roles, places in groups, leads of projects, importer
grants, fallback approvers and delegations. Single changes, imports and merges use the same description. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from service.directory.entities import (
    Delegation,
    Fallback,
    GroupMember,
    ImporterGrant,
    Membership,
    Part,
    ProjectLead,
    Validity,
)
from service.directory.recorded_change import DirectoryChange, times
from service.directory.store import KIND, MANAGE, VALID, validity_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    import asyncpg


class HeldForTime(Protocol):
    """A grant: what holds for a time, with an id."""

    @property
    def id(self) -> UUID: ...
    @property
    def validity(self) -> Validity: ...


G = TypeVar("G", bound=HeldForTime)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantTable:
    """A table of grants. `columns` are its own, each with its name in grants and records. Records say how a grant
    `began` and `ended`. The two actions on resources of the kind permit these changes."""

    table: str
    columns: Mapping[str, str]
    began: str
    ended: str
    kind: str = KIND
    begin_action: str = MANAGE
    end_action: str = MANAGE

    def describe(self, columns: Mapping[str, object] | asyncpg.Record, validity: Validity) -> dict[str, object]:
        """A grant with these values of the table's own columns, for a record."""
        return {word: columns[column] for column, word in self.columns.items()} | times(validity)

    def row_change(
        self,
        event: str,
        columns: Mapping[str, object] | asyncpg.Record,
        row_id: UUID,
        now: Validity,
        *,
        before: Validity | None = None,
    ) -> DirectoryChange:
        """The change of a row with these values of the table's own columns, for the log."""
        subject = columns["person_id"] if self.table == "person_role" else row_id
        was = {} if before is None else self.describe(columns, before)
        return DirectoryChange(str(subject), event, self.describe(columns, now), before=was, kind=self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants(GrantTable, Generic[G]):
    """A table of grants that can be changed one by one. `make` builds a grant of its id, the values of the columns, and
    its validity. `overlap` is a sentence for callers."""

    make: Callable[..., G]
    overlap: str

    @property
    def all_columns(self) -> str:
        """The columns that `read` takes."""
        return f"id, {', '.join(self.columns)}, {VALID}"

    def read(self, row: asyncpg.Record) -> G:
        """The grant in a row."""
        return self.make(row["id"], *(row[column] for column in self.columns), validity_of(row))

    def values(self, grant: G) -> dict[str, Any]:
        """The values of the table's own columns."""
        return {column: getattr(grant, word) for column, word in self.columns.items()}

    def begin_change(self, grant: G) -> DirectoryChange:
        """The change that a new grant is, for the log."""
        return DirectoryChange(str(grant.id), self.began, self._facts(grant))

    def end_change(self, before: G, after: G) -> DirectoryChange:
        """The change that the end of a grant is, for the log."""
        return DirectoryChange(str(after.id), self.ended, self._facts(after), before=self._facts(before))

    def _facts(self, grant: G) -> dict[str, object]:
        return self.describe(self.values(grant), grant.validity)


MEMBERSHIPS: Final = Grants(
    table="membership",
    columns={"person_id": "person", "team_id": "team", "part": "part"},
    make=lambda key, person, team, part, validity: Membership(key, person, team, Part(part), validity),
    began="membership.created",
    ended="membership.ended",
    overlap="The person already has that part in that team at some of that time",
)
ROLES: Final = GrantTable(
    table="person_role", columns={"person_id": "person", "role": "role"}, began="role.given", ended="role.taken"
)
GROUP_MEMBERS: Final = Grants(
    table="group_member",
    columns={"group_name": "group", "person_id": "person"},
    make=GroupMember,
    began="group.joined",
    ended="group.left",
    overlap="The person is already in that group at some of that time",
)
PROJECT_LEADS: Final = Grants(
    table="project_lead",
    columns={"project": "project", "person_id": "person"},
    make=ProjectLead,
    began="project-lead.named",
    ended="project-lead.ended",
    overlap="The person already leads that project at some of that time",
)
IMPORTER_GRANTS: Final = Grants(
    table="importer_grant",
    columns={"client_id": "client", "team_id": "team"},
    make=ImporterGrant,
    began="importer.granted",
    ended="importer.ended",
    overlap="This client may already import for that team at some of that time",
)
FALLBACKS: Final = Grants(
    table="fallback_approver",
    columns={"person_id": "person", "team_id": "team"},
    make=Fallback,
    began="fallback.named",
    ended="fallback.ended",
    overlap="This person is already a fallback approver there at some of that time",
)
DELEGATIONS: Final = Grants(
    table="delegation",
    columns={"delegator_id": "delegator", "delegate_id": "delegate"},
    make=Delegation,
    began="delegation.granted",
    ended="delegation.ended",
    kind="delegation",
    begin_action="grant",
    end_action="end",
    overlap="The same delegation holds already at some of that time",
)
GRANTS_OF_PEOPLE: Final[tuple[GrantTable, ...]] = (
    MEMBERSHIPS,
    ROLES,
    GROUP_MEMBERS,
    PROJECT_LEADS,
    FALLBACKS,
    DELEGATIONS,
)
