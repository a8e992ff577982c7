"""Fact lookups, the policy information point (PIP): one statement reads all facts and the active policy version.

Every decision looks its facts up anew, after any lock was taken. Facts of the directory alone may come from
`DirectoryMemory`, if the statement finds the directory unchanged. `fact_statements` has the SQL. Owns no state.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from contextlib import nullcontext
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec

from service.authorization.enforcement.attribute_values import OWNER_ID, CallerAttributes, read_columns
from service.authorization.enforcement.caller_values import (
    asker_values,
    caller_values,
    evaluate_facts,
    write_asker,
)
from service.authorization.enforcement.claimed_attributes import ClaimReader, put_over
from service.authorization.enforcement.directory_memory import (
    NEVER,
    CallerInDirectory,
    DirectoryState,
    OwnersOfCaller,
    RelationsToOwner,
)
from service.authorization.enforcement.fact_reader import FactReader, Question
from service.authorization.enforcement.fact_statements import (
    AMBIENT_FROM,
    AMBIENT_STATEMENT,
    KindFacts,
    fact_parameters,
    imagined_statement,
    owners_statement,
    remembering_statements,
    revoked_condition,
    row_statement,
)
from service.errors import DatabaseUnavailable, PolicyUnavailable
from service.identity import revocation
from service.policy.known_words import FACTS_ABOUT_PEOPLE
from service.policy.matching import FORMER, former_word
from service.values import Struct, replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.directory_memory import DirectoryMemory
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection, Database
    from service.identity.principal import Principal
    from service.policy.attributes import Value


NO_CLAIMS: Final[Mapping[str, Value]] = MappingProxyType({})
NO_VALUES: Final[Mapping[str, object]] = {}
MAX_OWNERS_PER_RELATION: Final = 2_000
MAX_READERS_PER_KIND: Final = 2
# Looked up without a row, under a version that declares nothing.
NOTHING: Final = KindFacts("")


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


class Relationships:
    """Looks up facts of the given kinds. With a `memory`, what the directory determines is remembered. `database`
    serves lookups without a connection of their own, which wait up to `timeout` seconds."""

    def __init__(
        self,
        kinds: Sequence[KindFacts],
        memory: DirectoryMemory | None = None,
        database: Database | None = None,
        *,
        timeout: float = 5.0,
    ) -> None:
        self._kinds = {facts.kind: facts for facts in kinds}
        self._memory = memory
        self._database = database
        self._timeout = timeout
        # One for each kind whose facts follow from the owner, and during an activation one for each of two versions.
        self._readers: OrderedDict[KindFacts, FactReader] = OrderedDict()
        self._claims = ClaimReader()
        if memory is not None and database is not None:
            database.when_connected(memory.forget)

    def of(self, kind: str) -> KindFacts:
        """The SQL of a kind, without what a policy version declares; empty for a kind without rows."""
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = KindFacts(kind)
        return known

    async def ambient(
        self, connection: Connection | None, principal: Principal, facts: KindFacts = NOTHING
    ) -> FactLookup:
        """The facts without a row; of `facts` only the attributes of the caller are looked up. Without a `connection`,
        the statement may be shared with other requests. Raises PolicyUnavailable if no policy was ever activated."""
        memory, assumed = self._memory, self.assume(principal, facts)
        if connection is None and memory is not None and assumed is not None:
            reader = self._any_reader()
            if reader is not None:
                found, revoked = await self._ask(memory, assumed, principal, None, reader.read)
                if self._holds(assumed, found):
                    return assumed.read(found, revoked=revoked)
                assumed = None
        async with self._connected(connection) as connected:
            if assumed is not None:
                columns, parameters = assumed.columns(principal, 1)
                # The rest is never remembered.
                row = await connected.fetchrow(f"SELECT {columns} FROM {AMBIENT_FROM}", *parameters)
                if (lookup := self.confirm(assumed, row)) is not None:
                    return lookup
            row = await connected.fetchrow(AMBIENT_STATEMENT, *_parameters(principal, None))
        lookup = _parse_row(principal, row, facts, self._claims.read(principal, facts.caller))
        if self._memory is not None:
            _remember(self._memory, principal, lookup, row)
        return lookup

    async def of_row(
        self, connection: Connection | None, principal: Principal, facts: KindFacts, row_id: UUID | int
    ) -> FactLookup:
        """The facts of a row; `row` is None if it is missing. Without a `connection`, the statement may be shared with
        other requests."""
        lookup = await self._with_memory(connection, principal, facts, row_id)
        if lookup is not None:
            return lookup
        claimed = self._claims.read(principal, facts.caller)
        async with self._connected(connection) as connected:
            row = await connected.fetchrow(row_statement(facts), *_parameters(principal, row_id, facts, claimed))
        lookup = _parse_row(principal, row, facts, claimed)
        if row is not None and row["lookup_row"]:
            lookup = _look_at_row(lookup, row, facts, row["owner_id"])
        if self._memory is not None and facts.by_owner:
            _remember(self._memory, principal, lookup, row, facts)
        return lookup

    async def of_imagined(
        self,
        connection: Connection | None,
        principal: Principal,
        facts: KindFacts,
        owner: UUID,
        new: Mapping[str, object] = NO_VALUES,
    ) -> FactLookup:
        """The facts of a new row that `owner` would start with the values `new`; `row` is None."""
        claimed = self._claims.read(principal, facts.caller)
        parameters = (*_parameters(principal, owner, facts, claimed), msgspec.json.encode(new).decode())
        async with self._connected(connection) as connected:
            row = await connected.fetchrow(imagined_statement(facts), *parameters)
        lookup = _parse_row(principal, row, facts, claimed)
        return lookup if row is None else replace(_look_at_row(lookup, row, facts, owner), row=None)

    async def reach_anybody(self, connection: Connection, visibility: Visibility) -> bool:
        """Whether there is any owner or point whose rows the rules could show to the caller."""
        if visibility.reach is None:
            return True
        points = f" OR EXISTS (SELECT FROM ({visibility.points}) AS at)" if visibility.points else ""
        # The first owner or point is enough; the indexes of the relations find them.
        return bool(
            await connection.fetchval(
                f"SELECT EXISTS (SELECT FROM ({visibility.reach}) AS reached){points}", *visibility.parameters
            )
        )

    async def find_owners(self, connection: Connection, visibility: Visibility) -> None:
        """Tell the visibility for which owners its relations hold, and through which points, unless those are too many,
        and remember it. Its lookup must be of the snapshot that `connection` reads."""
        if not visibility.follows_owners:
            return
        facts, principal, lookup = visibility.facts, visibility.principal, visibility.lookup
        relations = visibility.relation_names
        first, *rows = await connection.fetch(
            owners_statement(facts, relations), *visibility.parameters, MAX_OWNERS_PER_RELATION + 1
        )
        reached = Counter(row["relation"] for row in rows)
        if max((reached[relation] for relation in relations - facts.by_row), default=0) <= MAX_OWNERS_PER_RELATION:
            visibility.owners = {
                relation: [row["owner_id"] for row in rows if row["relation"] == relation and row["holds"]]
                for relation in sorted(relations - facts.by_row)
            }
        if max((reached[relation] for relation in relations & facts.by_row), default=0) <= MAX_OWNERS_PER_RELATION:
            visibility.found_points = sorted({row["point"] for row in rows if row["point"] is not None})
        # A moment may have passed since the lookup.
        still = lookup.unchanged_until is not None and first["at"] < lookup.unchanged_until
        if self._memory is not None and still and _enter(self._memory, lookup):
            person, word = fact_parameters(principal)
            owners = OwnersOfCaller(visibility.owners, visibility.found_points)
            self._memory.remember_owners(person, word, facts, relations, owners)

    def assume(self, principal: Principal, facts: KindFacts) -> Assumption | None:
        """The remembered entry of a caller, which `confirm` must tell to hold; None if they are not remembered."""
        memory = self._memory
        known = None if memory is None else memory.caller(*fact_parameters(principal))
        if memory is None or memory.state is None or known is None:
            return None
        held, claimed = known.attributes.values(facts.caller), self._claims.read(principal, facts.caller)
        return Assumption(known, memory.state, put_over(held, claimed))

    def recall_owners(self, visibility: Visibility) -> bool:
        """Tell the visibility what `find_owners` would. False if that is not remembered."""
        if not visibility.follows_owners or self._memory is None:
            return not visibility.follows_owners
        caller = fact_parameters(visibility.principal)
        owners = self._memory.owners(*caller, visibility.facts, visibility.relation_names)
        if owners is None:
            return False
        visibility.owners, visibility.found_points = owners.by_relation, owners.points
        return True

    def confirm(self, assumed: Assumption, row: asyncpg.Record | None) -> FactLookup | None:
        """The lookup without a row, from the columns of an assumption. None if the directory is no longer as it was
        assumed."""
        if row is None or not self._holds(assumed, row):
            return None
        return assumed.read(row, revoked=row["lookup_revoked"] is not False)

    async def _with_memory(
        self, connection: Connection | None, principal: Principal, facts: KindFacts, row_id: UUID | int
    ) -> FactLookup | None:
        """As `of_row`, where everything about the directory is remembered; else None."""
        memory, assumed = self._memory, self.assume(principal, facts)
        if memory is None or assumed is None or not facts.by_owner:
            return None
        read: Callable[[Question], Awaitable[asyncpg.Record]]
        if connection is not None:
            read = partial(_read_alone, connection, facts)
        elif self._database is not None:
            read = self._reader_of(facts, memory, self._database).read
        else:
            return None
        row, revoked = await self._ask(memory, assumed, principal, row_id, read)
        if not self._holds(assumed, row):
            return None
        if not row["lookup_row"]:
            return assumed.read(row, revoked=revoked)
        related = memory.relations(*fact_parameters(principal), facts, row["owner_id"])
        return None if related is None else assumed.read_row(principal, row, facts, related, revoked=revoked)

    async def _ask(
        self,
        memory: DirectoryMemory,
        assumed: Assumption,
        principal: Principal,
        row_id: UUID | int | None,
        read: Callable[[Question], Awaitable[asyncpg.Record]],
    ) -> tuple[asyncpg.Record, bool]:
        """The answer to a question, and whether the token is revoked. The token is looked up in the deny list unless
        that was done at this revision of the list."""
        parameters = assumed.question(principal, row_id)
        # Every id of the caller, and what the deny list and the links know the token by.
        token = parameters[2:]
        checked_at = memory.unrevoked_at(token)
        if checked_at is not None:
            row = await read(Question(parameters, is_short=True))
            if row["lookup_denials"] == checked_at:
                return row, False
            memory.see_denials(row["lookup_denials"])
        row = await read(Question(parameters, is_short=False))
        revoked = row["lookup_revoked"] is not False
        if not revoked and self._holds(assumed, row):
            memory.remember_unrevoked(token, row["lookup_denials"])
        return row, revoked

    def _holds(self, assumed: Assumption, row: asyncpg.Record) -> bool:
        """Whether the directory is as it was assumed, in the snapshot of this row. While the statement ran, another
        request may have found a newer directory."""
        memory = self._memory
        return (
            memory is not None
            and memory.holds_at(row["lookup_state"], row["lookup_at"])
            and memory.state is assumed.state
        )

    def _any_reader(self) -> FactReader | None:
        """A reader for questions without a row, which fit each of them."""
        if self._readers:
            return next(reversed(self._readers.values()))
        facts = next((facts for facts in self._kinds.values() if facts.by_owner), None)
        if facts is None or self._memory is None or self._database is None:
            return None
        return self._reader_of(facts, self._memory, self._database)

    def _reader_of(self, facts: KindFacts, memory: DirectoryMemory, database: Database) -> FactReader:
        reader = self._readers.get(facts)
        if reader is None:
            whole, short = remembering_statements(facts, short=False), remembering_statements(facts, short=True)
            reader = FactReader(database, whole, short, timeout=self._timeout, lost=memory.forget)
            self._readers[facts] = reader
        self._readers.move_to_end(facts)
        of_kind = [known for known in self._readers if known.kind == facts.kind]
        for known in of_kind[:-MAX_READERS_PER_KIND]:
            self._readers.pop(known).close()
        return reader

    def _connected(self, connection: Connection | None) -> AbstractAsyncContextManager[Connection]:
        if connection is not None:
            return nullcontext(connection)
        if self._database is None:
            raise DatabaseUnavailable(cause="facts are looked up without a database")
        return self._database.connection()


class Assumption(Struct, frozen=True):
    """A caller as remembered in a state of the directory; `caller` as in FactLookup."""

    known: CallerInDirectory
    state: DirectoryState
    caller: Mapping[str, Value]

    def lookup(self, version: int) -> FactLookup:
        """The lookup without a row, as it will be under a policy version if the assumption holds."""
        known = self.known
        return FactLookup(
            version,
            self.state.revision,
            datetime.now(UTC),
            known.roles,
            ids=known.ids,
            former_ids=known.former_ids,
            caller=self.caller,
        )

    def columns(self, principal: Principal, first: int) -> tuple[str, list[object]]:
        """SQL columns of a statement FROM AMBIENT_FROM that tell what holds, and their parameters from number `first`
        on."""
        ids, *token, remembered = (f"${first + place}" for place in range(7))
        revoked = revoked_condition(f"{ids}::text::uuid[]", token, f"{remembered}::boolean")
        columns = f"""
            head.active AS lookup_version, directory.state AS lookup_state,
            statement_timestamp() AS lookup_at, {revoked} AS lookup_revoked
        """
        return columns, [self.known.id_array, *revocation.parameters(principal), principal.is_remembered]

    def question(self, principal: Principal, row_id: UUID | int | None) -> tuple[object, ...]:
        """The parameters of one request for the whole `remembering_statements`."""
        _, word = fact_parameters(principal)
        ids = self.known.id_array, self.known.former_array
        return (row_id, word, *ids, *revocation.parameters(principal), principal.is_remembered)

    def read(self, row: asyncpg.Record, *, revoked: bool) -> FactLookup:
        """The lookup without a row, from a row with what confirms the assumption."""
        return FactLookup(
            row["lookup_version"],
            self.state.revision,
            row["lookup_at"],
            self.known.roles,
            revoked=revoked,
            ids=self.known.ids,
            former_ids=self.known.former_ids,
            directory_state=self.state.id,
            unchanged_until=self.state.until,
            caller=self.caller,
        )

    def read_row(
        self, principal: Principal, row: asyncpg.Record, facts: KindFacts, related: RelationsToOwner, *, revoked: bool
    ) -> FactLookup:
        """The lookup of a row with what confirms the assumption and with its `facts`. `related` is remembered of the
        caller and the row's owner."""
        relations, on_behalf_of = related.relations, related.on_behalf_of
        if facts.by_row:
            relations |= relation_words(facts.by_row, row, "relation")
            on_behalf_of = row["on_behalf_of"] if facts.acts_by_row else on_behalf_of
        at: datetime = row["lookup_at"]
        attributes = {**read_columns(row, facts.row_attributes), **related.attributes}
        values: dict[str, bool | None] = {name: row[f"fact_{name}"] for name in facts.native}
        if facts.defined:
            known = caller_values(principal, self.known.roles, self.caller, at)
            known[OWNER_ID] = str(row["owner_id"])
            values |= evaluate_facts(facts.defined, {**known, **attributes})
        return FactLookup(
            row["lookup_version"],
            self.state.revision,
            at,
            self.known.roles,
            row,
            relations,
            values,
            frozenset(facts.relations),
            revoked=revoked,
            about=About.ROW,
            on_behalf_of=on_behalf_of,
            ids=self.known.ids,
            former_ids=self.known.former_ids,
            directory_state=self.state.id,
            unchanged_until=self.state.until,
            attributes=attributes,
            caller=self.caller,
        )


async def _read_alone(connection: Connection, facts: KindFacts, question: Question) -> asyncpg.Record:
    """The answer to a question, by the caller's connection."""
    statements = remembering_statements(facts, short=question.is_short)
    [row] = await connection.fetch(statements.alone, *question.parameters[: statements.parameters])
    return row


def _enter(memory: DirectoryMemory, lookup: FactLookup) -> bool:
    """Whether what was read with a lookup may be remembered."""
    if lookup.directory_state is None or lookup.unchanged_until is None:
        return False
    state = DirectoryState(lookup.directory_state, lookup.directory_revision, lookup.unchanged_until)
    return memory.enter(state, lookup.at)


def _remember(
    memory: DirectoryMemory,
    principal: Principal,
    lookup: FactLookup,
    row: asyncpg.Record | None,
    facts: KindFacts | None = None,
) -> None:
    """Remember what a whole statement has read of the directory, in this row."""
    if row is None or not _enter(memory, lookup):
        return
    person, word = fact_parameters(principal)
    attributes = _caller_attributes(principal, row)
    memory.remember_caller(person, word, CallerInDirectory(lookup.roles, lookup.ids, lookup.former_ids, attributes))
    if facts is not None and lookup.row is not None:
        owned = {name: lookup.attributes[name] for name in facts.owner_attributes if name in lookup.attributes}
        by_row = facts.by_row.union(map(former_word, facts.by_row))
        related = RelationsToOwner(lookup.relations - by_row, lookup.on_behalf_of, owned)
        memory.remember_relations(person, word, facts, lookup.row["owner_id"], related)


def _caller_attributes(principal: Principal, row: asyncpg.Record) -> CallerAttributes:
    # The first of all ids is the canonical one.
    canonical = row["lookup_ids"][0]
    return CallerAttributes.parse(row["lookup_caller"], None if canonical == principal.person else canonical)


def _look_at_row(ambient: FactLookup, row: asyncpg.Record, facts: KindFacts, owner: UUID | None) -> FactLookup:
    """The lookup of a row, with its attributes; the owner's canonical id is one of them only if it is another id."""
    attributes = read_columns(row, facts.attributes)
    if attributes.get(OWNER_ID) == str(owner):
        del attributes[OWNER_ID]
    return replace(look_at_listed_row(ambient, row, facts), attributes=attributes)


def _parameters(
    principal: Principal,
    row_id: UUID | int | None,
    facts: KindFacts = NOTHING,
    claimed: Mapping[str, Value] = NO_CLAIMS,
) -> tuple[object, ...]:
    """The parameters of a statement with AMBIENT. It finds itself what the directory holds of the caller."""
    parameters = (*fact_parameters(principal), row_id, *revocation.parameters(principal), principal.is_remembered)
    if not facts.asked:
        return parameters
    return (*parameters, write_asker(asker_values(principal, (), {}, facts.asked), claimed))


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


def _parse_row(
    principal: Principal, row: asyncpg.Record | None, facts: KindFacts, claimed: Mapping[str, Value]
) -> FactLookup:
    """The lookup without a row."""
    if row is None:
        raise PolicyUnavailable(
            "No policy was ever activated: run `timewarden policy bootstrap`", cause="no policy_head"
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
        caller=put_over(_caller_attributes(principal, row).values(facts.caller), claimed),
    )
