"""A policy version whose vocabulary declares attributes of people, teams and projects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.house import activate_unread
from tests.policy_forge import with_more

if TYPE_CHECKING:
    from tests.integration.house import House

DECLARED = """
[directory.people]
country = "string"
level = { type = "int", personal = true }
external = "bool"
hired = { type = "timestamp", personal = true }
sites = "list<string>"

[directory.teams]
region = "string"

[directory.projects]
customer = "string"
budget = "int"
"""


async def declare(house: House, declared: str = DECLARED, rules: str = "") -> None:
    """Make a version with this part of the vocabulary, and these rules besides the shipped ones, the active one."""
    await activate_unread(house, with_more(rules, declared))
