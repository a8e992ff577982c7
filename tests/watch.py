"""A real Prometheus with our rules over a service that is hurt, and the transcript of what its operator sees.

The transcripts are sections of docs/runbook/transcript.md. A test plays each anew and compares: times, ports, other
numbers and causes may differ. REWRITE_TRANSCRIPTS=1 writes them into the page instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml

from tests.integration.served import NO_TLS
from tests.ports import unused_port
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "examples" / "monitoring"
PAGE = ROOT / "docs" / "runbook" / "transcript.md"
PATIENCE_SECONDS = 150
# The lines around a table, whose cells are as wide as their texts.
FRAMES = str.maketrans(dict.fromkeys("─━│┃┏┓┗┛┡┩└┘┳┻╇┴╈", " "))
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed (Debian: apt-get install prometheus)"
)


@dataclass(slots=True)
class Watch:
    """A running Prometheus, and the lines of the transcript."""

    url: str
    began: float
    lines: list[str] = field(default_factory=list)

    async def ask(self, path: str, **parameters: str) -> Any:
        async with httpx2.AsyncClient(timeout=5.0, trust_env=False, verify=NO_TLS) as http:
            answer = await http.get(f"{self.url}/api/v1/{path}", params=parameters)
        return answer.json()["data"]

    async def firing(self) -> dict[str, str]:
        """The alerts that fire now, with their sentences."""
        return {
            alert["labels"]["alertname"]: alert["annotations"]["summary"]
            for alert in (await self.ask("alerts"))["alerts"]
            if alert["state"] == "firing"
        }

    async def wait_for(self, *names: str) -> None:
        """Wait until all these alerts fire; show them."""
        seen: dict[str, str] = {}

        async def all_fired() -> bool:
            seen.update(await self.firing())
            return set(names) <= seen.keys()

        await until(all_fired, PATIENCE_SECONDS)
        for name in names:
            self.say(f"alert: {name}: {seen[name]}")

    async def wait_for_none(self) -> None:
        """Wait until no alert fires."""

        async def none_fires() -> bool:
            # It may still be starting, or have scraped nothing yet.
            with contextlib.suppress(httpx2.ConnectError, ValueError):
                return (await self.ask("query", query="up"))["result"] != [] and not await self.firing()
            return False

        await until(none_fires, PATIENCE_SECONDS)
        self.say("alert: none")

    async def show(self, query: str, wanted: float) -> None:
        """Wait until the query of a metric has this value; show it."""

        async def value() -> bool:
            found = (await self.ask("query", query=query))["result"]
            return bool(found) and float(found[0]["value"][1]) == wanted

        await until(value, PATIENCE_SECONDS)
        self.say(f"metric: {query} = {wanted:g}")

    def show_log(self, log: Path, **members: str) -> None:
        """Show the last log line with these members, which must be there: they, and its cause."""
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("{")]
        found = [line for line in map(json.loads, lines) if members.items() <= line.items()]
        assert found, f"no line with {members}"
        shown = {name: found[-1][name] for name in (*members, "cause", "failure") if name in found[-1]}
        self.say(f"log: {json.dumps(shown)}")

    def say(self, sentence: str) -> None:
        line = f"{time.monotonic() - self.began:6.1f} s  {sentence}"
        print(line)
        self.lines.append(line)


@contextlib.asynccontextmanager
async def prometheus(folder: Path, targets: Mapping[str, list[str]], minute: float = 3.0) -> AsyncIterator[Watch]:
    """Prometheus with the example's configuration. `targets`: the addresses of each job. `minute`: how many seconds a
    minute of the rules has."""
    configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = dict.fromkeys(configuration["global"], "1s")
    for job in configuration["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    rules = re.sub(
        r"(\[|for: )(\d+)m",
        lambda found: f"{found[1]}{int(found[2]) * minute:.0f}s",
        (FOLDER / "timewarden.rules.yml").read_text(encoding="utf-8"),
    )
    (folder / "timewarden.rules.yml").write_text(rules, encoding="utf-8")
    port = unused_port()
    process = await asyncio.create_subprocess_exec(
        *("prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"),
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Watch(f"http://127.0.0.1:{port}", time.monotonic())
    finally:
        process.terminate()
        await process.wait()


def compare_with_page(heading: str, lines: Sequence[str]) -> None:
    """The section of the page must say what was seen."""
    page = PAGE.read_text(encoding="utf-8")
    [before, shown, after] = re.split(
        rf"(?<=\n## {re.escape(heading)}\n)(.*?)(?=\n## |\Z)", page, maxsplit=1, flags=re.DOTALL
    )
    seen = "\n".join(lines)
    if os.environ.get("REWRITE_TRANSCRIPTS"):
        block = re.sub(r"```\n.*?```", lambda _: f"```\n{seen}\n```", shown, count=1, flags=re.DOTALL)
        PAGE.write_text(before + block + after, encoding="utf-8")
        return
    [printed] = re.findall(r"```\n(.*?)\n```", shown, re.DOTALL)
    assert [without_numbers(line) for line in printed.splitlines()] == [without_numbers(line) for line in lines]


def without_numbers(line: str) -> str:
    """A line without its time, and without what differs from run to run."""
    line = re.sub(r'("cause": )"[^"]*"', r"\1...", re.sub(r"^ *[\d.]+ s  ", "", line))
    return " ".join(re.sub(r"[+-]?\d+(\.\d+)?", "N", line).translate(FRAMES).split())
