"""Facts (PIP): what the asker is to a resource, read from Postgres in one statement with the active policy version.

Floor 5 says what is true of its rows in SQL; this module only puts the expressions together. Owns no state: facts are
read anew for every decision, after any lock was won, and never cached.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from service.authorization.enforcement import merged_people
from service.errors import PolicyUnavailable
from service.identity import revocation
from service.identity.principal import Principal, PrincipalKind
from service.policy.matching import CLIENT, FORMER, VIA, former_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection

# The directory's roles that hold now, every id that the asker has, those from before an erasure, the policy that is
# active now, the moment itself, and whether the token was revoked. The token's own parameters start at $4.
AMBIENT = f"""
    head.active AS lookup_version,
    directory.revision AS lookup_revision,
    statement_timestamp() AS lookup_at,
    ARRAY(SELECT role FROM person_role
          WHERE person_id = {merged_people.survivor("$1::uuid")}
              AND valid_from <= statement_timestamp() AND statement_timestamp() < valid_to) AS lookup_roles,
    {merged_people.ids("$1::uuid")} AS lookup_ids,
    {merged_people.former_ids("$1::uuid")} AS lookup_former_ids,
    {revocation.revocation_condition(people=merged_people.ids("$1::uuid"), first=4)} AS lookup_revoked
"""
# The client that acts for itself, NULL for a person.
_ITSELF = f"(CASE WHEN starts_with($2::text, '{CLIENT}') THEN substr($2::text, {len(CLIENT) + 1}) END)"
AMBIENT_FROM = "policy_head AS head CROSS JOIN directory_revision AS directory"


@dataclass(frozen=True, slots=True, eq=False)
class KindFacts:
    """What floor 5 supplies for one kind of resource. One is like no other: what is compiled from it is kept beside it.

    `row`: SELECT columns of the row `r`, among them id, owner_id, state and version. `table`: where rows live, the name
    of a table or a SELECT in parentheses; its `id` is a UUID, or the integer that is a policy version's number.
    `imagined`: a SELECT that makes the row a resource would start as, its owner being $3, in `imagined_state`.
    `relations` and `facts`: one SQL expression each about `r`, `:person` (NULL for a client acting for itself),
    `:client` (NULL for a person) and `:app`, the client that acts for itself or for the person. They are true, false,
    or NULL for what holds through an id from before an erasure: that fulfils every deny and no allow. `reaches`: for a
    relation, a SELECT of every owner_id that it can hold for, and perhaps of others: lists start from it.
    `on_behalf_of`: the delegator for whom a `delegate` of the row acts, or NULL. Kinds without rows give none of these.
    """

    kind: str
    row: str = ""
    table: str = ""
    imagined: str = ""
    imagined_state: str = ""
    relations: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    reaches: Mapping[str, str] = field(default_factory=dict)
    on_behalf_of: str = ""


class About(StrEnum):
    """What a request names: the KIND itself, one existing ROW, a NEW row of an owner (there may be one already), or a
    LIST of rows."""

    KIND = "kind"
    ROW = "row"
    NEW = "new"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class FactLookup:
    """What one statement saw: the active version, the directory's revision, the asker's directory roles, the moment,
    the row if there is one, the relations that hold, the row's facts, which relations were looked at at all, whether
    the asker's token was revoked, what was asked `about`, with whether it was `looked` at (without a fitting scope
    nothing is), the delegator for whom a delegate would act (`on_behalf_of`), and all `ids` of the caller: more than
    one, if others were merged into them. `former_ids` are those from before an erasure. A relation that holds through
    one of them is told by the word `former_word` of it."""

    version: int
    directory_revision: int
    at: datetime
    roles: frozenset[str]
    row: asyncpg.Record | None = None
    relations: frozenset[str] = frozenset()
    facts: Mapping[str, bool | None] = field(default_factory=dict)
    evaluated: frozenset[str] = frozenset()
    revoked: bool = False
    about: About = About.KIND
    looked: bool = True
    on_behalf_of: UUID | None = None
    ids: frozenset[UUID] = frozenset()
    former_ids: frozenset[UUID] = frozenset()

    def complete(self, facts: KindFacts, about: About, *, looked: bool) -> FactLookup:
        """The lookup with what a record needs for its request to be evaluated again. If a row was looked up and is
        missing, no relation holds and every fact is unknown."""
        lookup = self
        if looked and not self.evaluated:
            unknown = dict.fromkeys(facts.facts)
            lookup = replace(self, evaluated=frozenset(facts.relations), facts={**unknown, **self.facts})
        return replace(lookup, about=about, looked=looked)

    @property
    def same_human(self) -> frozenset[UUID]:
        """Every id by which laws and denials know the person who asks."""
        return self.ids | self.former_ids


def asker(principal: Principal) -> tuple[UUID | None, str | None]:
    """Who acts: the person, or the client that acts for itself."""
    if principal.kind is PrincipalKind.USER:
        return principal.person, None
    return None, principal.client


def fact_parameters(principal: Principal) -> tuple[UUID | None, str]:
    """$1 and $2 of every statement about facts: the person, and the client as a who-word, `via:X` or `client:X`."""
    if principal.kind is PrincipalKind.USER:
        return principal.person, VIA + principal.client
    return None, CLIENT + principal.client


def bound(expression: str) -> str:
    """A floor-5 expression with its named parameters numbered."""
    numbered = expression.replace(":person", "$1::uuid").replace(":client", _ITSELF)
    return numbered.replace(":app", "substr($2::text, strpos($2::text, ':') + 1)")


class Relationships:
    """Reads facts for the kinds that it was given."""

    def __init__(self, kinds: Sequence[KindFacts]) -> None:
        self._kinds = {one.kind: one for one in kinds}

    def of(self, kind: str) -> KindFacts:
        """The facts declared for a kind; a kind without rows has none."""
        return self._kinds.setdefault(kind, KindFacts(kind))

    async def ambient(self, connection: Connection, principal: Principal) -> FactLookup:
        """What holds without any row. Raises PolicyUnavailable when no policy was ever activated."""
        person, client = fact_parameters(principal)
        # The active version, the directory's revision, the asker's roles, and whether the token was revoked.
        row = await connection.fetchrow(
            f"SELECT $2::text AS client, $3::uuid AS no_row, {AMBIENT} FROM {AMBIENT_FROM}",
            person,
            client,
            None,
            *revocation.parameters(principal),
        )
        return _seen(row, KindFacts(""), present=False)

    async def of_row(self, connection: Connection, principal: Principal, kind: str, row_id: UUID | int) -> FactLookup:
        """What holds about one existing row; `row` is None when there is no such row."""
        facts = self.of(kind)
        person, client = fact_parameters(principal)
        # The row, what the asker is to it, and the ambient facts, as of one moment.
        row = await connection.fetchrow(
            f"SELECT {AMBIENT}, {facts.row}, {columns(facts)}, r.id IS NOT NULL AS lookup_row FROM {AMBIENT_FROM}"
            f" LEFT JOIN {facts.table} AS r ON r.id = $3 WHERE $2::text IS NULL OR true",
            person,
            client,
            row_id,
            *revocation.parameters(principal),
        )
        return _seen(row, facts, present=bool(row and row["lookup_row"]))

    async def of_imagined(self, connection: Connection, principal: Principal, kind: str, owner: UUID) -> FactLookup:
        """What would hold about a row that `owner` would own and that does not exist yet; `row` is None."""
        facts = self.of(kind)
        person, client = fact_parameters(principal)
        # What the asker would be to the row, and the ambient facts, as of one moment.
        row = await connection.fetchrow(
            f"SELECT {AMBIENT}, {columns(facts)} FROM {AMBIENT_FROM} CROSS JOIN ({facts.imagined}) AS r"
            " WHERE $2::text IS NULL OR true",
            person,
            client,
            owner,
            *revocation.parameters(principal),
        )
        lookup = _seen(row, facts, present=True)
        return replace(lookup, row=None)

    async def reach_anybody(self, connection: Connection, visibility: Visibility) -> bool:
        """Whether there is anybody whose rows the rules could show to the asker."""
        if visibility.reach is None:
            return True
        # The first of them is enough; the relations' own indexes find it.
        return bool(
            await connection.fetchval(
                f"SELECT EXISTS (SELECT FROM ({visibility.reach}) AS reached)", *visibility.parameters
            )
        )


def columns(facts: KindFacts) -> str:
    """What the asker is to the row `r`, and its facts, as columns: `of_listed` reads them."""
    named = [(f"relation_{name}", sql) for name, sql in facts.relations.items()]
    named += [(f"fact_{name}", sql) for name, sql in facts.facts.items()]
    named += [("on_behalf_of", facts.on_behalf_of)] if facts.on_behalf_of else []
    return ", ".join(f"({bound(sql)}) AS {name}" for name, sql in named) or "true AS no_words"


def of_listed(ambient: FactLookup, row: asyncpg.Record, facts: KindFacts) -> FactLookup:
    """What was seen of one row of a list that was read with `columns`, in the snapshot that `ambient` was seen in."""
    relations = words_of(facts.relations, row, "relation")
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


def words_of(relations: Iterable[str], row: asyncpg.Record, prefix: str) -> frozenset[str]:
    """The relations that hold in columns named `prefix_RELATION`; NULL holds as the former word."""
    values = {name: row[f"{prefix}_{name}"] for name in relations}
    return frozenset(name if value else former_word(name) for name, value in values.items() if value is not False)


def without_former(lookup: FactLookup) -> FactLookup:
    """What was seen, as if nobody had been erased: a simulation must not tell who somebody was before."""
    return replace(
        lookup,
        relations=frozenset(word for word in lookup.relations if not word.startswith(FORMER)),
        # Facts of a row are unknown only where they hold through a former id.
        facts={name: bool(value) for name, value in lookup.facts.items()} if lookup.row is not None else lookup.facts,
        former_ids=frozenset(),
    )


def _seen(row: asyncpg.Record | None, facts: KindFacts, *, present: bool) -> FactLookup:
    if row is None:
        raise PolicyUnavailable(
            "No policy was ever activated: run `timewarden policy bootstrap`", cause="no policy_head"
        )
    ambient = FactLookup(
        row["lookup_version"],
        row["lookup_revision"],
        row["lookup_at"],
        frozenset(row["lookup_roles"]),
        revoked=row["lookup_revoked"] is not False,
        ids=frozenset(one for one in row["lookup_ids"] if one is not None),
        former_ids=frozenset(row["lookup_former_ids"]),
    )
    return of_listed(ambient, row, facts) if present else ambient
