"""Fact lookups, the policy information point (PIP): one statement reads all facts and the active policy version.

Every decision looks its facts up anew, after any lock was taken. Facts of the directory alone may come from
`DirectoryMemory`, if the statement finds the directory unchanged. `fact_statements` has the SQL, and `fact_lookup` what
is read from its rows. Owns no state.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec

from service.authorization.enforcement.assumption import Assumption, ExpectedRow
from service.authorization.enforcement.caller_values import asker_values, write_asker
from service.authorization.enforcement.claimed_attributes import ClaimReader, put_over
from service.authorization.enforcement.directory_memory import (
    CallerInDirectory,
    DirectoryState,
    OwnersOfCaller,
    RelationsToOwner,
)
from service.authorization.enforcement.fact_lookup import caller_attributes_of, look_at_row, parse_lookup
from service.authorization.enforcement.fact_reader import FactReader, Question
from service.authorization.enforcement.fact_statements import (
    AMBIENT_FROM,
    AMBIENT_STATEMENT,
    SHORT_QUESTION,
    KindFacts,
    expecting_statements,
    fact_parameters,
    imagined_statement,
    owners_statement,
    remembering_statements,
    row_statement,
)
from service.errors import DatabaseUnavailable
from service.identity import revocation
from service.log.insert import ConditionalInsert
from service.policy.matching import former_word
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.directory_memory import DirectoryMemory
    from service.authorization.enforcement.fact_lookup import FactLookup
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection, Database
    from service.identity.principal import Principal
    from service.policy.attributes import Value


NO_CLAIMS: Final[Mapping[str, Value]] = MappingProxyType({})
NO_VALUES: Final[Mapping[str, object]] = {}
MAX_OWNERS_PER_RELATION: Final = 2_000
MAX_READERS_PER_KIND: Final = 2
# How much later than the time in its record a row may be read.
MAX_LATENESS: Final = timedelta(milliseconds=5)
# The resolution of Postgres's times.
MICROSECOND: Final = timedelta(microseconds=1)
# Looked up without a row, under a version that declares nothing.
NOTHING: Final = KindFacts("")


class Relationships:
    """Looks up facts of the given kinds. With a `memory`, what the directory determines is remembered. `database`
    serves lookups without a connection of their own."""

    def __init__(
        self,
        kinds: Sequence[KindFacts],
        memory: DirectoryMemory | None = None,
        database: Database | None = None,
    ) -> None:
        self._kinds = {facts.kind: facts for facts in kinds}
        self._memory = memory
        self._database = database
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
        lookup = parse_lookup(principal, row, facts, self._claims.read(principal, facts.caller))
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
        lookup = parse_lookup(principal, row, facts, claimed)
        if row is not None and row["lookup_row"]:
            lookup = look_at_row(lookup, row, facts, row["owner_id"])
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
        lookup = parse_lookup(principal, row, facts, claimed)
        return lookup if row is None else replace(look_at_row(lookup, row, facts, owner), row=None)

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

    def expect(self, principal: Principal, facts: KindFacts, row_id: UUID | int) -> ExpectedRow | None:
        """A row as it will be found if nothing has changed since the caller has read it; None if that was too long
        ago."""
        memory, assumed, reader = self._memory, self.assume(principal, facts), self._readers.get(facts)
        if memory is None or assumed is None or reader is None:
            return None
        caller = fact_parameters(principal)
        row, at = memory.row(*caller, facts, row_id), reader.estimate_time()
        if row is None or at is None or not memory.covers(at):
            return None
        question = assumed.question(principal, row_id)
        related = memory.relations(*caller, facts, row["owner_id"])
        if related is None or memory.unrevoked_at(question[2:]) != row["lookup_denials"]:
            return None
        # Until then the directory's validities are as remembered, and so are facts that count whole seconds.
        latest = min(at + MAX_LATENESS, assumed.state.until - MICROSECOND, at.replace(microsecond=999_999))
        parameters = (*question[: len(SHORT_QUESTION)], row["lookup_digest"], latest)
        return ExpectedRow(
            assumed.read_row(principal, row, facts, related, revoked=False, at=at),
            ConditionalInsert(expecting_statements(facts).insert_if_same, parameters),
        )

    def remember_row(self, principal: Principal, facts: KindFacts, row_id: UUID | int, row: asyncpg.Record) -> None:
        """A row was read by a caller who may read it. No other request may have run since."""
        if self._memory is not None and row.get("lookup_digest") is not None:
            self._memory.remember_row(*fact_parameters(principal), facts, row_id, row)

    def forget_row(self, principal: Principal, facts: KindFacts, row_id: UUID | int) -> None:
        """A row was not as expected."""
        if self._memory is not None:
            self._memory.forget_row(*fact_parameters(principal), facts, row_id)

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
        if related is None:
            return None
        return assumed.read_row(principal, row, facts, related, revoked=revoked, at=row["lookup_at"])

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
        if facts in self._readers:
            self._readers.move_to_end(facts)
            return self._readers[facts]
        whole, short = remembering_statements(facts, short=False), remembering_statements(facts, short=True)
        with_digest, _ = expecting_statements(facts)
        reader = FactReader(database, whole, short, with_digest, timeout=database.timeout, lost=memory.forget)
        self._readers[facts] = reader
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
    attributes = caller_attributes_of(principal, row)
    memory.remember_caller(person, word, CallerInDirectory(lookup.roles, lookup.ids, lookup.former_ids, attributes))
    if facts is not None and lookup.row is not None:
        owned = {name: lookup.attributes[name] for name in facts.owner_attributes if name in lookup.attributes}
        by_row = facts.by_row.union(map(former_word, facts.by_row))
        related = RelationsToOwner(lookup.relations - by_row, lookup.on_behalf_of, owned)
        memory.remember_relations(person, word, facts, lookup.row["owner_id"], related)


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
