"""The panel that `timewarden up` prints: addresses, accounts, and commands to paste. Owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from service.development.people import PEOPLE

if TYPE_CHECKING:
    from pathlib import Path


def print_panel(api: str, pages: str, issuer: str, state: Path, version: int, *, differs: bool) -> None:
    """Print the panel. `pages`: the address of the console, or empty; `version`: the active policy version; `differs`:
    whether the files in policies/ differ from it. The commands are printed outside the frame, so that they can be
    pasted."""
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("API", api, f"documentation: {api}/docs")
    if pages:
        table.add_row("console", pages, "pages for employees, managers, auditors ...")
    table.add_row("sign-in", issuer, f"passwords are LOGIN-demo; tokens and keys: {issuer}/demo")
    files = "policies/ differs: timewarden policy diff --as paula" if differs else "the same as policies/"
    table.add_row("policy", f"version {version} decides", files)
    table.add_row("data, logs", str(state), "")
    console.print(Panel.fit(table, title="Timewarden runs (Ctrl-C stops it)"))
    people = Table("login", "name", "role", box=None, pad_edge=False)
    for person in PEOPLE.values():
        people.add_row(person.login, person.name, ", ".join(person.roles))
    console.print(people)
    print("\nIn another terminal:\n")
    if getproxies().get("http") and not proxy_bypass("127.0.0.1"):
        print("export no_proxy=127.0.0.1,$no_proxy")
    print("TOKEN=$(.venv/bin/timewarden token get ana)")
    print(f'curl -s -H "Authorization: Bearer $TOKEN" {api}/v1/me')
    print(f'curl -s -H "Authorization: Bearer $TOKEN" {api}/v1/decisions')
    print("\nThe last one is refused: ana's token lacks the scope read:audit, and the answer says so.", flush=True)
