"""The result of one fact lookup, and how it is read from a row of a statement. Pure.

`relationships` sends the statements, and `fact_statements` has their SQL.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from service.authorization.enforcement.attribute_values import OWNER_ID, CallerAttributes, read_columns
from service.authorization.enforcement.claimed_attributes import put_over
from service.authorization.enforcement.directory_memory import NEVER
from service.errors import PolicyUnavailable
from service.policy.known_words import FACTS_ABOUT_PEOPLE
from service.policy.matching import FORMER, former_word
from service.values import Struct, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.fact_statements import KindFacts
    from service.identity.principal import Principal
    from service.policy.attributes import Value


class About(StrEnum):
    """What a request is about: the KIND as a whole, an existing ROW, a NEW row of an owner (which may exist already),
    or a LIST of rows."""

    KIND = "kind"
    ROW = "row"
    NEW = "new"
    LIST = "list"


class FactLookup(Struct, frozen=True):
    """The result of one lookup.

    - `version`, `directory_revision`, `at`: the active policy version, the directory's revision, and the time.
    - `roles`, `ids`, `former_ids`: the caller's roles in the directory, all their ids, those from before an erasure.
    - `row`, `relations`, `facts`: the row, if any, the relations that hold, and the facts of the row. A relation that
      holds through a former id stands there as its `former_word`.
    - `evaluated`: the relations that were looked up. `looked`: whether a row was looked up; none is without a fitting
      scope. `about`: what the request is about.
    - `revoked`: whether the token is revoked. `on_behalf_of`: the delegator for whom the caller would act.
    - `directory_state`: which directory it is, by an id that no restore brings back.
    - `unchanged_until`: the next moment at which a validity in the directory begins or ends.
    - `attributes`, `caller`: the attributes of the resource, and those of the caller that the directory holds or that a
      claim supplies, by their dotted names. A missing value is not there.
    - `personal`: those of them that are personal data.
    """

    version: int
    directory_revision: int
    at: datetime
    roles: frozenset[str]
    row: asyncpg.Record | None = None
    relations: frozenset[str] = frozenset()
    facts: Mapping[str, bool | None] = msgspec.field(default_factory=dict)
    evaluated: frozenset[str] = frozenset()
    revoked: bool = False
    about: About = About.KIND
    looked: bool = True
    on_behalf_of: UUID | None = None
    ids: frozenset[UUID] = frozenset()
    former_ids: frozenset[UUID] = frozenset()
    directory_state: UUID | None = None
    unchanged_until: datetime | None = None
    attributes: Mapping[str, Value] = msgspec.field(default_factory=dict)
    caller: Mapping[str, Value] = msgspec.field(default_factory=dict)
    personal: frozenset[str] = frozenset()

    def complete(self, facts: KindFacts, about: About, *, looked: bool) -> FactLookup:
        """The lookup with what a record needs for its request to be evaluated again. If a row was looked up and is
        missing, no relation holds and every fact is unknown."""
        lookup = self
        if looked and not self.evaluated:
            unknown = dict.fromkeys(facts.facts)
            lookup = replace(self, evaluated=frozenset(facts.relations), facts={**unknown, **self.facts})
        if facts.personal:
            lookup = replace(lookup, personal=facts.personal)
        return (
            lookup if (lookup.about, lookup.looked) == (about, looked) else replace(lookup, about=about, looked=looked)
        )

    def list_of_caller(self, name: str) -> list[str]:
        """A list that the directory holds of the caller, such as `principal.groups`."""
        value = self.caller.get(name, ())
        return [str(item) for item in value] if isinstance(value, tuple) else []

    @property
    def same_human(self) -> frozenset[UUID]:
        """Every id of the caller, former ones included: laws and denials hold for all of them."""
        return self.ids | self.former_ids


def parse_lookup(
    principal: Principal, row: asyncpg.Record | None, facts: KindFacts, claimed: Mapping[str, Value]
) -> FactLookup:
    """The lookup without a row."""
    if row is None:
        raise PolicyUnavailable(
            "No policy was ever activated: run `timewarden policy bootstrap` as the owner", cause="no policy_head"
        )
    return FactLookup(
        row["lookup_version"],
        row["lookup_revision"],
        row["lookup_at"],
        frozenset(row["lookup_roles"]),
        revoked=row["lookup_revoked"] is not False,
        ids=frozenset(person for person in row["lookup_ids"] if person is not None),
        former_ids=frozenset(row["lookup_former_ids"]),
        directory_state=row["lookup_state"],
        unchanged_until=row["lookup_until"] or NEVER,
        caller=put_over(caller_attributes_of(principal, row).values(facts.caller), claimed),
    )


def look_at_row(ambient: FactLookup, row: asyncpg.Record, facts: KindFacts, owner: UUID | None) -> FactLookup:
    """The lookup of a row, with its attributes; the owner's canonical id is one of them only if it is another id."""
    attributes = read_columns(row, facts.attributes)
    if attributes.get(OWNER_ID) == str(owner):
        del attributes[OWNER_ID]
    return replace(look_at_listed_row(ambient, row, facts), attributes=attributes)


def look_at_listed_row(ambient: FactLookup, row: asyncpg.Record, facts: KindFacts) -> FactLookup:
    """The lookup of a row that a list read with `fact_columns`, in the database snapshot of `ambient`."""
    relations = relation_words(facts.relations, row, "relation")
    values = {name: row[f"fact_{name}"] for name in facts.facts}
    on_behalf_of = row["on_behalf_of"] if facts.on_behalf_of else None
    return replace(
        ambient,
        row=row,
        relations=relations,
        facts=values,
        evaluated=frozenset(facts.relations),
        on_behalf_of=on_behalf_of,
    )


def relation_words(relations: Iterable[str], row: asyncpg.Record, prefix: str) -> frozenset[str]:
    """The relations that hold, from columns named `prefix_RELATION`; NULL gives the former word."""
    values = {name: row[f"{prefix}_{name}"] for name in relations}
    return frozenset(name if value else former_word(name) for name, value in values.items() if value is not False)


def caller_attributes_of(principal: Principal, row: asyncpg.Record) -> CallerAttributes:
    # The first of all ids is the canonical one.
    canonical = row["lookup_ids"][0]
    return CallerAttributes.parse(row["lookup_caller"], None if canonical == principal.person else canonical)


def without_former_ids(lookup: FactLookup) -> FactLookup:
    """The lookup as if nobody had been erased: a simulation must not tell who a person was before."""
    return replace(
        lookup,
        relations=frozenset(word for word in lookup.relations if not word.startswith(FORMER)),
        facts={
            name: bool(value) if name in FACTS_ABOUT_PEOPLE and lookup.row is not None else value
            for name, value in lookup.facts.items()
        },
        former_ids=frozenset(),
    )
