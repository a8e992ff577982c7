"""The SQL that looks facts up, composed of what a kind of resource supplies. Pure: `relationships` sends it.

Use cases supply the SQL of their rows (`KindFacts`). Every statement reads the active policy version and revocation, or
the revision of the deny list, in the same snapshot as the facts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from service.authorization.enforcement import merged_people
from service.authorization.enforcement.attribute_sql import complete_asker
from service.authorization.enforcement.caller_values import write_asker
from service.identity import revocation
from service.identity.principal import Principal, PrincipalKind
from service.log.insert import insert_selected
from service.policy.known_words import DELEGATE
from service.policy.matching import CLIENT, VIA

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from service.authorization.enforcement.path_sql import EdgeTable
    from service.policy.attributes import Attribute, Value
    from service.policy.expressions.expression import Expression

# Every id of the caller, and those from before an erasure.
_IDS, _FORMER = merged_people.all_ids("$1::uuid"), merged_people.former_ids("$1::uuid")


def revoked_condition(ids: str, token: Sequence[str], remembered: str) -> str:
    """SQL: the token is in the deny list, or its person was remembered and is no longer the token's."""
    issuer, _, subject, _, _ = token
    return f"""
        ({revocation.revocation_condition(ids, token)}
         OR ({remembered} AND NOT EXISTS (SELECT FROM person_link AS link WHERE link.issuer = {issuer}
                                              AND link.subject = {subject} AND link.person_id = ANY ({ids}))))
    """


# The active policy version, the directory's revision, the time, and until when no validity in the directory begins or
# ends; the caller's roles in the directory, all their ids, those from before an erasure, their attributes in the
# directory, and whether the token is revoked. The token's parameters start at $4; $9 is whether its person is
# remembered.
AMBIENT = f"""
    head.active AS lookup_version,
    directory.revision AS lookup_revision,
    directory.state AS lookup_state,
    statement_timestamp() AS lookup_at,
    next_validity_change() AS lookup_until,
    ARRAY(SELECT role FROM person_role
          WHERE person_id = {merged_people.canonical_id("$1::uuid")}
              AND valid_from <= statement_timestamp() AND statement_timestamp() < valid_to) AS lookup_roles,
    {_IDS} AS lookup_ids,
    {_FORMER} AS lookup_former_ids,
    caller_attributes($1::uuid) AS lookup_caller,
    {revoked_condition(_IDS, revocation.numbered(4), "$9::boolean")} AS lookup_revoked
"""
AMBIENT_FROM = "policy_head AS head CROSS JOIN directory_revision AS directory"
# The client if it acts for itself, NULL for a person.
_ITSELF = f"(CASE WHEN starts_with(:word, '{CLIENT}') THEN substr(:word, {len(CLIENT) + 1}) END)"


# Attributes of the row's owner: where facts follow `by_owner`, they are remembered with the caller's relations.
OF_OWNER: Final = "resource.owner."
# The source of attributes that cost something, computed once however many facts read them.
GIVEN_VALUES: Final = "given_values"
_COMPUTED: Final = re.compile(rf'\b{GIVEN_VALUES}\."([^"]+)"')
# The client as a who-word, in the second parameter of a list.
_WORD: Final = "word"
# Statements that are kept put together: a few for each kind and for each version that decides at the same time.
MAX_STATEMENTS: Final = 64


@dataclass(frozen=True, eq=False)
class KindFacts:
    """The SQL of one kind of resource; kinds without rows have none. Compared by identity: compiled conditions are
    cached under it.

    - `row`: the SELECT columns of a row `r`, among them id, owner_id, state and version.
    - `table`: the table of the rows, or a SELECT in parentheses. Its `id` is a UUID or a policy version's number.
    - `imagined`: a SELECT of the row as its owner, $3, would start it, in `imagined_state`; `:new` is a JSON object of
      the values that the request gives.
    - `relations` and `facts`: an SQL expression each, about `r`, `:person` (NULL if a client acts for itself), `:ids`
      and `:former`, arrays of all ids of the person and of those from before an erasure, `:client` (NULL for a person)
      and `:app`, the client that acts for itself or for the person. True, false, or NULL if it holds through an id from
      before an erasure: NULL matches every deny and no allow.
    - `by_owner`: the relations, but for those in `by_row`, `on_behalf_of` and the attributes of the owner follow from
      the caller, the row's owner and the directory alone, so they may be remembered. The facts do without `:person`.
    - `reaches`: for a relation, a SELECT of every owner_id that it can hold for, and perhaps more. Lists start from it.
    - `on_behalf_of`: the delegator for whom a `delegate` of the row acts, or NULL.
    - `attributes`: an SQL expression for each attribute of the row, NULL for a missing value.
    - `sources`: by alias, a SELECT about `r` of exactly one row, computed once a row for all that reads it. `row`,
      `facts`, `attributes` and later sources may name the aliases.
    - `documents`: JSON of the attributes that the directory holds: an object for `resource.owner`, an array of objects
      for `resource.owner.teams` and `resource.projects`.
    - `starts`: the edges of `r` from which the paths of relations start.
    - `by_row`: the relations that do not follow from the owner alone. They are looked up with each row.
    - `points`: for a relation that leads through another edge of the row than its owner, a SELECT of every `point` of
      that edge, such as a project, from which it leads on to the caller. Lists start from it too.

    What a policy version declares, `declared_facts` adds:

    - `defined`: the expressions of the facts that the version defines; `facts` has their SQL.
    - `asked`: the attributes of the caller and the sign-in that facts read, by `:asker`.
    - `caller`: the declared attributes of the caller that are looked up.
    - `personal`: the attributes that are personal data.
    - `computed`: the attributes that cost something, which facts read as columns of `given_values`.
    - `owner_facts`: the facts that follow from the caller and the owner alone.
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
    by_owner: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[str, EdgeTable | str] = field(default_factory=dict)
    by_row: frozenset[str] = frozenset()
    points: Mapping[str, str] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)
    defined: Mapping[str, Expression] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    caller: Mapping[str, Attribute] = field(default_factory=dict)
    personal: frozenset[str] = frozenset()
    computed: Mapping[str, str] = field(default_factory=dict)
    owner_facts: frozenset[str] = frozenset()

    @cached_property
    def row_attributes(self) -> tuple[str, ...]:
        """The attributes that are looked up with each row: all but those that are remembered."""
        return tuple(name for name in self.attributes if not (self.by_owner and name.startswith(OF_OWNER)))

    @cached_property
    def native(self) -> tuple[str, ...]:
        """The facts that the code supplies."""
        return tuple(name for name in self.facts if name not in self.defined)

    @cached_property
    def owner_attributes(self) -> tuple[str, ...]:
        """The attributes of the owner that are remembered with the caller's relations."""
        return tuple(name for name in self.attributes if self.by_owner and name.startswith(OF_OWNER))

    @property
    def acts_by_row(self) -> bool:
        """Whether `on_behalf_of` is looked up with each row."""
        return bool(self.on_behalf_of) and DELEGATE in self.by_row

    def join_sources(self, sql: str) -> str:
        """The joins of the sources that this SQL names, to follow `AS r`. Postgres leaves out columns that nothing
        reads."""
        joins, named = "", sorted({name for name in _COMPUTED.findall(sql) if name in self.computed})
        if named:
            # OFFSET 0 keeps Postgres from computing a value wherever it is read.
            values = ", ".join(f'({self.computed[name]}) AS "{name}"' for name in named)
            joins = f" CROSS JOIN LATERAL (SELECT {values} OFFSET 0) AS {GIVEN_VALUES}"
        for alias, select in reversed(list(self.sources.items())):
            if re.search(rf"\b{alias}\.", sql + joins):
                joins = f" CROSS JOIN LATERAL ({select}) AS {alias}{joins}"
        return joins

    def about_row(self, condition: str) -> str:
        """An expression with what it names of the sources, about a row `r` alone."""
        joins = self.join_sources(condition).removeprefix(" CROSS JOIN LATERAL ")
        return f"(SELECT {condition} FROM {joins})" if joins else condition

    def owners_where(self, facts: str) -> str:
        """A SELECT of the `owner_id` of all people for whose rows an expression of `owner_facts` is true."""
        people = "SELECT person.id AS owner_id FROM person"
        return f"SELECT r.owner_id FROM ({people}) AS r WHERE {self.about_row(facts)}"


def person_or_client(principal: Principal) -> tuple[UUID | None, str | None]:
    """The person, or the client that acts for itself; the other is None."""
    if principal.kind is PrincipalKind.USER:
        return principal.person, None
    return None, principal.client


def fact_parameters(principal: Principal) -> tuple[UUID | None, str]:
    """$1 and $2 of every fact statement: the person, and the client as a who-word, `via:X` or `client:X`."""
    if principal.kind is PrincipalKind.USER:
        return principal.person, VIA + principal.client
    return None, CLIENT + principal.client


def list_parameters(principal: Principal, asker: Mapping[str, Value]) -> tuple[UUID | None, str]:
    """$1 and $2 of every list: the person, and JSON of `:word` and of the members of `:asker`."""
    person, word = fact_parameters(principal)
    return person, write_asker({**asker, _WORD: word})


def bind_parameters(
    expression: str,
    *,
    person: str = "$1::uuid",
    word: str = "$2::text",
    ids: str = _IDS,
    former: str = _FORMER,
    asker: str = "NULL::jsonb",
) -> str:
    """An expression of KindFacts with SQL in place of its named parameters."""
    bound = expression.replace(":asker", asker)
    bound = bound.replace(":person", person).replace(":ids", ids).replace(":former", former)
    bound = bound.replace(":client", _ITSELF).replace(":app", "substr(:word, strpos(:word, ':') + 1)")
    return bound.replace(":word", word)


def bind_listed(expression: str) -> str:
    """The same for a list, with `list_parameters`."""
    return bind_parameters(expression, word=f"($2::jsonb ->> '{_WORD}')", asker="$2::jsonb")


# The ambient facts alone.
AMBIENT_STATEMENT = f"SELECT $2::text AS client, $3::uuid AS no_row, {AMBIENT} FROM {AMBIENT_FROM}"
# Its parameters for a person who does not exist, for a check that decisions can read their tables.
NOBODYS_PARAMETERS: Final = (UUID(int=0), VIA, None, "", None, "", "", datetime.fromtimestamp(0, UTC), True)

# The other tables that every request with a token reads; and whether Postgres takes no writes, as a standby.
NEEDED_STATEMENT: Final = """
    SELECT current_setting('transaction_read_only')::boolean AS read_only,
           EXISTS (SELECT FROM erased_subject WHERE hash = '') AS erased,
           (SELECT revision FROM revocation_revision) AS revision
"""


@lru_cache(MAX_STATEMENTS)
def row_statement(facts: KindFacts) -> str:
    """The row, the caller's relations to it, its facts and attributes and the ambient facts, in one snapshot. It has
    9 kB, so it is put together once for each kind. If facts ask for attributes of the caller, $10 is what the token
    says."""
    columns = ", ".join([facts.row, *_word_columns(facts), *_attribute_columns(facts, facts.attributes)])
    return (
        f"SELECT {AMBIENT}, {columns}, r.id IS NOT NULL AS lookup_row FROM {AMBIENT_FROM}{_join_asker(facts)}"
        f" LEFT JOIN {facts.table} AS r ON r.id = $3{facts.join_sources(columns)} WHERE $2::text IS NULL OR true"
    )


@lru_cache(MAX_STATEMENTS)
def imagined_statement(facts: KindFacts) -> str:
    """The caller's relations to a new row, its facts and attributes and the ambient facts, in one snapshot. Parameters
    as for `row_statement`, and last the values of the row."""
    columns = ", ".join([*_word_columns(facts), *_attribute_columns(facts, facts.attributes), "true AS no_words"])
    new = "$11::jsonb" if facts.asked else "$10::jsonb"
    return (
        f"SELECT {AMBIENT}, {columns} FROM {AMBIENT_FROM}{_join_asker(facts)}"
        f" CROSS JOIN ({imagine(facts, new)}) AS r{facts.join_sources(columns)} WHERE $2::text IS NULL OR true"
    )


def imagine(facts: KindFacts, new: str = "NULL::jsonb") -> str:
    """A SELECT of a new row with the values in `new`, SQL of JSON."""
    return facts.imagined.replace(":new", new)


def _join_asker(facts: KindFacts) -> str:
    return f" CROSS JOIN LATERAL ({complete_asker('$10::jsonb', facts.asked)}) AS asker" if facts.asked else ""


def _word_columns(facts: KindFacts) -> list[str]:
    """The relations and facts of a row `r` as columns."""
    return [f"({bind_parameters(sql, asker='asker.value')}) AS {name}" for name, sql in _named_words(facts)]


def _named_words(facts: KindFacts) -> list[tuple[str, str]]:
    named = [(f"relation_{name}", sql) for name, sql in facts.relations.items()]
    named += [(f"fact_{name}", sql) for name, sql in facts.facts.items()]
    return named + ([("on_behalf_of", facts.on_behalf_of)] if facts.on_behalf_of else [])


def _attribute_columns(facts: KindFacts, names: Iterable[str]) -> list[str]:
    """The attributes of a row as columns of their dotted names."""
    return [f'({facts.attributes[name]}) AS "{name}"' for name in names]


@lru_cache(MAX_STATEMENTS)
def fact_columns(facts: KindFacts) -> str:
    """The relations and facts of a listed row `r` as columns, which `look_at_listed_row` of `fact_lookup` reads."""
    named = [f"{facts.about_row(f'({bind_listed(sql)})')} AS {name}" for name, sql in _named_words(facts)]
    return ", ".join(named) or "true AS no_words"


# The parameters of `remembering_statements` for one request, and their types. Those of the token stand last: the short
# statement goes without them.
SHORT_QUESTION: Final = {"row_id": "uuid", "word": "text", "ids": "text", "former": "text"}
_QUESTION: Final = SHORT_QUESTION | {
    "issuer": "text",
    "token": "text",
    "subject": "text",
    "client": "text",
    "issued": "timestamptz",
    "remembered": "boolean",
}


class ExpectingStatements(NamedTuple):
    """For a row that may be read again. `with_digest` is the statement of one question with a digest of all that it has
    found but the time. `insert_if_same` inserts a record if the same is found. Its parameters are those of the
    question, the digest, the latest time at which it may run, and the record's (docs/decisions/0077)."""

    with_digest: str
    insert_if_same: str


class FactStatements(NamedTuple):
    """`of_many` takes an array of each parameter and returns a row for each of their places, with its `place`, from 1.
    `alone` takes the parameters of one question, and a seventh less time. Also, Postgres expects ten rows of an array
    that it does not know, so it would make a plan for each request instead of keeping one for all. `parameters`: how
    many they take, the first of a question."""

    of_many: str
    alone: str
    parameters: int


@lru_cache(MAX_STATEMENTS)
def remembering_statements(facts: KindFacts, *, short: bool) -> FactStatements:
    """The rows of several requests, the native facts and attributes of each row, and what is never remembered: the
    active version, the state of the directory, the revision of the deny list, the time and revocation, in one snapshot.
    Facts that a version defines follow from these values: `evaluate_facts` of `caller_values`.

    `short`: without revocation, for tokens that were looked up at this revision of the deny list."""
    question = SHORT_QUESTION if short else _QUESTION
    parameters = [f"${place}::{kind}" for place, kind in enumerate(question.values(), start=1)]
    arrays = ", ".join(f"{parameter}[]" for parameter in parameters)
    many = f"unnest({arrays}) WITH ORDINALITY AS asked ({', '.join(question)}, place)"
    return FactStatements(
        _remembering_statement(facts, many, f"{_TIME},", short=short),
        _remembering_statement(facts, _ask_alone(question), f"{_TIME},", short=short),
        len(question),
    )


@lru_cache(MAX_STATEMENTS)
def expecting_statements(facts: KindFacts) -> ExpectingStatements:
    """The statements of one short question whose row may be read again."""
    question = _ask_alone(SHORT_QUESTION)
    # OFFSET 0 keeps Postgres from finding everything twice.
    found = f"({_remembering_statement(facts, question, '', short=True)} OFFSET 0) AS found"
    digest, latest = (f"${len(SHORT_QUESTION) + place}" for place in (1, 2))
    condition = (
        f"{_DIGEST} = {digest}::bytea AND statement_timestamp() BETWEEN {{decided_at}} AND {latest}::timestamptz"
    )
    return ExpectingStatements(
        f"SELECT found.*, {_TIME}, {_DIGEST} AS lookup_digest FROM {found}",
        insert_selected(found, condition, len(SHORT_QUESTION) + 3),
    )


_TIME: Final = "statement_timestamp() AS lookup_at"
# As text, because not every type that a row may have has an equality, such as json.
_DIGEST: Final = "sha256(convert_to(found::text, 'UTF8'))"


def _ask_alone(question: Mapping[str, str]) -> str:
    """One question, by the names and types of its parameters."""
    named = ", ".join(f"${place}::{kind} AS {name}" for place, (name, kind) in enumerate(question.items(), start=1))
    return f"(SELECT {named}, 1 AS place) AS asked"


def _remembering_statement(facts: KindFacts, asked: str, time: str, *, short: bool) -> str:
    token = [f"asked.{name}" for name in ("issuer", "token", "subject", "client", "issued")]
    revoked = "" if short else f"{revoked_condition('asked.ids::uuid[]', token, 'asked.remembered')} AS lookup_revoked,"
    # Any id of the person stands for them.
    bound = {"person": "(asked.ids::uuid[])[1]", "word": "asked.word"}
    bound |= {"ids": "asked.ids::uuid[]", "former": "asked.former::uuid[]"}
    named = [(f"fact_{name}", facts.facts[name]) for name in facts.native]
    named += [(f"relation_{name}", facts.relations[name]) for name in sorted(facts.by_row)]
    named += [("on_behalf_of", facts.on_behalf_of)] if facts.acts_by_row else []
    looked_up = [f"({bind_parameters(sql, **bound)}) AS {name}" for name, sql in named]
    columns = ", ".join([facts.row, *looked_up, *_attribute_columns(facts, facts.row_attributes)])
    return f"""
        SELECT asked.place, (SELECT active FROM policy_head) AS lookup_version,
               (SELECT state FROM directory_revision) AS lookup_state,
               (SELECT revision FROM revocation_revision) AS lookup_denials,
               {time} {revoked}
               r.id IS NOT NULL AS lookup_row, {columns}
        FROM {asked}
        LEFT JOIN {facts.table} AS r ON r.id = asked.row_id{facts.join_sources(columns)}
    """


@lru_cache(MAX_STATEMENTS)
def owners_statement(facts: KindFacts, relations: frozenset[str]) -> str:
    """A row with the time; for each relation that follows from the owner, up to $3 owners for whom it can hold, with
    whether it does; and up to $3 points of each of the others."""
    found = [
        f"""
        SELECT '{relation}', r.owner_id, ({bind_listed(facts.relations[relation])}) IS TRUE, NULL, NULL
        FROM (SELECT DISTINCT owner_id FROM ({bind_listed(facts.reaches[relation])}) AS reached
              LIMIT $3::integer) AS r
        """
        for relation in sorted(relations - facts.by_row)
    ]
    found += [
        f"""
        SELECT '{relation}', NULL, NULL, NULL, r.point
        FROM (SELECT DISTINCT point FROM ({bind_listed(facts.points[relation])}) AS reached LIMIT $3::integer) AS r
        """
        for relation in sorted(relations & facts.by_row)
    ]
    time = (
        "SELECT '' AS relation, $1::uuid AS owner_id, $2::jsonb IS NULL AND $3::integer IS NULL AS holds,"
        " statement_timestamp() AS at, NULL::text AS point"
    )
    return " UNION ALL ".join([time, *found])
