"""`make golden`: writes every golden file anew from what the code does now. Review the difference like code."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from service.development.local_servers import start_postgres
from service.development.stores import prepare
from service.migrations import migrate
from tests.golden import (
    attribute_table,
    event_files,
    openapi_files,
    performance_page,
    pictures,
    policy_schemas,
    timesheet_page,
)
from tests.golden.problems import problems
from tests.golden.schema import schema_of
from tests.golden.stored import store


def main() -> None:
    """Write them all."""
    for name, text in openapi_files.files().items():
        store(f"openapi/{name}", text)
    store("problems.json", problems())
    for name, text in event_files.files().items():
        store(f"events/{name}", text)
    for shown in performance_page.PAGES:
        shown.write_text(performance_page.rewrite_figures(shown.read_text(encoding="utf-8")), encoding="utf-8")
    page = timesheet_page.PAGE.read_text(encoding="utf-8")
    timesheet_page.PAGE.write_text(timesheet_page.rewrite_tables(page), encoding="utf-8")
    language = attribute_table.PAGE.read_text(encoding="utf-8")
    attribute_table.PAGE.write_text(attribute_table.rewrite_table(language), encoding="utf-8")
    for name, text in policy_schemas.files().items():
        (policy_schemas.FOLDER / name).write_text(text, encoding="utf-8")
    for name, text in pictures.draw_all().items():
        (pictures.FOLDER / name).write_text(text, encoding="utf-8")
    with (
        tempfile.TemporaryDirectory() as folder,
        start_postgres(Path(folder), preferred_port=0, durable=False) as server,
    ):
        owner_url = prepare(Path(folder), server.superuser_url)[0]
        store("schema.txt", asyncio.run(_schema(owner_url)))
    print("The golden files are written; `git diff tests/golden` shows what changed.")


async def _schema(owner_url: str) -> str:
    await migrate(owner_url)
    return await schema_of(owner_url)


if __name__ == "__main__":
    main()
