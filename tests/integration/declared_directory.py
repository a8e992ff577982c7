"""A policy version whose vocabulary declares attributes of people, teams and projects."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.administration.versions import version_store
from tests.policy_forge import read_shipped

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
    shipped = read_shipped()
    text = replace(shipped, vocabulary=shipped.vocabulary + declared, rules=shipped.rules + rules, cases={})
    number = (await version_store.insert(house.owner, text, message="m", author_person=None, author_client="c")).number
    assert await version_store.move_head(house.owner, number, expected=number - 1)
