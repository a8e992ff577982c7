"""Projects: what hours are spent on. A small list of codes that administrators keep, each change through the gate.
Owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.directory import project_store
from service.directory.entities import Project, check_project
from service.directory.project_store import KIND
from service.directory.recorded_change import Listed, Told, listing, manage, single
from service.directory.store import anything

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Answer, Caller, Expect, Permit
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection


class Projects:
    """Every method raises Denied and TryLater; a change also InvalidField."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def add(self, caller: Caller, project: Project) -> Answer[Project]:
        """Make a project. Raises Conflict for a code that is taken."""
        check_project(project)

        async def work(permit: Permit, connection: Connection) -> tuple[Project, list[Told]]:
            await project_store.add(permit, connection, project)
            return project, [Told(project.code, "project.created", _facts(project), {"name": project.name})]

        return await manage(self._gate, caller, project.code, work)

    async def replace(self, caller: Caller, project: Project, expect: Expect = anything) -> Answer[Project]:
        """Call a project something else, end it, or take it up again. Raises NotFound, and NotApplied when it is not
        as the caller has seen it."""
        check_project(project)

        async def work(permit: Permit, connection: Connection) -> tuple[Project, list[Told]]:
            before, after = await project_store.replace(permit, connection, project, expect)
            told = Told(project.code, "project.changed", _facts(project), {"name": project.name}, _facts(before))
            return after, [told]

        return await manage(self._gate, caller, project.code, work)

    async def one(self, caller: Caller, code: str) -> Answer[Project]:
        """A project by its code. Raises NotFound."""

        async def load(visibility: Visibility, connection: Connection) -> Project | None:
            return await project_store.project(visibility, connection, code)

        return await single(self._gate, caller, KIND, load)

    async def list(
        self, caller: Caller, *, active: bool | None = None, after: str | None = None, limit: int = 50
    ) -> Answer[Listed[Project]]:
        """Projects by code, all or those that are (not) active."""
        return await listing(
            self._gate,
            caller,
            KIND,
            lambda visibility, connection: project_store.page(
                visibility, connection, active=active, after=after, limit=limit
            ),
            limit,
            lambda one: one.code,
            returned=False,
        )


def _facts(project: Project) -> dict[str, object]:
    return {"code": project.code, "active": project.active}
