"""`timewarden health`: an exit code for containers and people, without curl."""

from __future__ import annotations

import asyncio
import sys
from typing import get_args

import httpx
import rich_click as click

from service import settings as configuration
from service.audit.keeper_status import SILENT_AFTER, Part, read_status
from service.database import Database


@click.command()
@click.option("--keeper", is_flag=True, help="Ask the database what the keeper last said, instead of the API.")
def health(*, keeper: bool) -> None:
    """Exit with 0 if the API (or the keeper) is ready, else with 1 and the reason."""
    settings = configuration.load()
    if keeper:
        settings.need("database_url")
    problem = asyncio.run(_keeper(settings)) if keeper else _api(settings)
    if problem:
        sys.exit(problem)
    print("ready")


def _api(settings: configuration.Settings) -> str | None:
    host = "127.0.0.1" if settings.host in {"0.0.0.0", ""} else settings.host  # noqa: S104 — only compared
    try:
        answer = httpx.get(f"http://{host}:{settings.port}/health/ready", timeout=4, trust_env=False)
    except httpx.HTTPError as error:
        return f"the API does not answer: {type(error).__name__}"
    return None if answer.status_code == 200 else answer.text  # noqa: PLR2004


async def _keeper(settings: configuration.Settings) -> str | None:
    database = Database(settings.database_url, size=1, timeout=4, name="health", enforced=False)
    await database.open()
    try:
        async with database.connection() as connection:
            statuses = {one.part: one for one in await read_status(connection)}
    finally:
        await database.close()
    for part in get_args(Part):
        one = statuses.get(part)
        if one is None or one.age > SILENT_AFTER:
            return f"the {part} has said nothing for more than {SILENT_AFTER:.0f} s"
        if not one.ready:
            return f"the {part} is not ready: {one.detail}"
    return None
