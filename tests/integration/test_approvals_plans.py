"""The plans of approvals and reports: what does not wait, or is not of the days asked for, is not looked at."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from service.timesheets import approvals_store, reports_store
from service.timesheets.reports_store import Span
from tests.benchmarks.crowd import APPROVER, AUDITOR, MANAGER, OWNER, gather, sight
from tests.integration.test_list_plans import PAGE, Explaining

if TYPE_CHECKING:
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
PEOPLE, WEEKS = 1_000, 60
FOUR_EYES = """
[kinds.timesheet.approval]
complete = "size(resource.approvals) >= (resource.minutes >= 0 ? 2 : 1)"
"""


async def test_a_page_of_approvals_looks_at_what_waits_and_a_report_at_its_days(house: House) -> None:
    """A thousand sheets wait, and 59,000 do not; nobody has more than a thousand to look at, once or twice."""
    crowd = await gather(house.owner, people=PEOPLE, weeks=WEEKS)
    for who, asker in (await crowd.cast(house.owner)).items():
        approves = await sight(house.owner, asker, *APPROVER, action="approve")
        page = Explaining(house.owner)
        found = await approvals_store.list_pending(approves, page, after=None, limit=PAGE)  # type: ignore[arg-type]  # it only fetches
        assert "Seq Scan" not in page.scans, who
        assert page.rows <= 2 * PEOPLE + 2 * PAGE, (who, page.rows)
        assert len(found.items) == {"the lead of all": PAGE, "the lead of a team": 9}.get(who, len(found.items))
        reads = await sight(house.owner, asker, OWNER, MANAGER, AUDITOR)
        team = await house.owner.fetchval("SELECT id FROM team WHERE name = 'crowd 1'")
        for of_team in (None, team):
            report, week = Explaining(house.owner), Span(date(2026, 11, 23), date(2026, 11, 29), team=of_team)
            await reports_store.find_visible_sheets(reads, report, week, 10_001)  # type: ignore[arg-type]  # it only fetches
            assert "Seq Scan" not in report.scans, who
            assert report.rows <= 2 * PEOPLE, (who, report.rows)


async def test_a_page_passes_over_sheets_that_have_the_callers_approval(house: House) -> None:
    """The expression adds no scan: who gave an approval, and what else the page needs, stands in the rows."""
    crowd = await gather(house.owner, people=PEOPLE, weeks=2)
    asker = (await crowd.cast(house.owner))["the lead of all"]
    first = "SELECT id FROM timesheet WHERE state = 'submitted' ORDER BY submitted_at, id LIMIT 100"
    await house.owner.execute(
        "UPDATE timesheet SET earlier_approvals = jsonb_build_array(jsonb_build_object('person', $1::uuid, 'client',"
        f" NULL, 'at', submitted_at)) WHERE id IN ({first})",
        asker.person,
    )
    await house.owner.execute("ANALYZE timesheet")
    passed = {row["id"] for row in await house.owner.fetch(first)}
    for declared, approved in ((FOUR_EYES, 0), ("", PAGE)):
        approves = await sight(house.owner, asker, *APPROVER, action="approve", declared=declared)
        page = Explaining(house.owner)
        found = await approvals_store.list_pending(approves, page, after=None, limit=PAGE)  # type: ignore[arg-type]  # it only fetches
        assert "Seq Scan" not in page.scans
        assert page.rows <= 2 * PEOPLE + 2 * PAGE, page.rows
        assert len(found.items) == PAGE
        assert sum(sheet.id in passed for sheet, _ in found.items) == approved
        assert {sheet.approvals_needed for sheet, _ in found.items} == {2 if declared else 1}
