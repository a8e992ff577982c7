"""Projects, on which hours are spent: a list of codes that administrators maintain. All through the gate. Owns no
state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.directory import project_store
from service.directory.entities import Project, check_project
from service.directory.project_store import KIND
from service.directory.recorded_change import (
    DirectoryChange,
    DirectoryPage,
    described_attributes,
    listing,
    manage,
    single,
)
from service.directory.store import any_version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.authorization.enforcement.changes import Answer, Caller, Expect, Permit
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection
    from service.directory.declared_attributes import GivenAttributes


class Projects:
    """Every method raises Denied and TryLater; a change also InvalidField."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def add(self, caller: Caller, project: Project, attributes: GivenAttributes | None = None) -> Answer[Project]:
        """Create a project. Raises Conflict for a code that is taken."""
        check_project(project)

        async def work(permit: Permit, connection: Connection) -> tuple[Project, list[DirectoryChange]]:
            made = await project_store.add(permit, connection, project, attributes)
            names, values = described_attributes({}, made.attributes)
            facts, texts = {**describe_project(made), **names}, {"name": made.name, **values}
            return made, [DirectoryChange(made.code, "project.created", facts, texts)]

        return await manage(self._gate, caller, project.code, work)

    async def replace(
        self,
        caller: Caller,
        project: Project,
        expect: Expect = any_version,
        attributes: GivenAttributes | None = None,
        kept: Iterable[str] = (),
    ) -> Answer[Project]:
        """Change a project but for the fields that are `kept`. Given `attributes` replace the present ones. Raises
        NotFound, and NotApplied if `expect` refuses the stored version."""
        check_project(project)

        async def work(permit: Permit, connection: Connection) -> tuple[Project, list[DirectoryChange]]:
            before, after = await project_store.replace(permit, connection, project, expect, attributes, kept)
            names, values = described_attributes(before.attributes, after.attributes)
            facts, texts = {**describe_project(after), **names}, {"name": after.name, **values}
            return after, [DirectoryChange(project.code, "project.changed", facts, texts, describe_project(before))]

        return await manage(self._gate, caller, project.code, work)

    async def read(self, caller: Caller, code: str) -> Answer[Project]:
        """A project by its code. Raises NotFound."""
        return await single(self._gate, caller, project_store.load_project, code, kind=KIND)

    async def list(
        self, caller: Caller, *, active: bool | None = None, after: str | None = None, limit: int = 50
    ) -> Answer[DirectoryPage[Project]]:
        """Projects by code: all, or only active or closed ones."""
        return await listing(
            self._gate,
            caller,
            lambda visibility, connection: project_store.list_projects(
                visibility, connection, active=active, after=after, limit=limit
            ),
            limit,
            kind=KIND,
            key=lambda project: project.code,
            returned=False,
        )


def describe_project(project: Project) -> dict[str, object]:
    """A project for a record."""
    facts: dict[str, object] = {"code": project.code, "active": project.active}
    if project != Project(project.code, project.name, project.active, attributes=project.attributes):
        facts |= {"kind": project.kind, "billable": project.billable, "activities": list(project.activities)}
    return facts
