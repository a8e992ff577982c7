"""`timewarden health`: an exit code for containers and people, without curl."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import httpx2
import rich_click as click

from service import settings as configuration
from service.commands.groups import ERROR, as_json
from service.database import Database
from service.log.keeper_status import PARTS, read_reports, read_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.log.keeper_status import KeeperReport


@click.command()
@click.option("--keeper", is_flag=True, help="Check the keeper, as the database knows it, instead of the API.")
@click.option("--here", is_flag=True, help="With --keeper: check only the keeper process of this host.")
@as_json
def health(*, keeper: bool, here: bool, as_json: bool) -> None:
    """Exit with 0 if the API (or the keeper) is ready, with 1 and the reason if not, with 2 if it could not be reached.

    The keeper is ready when each part's work is done by some process: records are sealed, signed and published.
    """
    if (here or as_json) and not keeper:
        raise click.UsageError("--here and --json require --keeper")
    settings = configuration.load()
    if keeper:
        settings.need("database_url")
        told = asyncio.run(_keeper(settings, host=socket.gethostname() if here else None))
        if as_json:
            print(json.dumps(told, indent=2))
            sys.exit(0 if told["ready"] else 1)
        problem = "\n".join(told["problems"])
    else:
        problem = _api(settings) or ""
    if problem:
        sys.exit(problem)
    print("ready")


def _api(settings: configuration.Settings) -> str | None:
    host, port = settings.management()
    # A server that listens on every address is asked on loopback.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 — only compared
    named = f"[{host}]" if ":" in host else host
    try:
        answer = httpx2.get(f"http://{named}:{port}/health/ready", timeout=4, trust_env=False)
        _ = answer.json()["workers"]
    except (httpx2.HTTPError, ValueError, TypeError, KeyError) as error:
        what = type(error).__name__ if isinstance(error, httpx2.HTTPError) else "another program does"
        click.echo(
            f"`timewarden serve` does not answer on {settings.management_address}: {what}; check that it runs, and"
            " TIMEWARDEN_MANAGEMENT_ADDRESS",
            err=True,
        )
        sys.exit(ERROR)
    return None if answer.status_code == 200 else answer.text  # noqa: PLR2004


async def _keeper(settings: configuration.Settings, host: str | None) -> dict[str, Any]:
    """How the parts do and what each process says, or, for a host, what its own process says."""
    database = Database(settings.database_url, size=1, timeout=4, name="health", enforced=False)
    await database.open()
    try:
        async with database.connection() as connection:
            statuses = await read_status(connection)
            reports = [
                read_report
                for read_report in await read_reports(connection)
                if host in {None, read_report.process.host}
            ]
    finally:
        await database.close()
    if host is None:
        missing = set(PARTS) - {status.part for status in statuses}
        problems = [
            f"the {part} is not ready: no keeper of this release reported within a day"
            for part in PARTS
            if part in missing
        ]
        problems += [f"the {status.part} is not ready: {status.detail}" for status in statuses if not status.ready]
    else:
        problems = _problems_here(reports)
    return {
        "ready": not problems,
        "problems": problems,
        "parts": [asdict(status) for status in statuses],
        "processes": [
            {
                "process": str(report.process.id),
                "host": report.process.host,
                "pid": report.process.pid,
                "part": report.part,
                "ready": report.ready and not report.silent,
                "detail": report.detail,
                "silent_seconds": round(report.age, 1),
            }
            for report in reports
        ],
    }


def _problems_here(reports: Sequence[KeeperReport]) -> list[str]:
    """Of the process that spoke last here: those before it have ended."""
    if not reports:
        return ["no keeper ran here within a day"]
    newest = [report for report in reports if report.process == reports[0].process]
    told = {report.part: report for report in newest}
    problems = [f"{newest[0].process} has never reported its {part}" for part in PARTS if part not in told]
    for part, report in told.items():
        if report.silent:
            problems.append(f"{report.process} {report.silence}: its {part}")
        elif not report.ready:
            problems.append(f"{report.process}: its {part} is not ready: {report.detail}")
    return problems
