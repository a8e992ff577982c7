"""The plans of lists for leads of projects. A page reads few rows, whether a project is in all weeks, in a few or in
the oldest ones; a caller who leads no project reads no more than without such a rule."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from service.timesheets import approvals_store, listing, reports_store
from service.timesheets.listing import Filters
from service.timesheets.reports_store import Span
from tests.benchmarks.crowd import APPROVER, LEAD, LEAD_APPROVER, MANAGER, OWNER, PROJECT_LEAD, gather, sight
from tests.integration.test_list_plans import PAGE, Explaining

if TYPE_CHECKING:
    from service.identity.principal import Principal
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
PEOPLE, WEEKS = 1_000, 60


async def first_page(house: House, asker: Principal, *rules: str) -> tuple[Explaining, int]:
    explaining = Explaining(house.owner)
    shown = await sight(house.owner, asker, *rules, declared=PROJECT_LEAD)
    page = await listing.page(shown, explaining, Filters(), after=None, limit=PAGE)  # type: ignore[arg-type]  # it only fetches
    return explaining, len(page.items)


async def test_a_page_of_a_lead_reads_few_rows_of_any_project(house: House) -> None:
    crowd = await gather(house.owner, people=PEOPLE, weeks=WEEKS)
    leads = await crowd.lead_projects(house.owner)
    second = {"the lead of all": PAGE, "the lead of few": PAGE, "the lead of closed": PAGE, "the lead of rare": 0}
    for who, asker in leads.items():
        shown = await sight(house.owner, asker, LEAD, declared=PROJECT_LEAD)
        after = None
        for expected in (second[who] or 3, second[who]):
            cost = Explaining(house.owner)
            page = await listing.page(shown, cost, Filters(), after=after, limit=PAGE)  # type: ignore[arg-type]  # it only fetches
            assert "Seq Scan" not in cost.scans, who
            # A week of everybody at most, looked at twice.
            assert cost.rows <= 3 * PEOPLE, (who, cost.rows)
            assert cost.blocks <= 20 * PEOPLE, (who, cost.blocks)
            assert len(page.items) == expected, (who, len(page.items))
            after = page.after
            if after is None:
                break
    for who, asker in (await crowd.cast(house.owner)).items():
        first, found = await first_page(house, asker, OWNER, MANAGER, LEAD)
        without, before = await first_page(house, asker, OWNER, MANAGER)
        assert found == before, who
        assert first.rows <= without.rows + 2 * PAGE, (who, first.rows, without.rows)
        assert first.blocks <= without.blocks * 1.3 + 400, (who, first.blocks, without.blocks)


async def test_approvals_and_reports_of_a_lead_read_what_waits_and_their_days(house: House) -> None:
    crowd = await gather(house.owner, people=PEOPLE, weeks=WEEKS)
    waiting = {"the lead of all": PAGE, "the lead of few": 10, "the lead of closed": 0, "the lead of rare": 0}
    for who, asker in (await crowd.lead_projects(house.owner)).items():
        approves = await sight(house.owner, asker, *APPROVER, LEAD_APPROVER, action="approve", declared=PROJECT_LEAD)
        cost = Explaining(house.owner)
        found = await approvals_store.list_pending(approves, cost, after=None, limit=PAGE)  # type: ignore[arg-type]  # it only fetches
        assert "Seq Scan" not in cost.scans, who
        assert cost.rows <= 2 * PEOPLE + 2 * PAGE, (who, cost.rows)
        assert len(found.items) == waiting[who], (who, len(found.items))
        reads = await sight(house.owner, asker, OWNER, MANAGER, LEAD, declared=PROJECT_LEAD)
        report, week = Explaining(house.owner), Span(date(2026, 11, 23), date(2026, 11, 29))
        await reports_store.find_visible_sheets(reads, report, week, 10_001)  # type: ignore[arg-type]  # it only fetches
        assert "Seq Scan" not in report.scans, who
        # The week before has a day within six.
        assert report.rows <= 3 * PEOPLE, (who, report.rows)
