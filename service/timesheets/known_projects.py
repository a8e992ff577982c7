"""The terms of projects for hours on them. Postgres owns projects; a process remembers those that it has read.

They hold for one state of the directory, which every change of a project renews (migration 0047). Every change of a
timesheet reads that state with its facts, so the terms are those of that moment (docs/decisions/0035). Bounded, and
lost with the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.timesheets.entry import ProjectTerms
from service.timesheets.relations import KIND

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Permit
    from service.database import Connection

# About 500 bytes each, and the names of activities.
MAX_PROJECTS: Final = 10_000


class KnownProjects:
    """The projects that were read in a state of the directory."""

    def __init__(self) -> None:
        self._state: UUID | None = None
        self._terms: dict[str, ProjectTerms] = {}

    def __len__(self) -> int:
        return len(self._terms)

    async def load(self, permit: Permit, connection: Connection, codes: Collection[str]) -> dict[str, ProjectTerms]:
        """The terms of the projects with these codes, also of those that do not exist."""
        permit.covers(KIND, "create", "edit", "upload")
        state = permit.decision.request.lookup.directory_state
        if state is not None and state == self._state and all(code in self._terms for code in codes):
            return {code: self._terms[code] for code in codes}
        # These projects, and those that differ only in case, by the index on the lower-case code.
        rows = await connection.fetch(
            "SELECT code, active, kind = 'absence' AS absence, billable, activities,"
            " (SELECT state FROM directory_revision) AS state FROM project WHERE lower(code) = ANY($1)",
            [code.lower() for code in codes],
        )
        known = {row["code"]: _terms_of(row) for row in rows}
        if rows:
            self._remember(rows[0]["state"], known)
        suggestions = {row["code"].lower(): row["code"] for row in rows}

        def describe_missing(code: str) -> ProjectTerms:
            suggestion = suggestions.get(code.lower())
            return ProjectTerms(f"is not the code of a project{f'; {suggestion} is' if suggestion is not None else ''}")

        return {code: known.get(code) or describe_missing(code) for code in codes}

    def _remember(self, state: UUID, terms: dict[str, ProjectTerms]) -> None:
        if state != self._state or len(self._terms) + len(terms) > MAX_PROJECTS:
            self._state, self._terms = state, {}
        if len(terms) <= MAX_PROJECTS:
            self._terms |= terms


def _terms_of(row: asyncpg.Record) -> ProjectTerms:
    closed = None if row["active"] else "is the code of a project that accepts no more hours"
    return ProjectTerms(closed, row["absence"], row["billable"], frozenset(row["activities"]))
