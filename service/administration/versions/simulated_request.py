"""The request of a simulation: a subject, an action and a resource, with every word checked. Pure: owns no state."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import UUID

from service.authorization.enforcement.attribute_values import read_recorded
from service.identity.principal import Principal, PrincipalKind
from service.places import FieldError
from service.policy.access_request import NO_STATE
from service.policy.attributes import AttributeType
from service.policy.defined_facts import find_definition
from service.policy.nearest_word import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from service.authorization.enforcement.person_references import NamedPerson
    from service.authorization.engine.engine import Snapshot
    from service.policy.access_request import Vocabulary
    from service.policy.attributes import Value

MAX_WORDS: Final = 100
ROLE: Final = "role:"
OLDEST: Final = 10 * 365 * 86_400
LONGEST_VALUE: Final = 255
PRINCIPAL, RESOURCE = "principal.", "resource."
# Attributes that follow from the other members of the subject.
OF_SUBJECT: Final = frozenset({"principal.id", "principal.client", "principal.kind", "principal.roles"})
OF_SIGN_IN: Final = (
    "is a fact about the sign-in, not about the resource: it follows from methods, auth_age, agent and attributes of"
    " the subject"
)
LISTS: Final = frozenset({AttributeType.STRINGS, AttributeType.INTS, AttributeType.BOOLS})
# Roles, sign-in methods and clients come from elsewhere. They stand in the record, so they must be plain words.
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}")


class Wrong(Exception):
    """Some fields of the request are wrong."""

    def __init__(self, *fields: FieldError) -> None:
        super().__init__(*fields)
        self.fields = fields


@dataclass(frozen=True, slots=True)
class Subject:
    """The simulated caller: a user through a client, or a client for itself. `roles` are names without `role:`, as in a
    token. `methods` (amr) and `auth_age` (seconds since the sign-in) are None if the token would not hold them.
    `actors` act for the caller, the current one first; `agent`: one of them, or the client, is an agent. `attributes`
    are those that the directory would hold, without `principal.`, as JSON."""

    client: str
    user: bool
    person: NamedPerson | None = None
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    methods: frozenset[str] | None = None
    auth_age: int | None = None
    actors: tuple[str, ...] = ()
    agent: bool = False
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SimulatedResource:
    """The simulated resource: a real one by its `id`, or an imagined one with its state, relations and facts, and its
    attributes without `resource.`, as JSON. Facts that are defined and not given follow from the attributes."""

    kind: str
    id: UUID | None = None
    state: str = NO_STATE
    relations: frozenset[str] = frozenset()
    facts: Mapping[str, bool | None] = field(default_factory=dict)
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """A simulation. Without a `version`, under the active one."""

    subject: Subject
    action: str
    resource: SimulatedResource
    version: int | None = None


def wrong_words(asked: SimulatedRequest, vocabulary: Vocabulary) -> list[FieldError]:
    """An error for each field with words that the version does not know, or that contradict other fields."""
    kind, thing, subject = asked.resource.kind, asked.resource, asked.subject
    if kind not in vocabulary.actions:
        return _unknown_words("resource.kind", [kind], vocabulary.actions)
    found = _unknown_words("action", [asked.action], vocabulary.actions[kind])
    if thing.state != NO_STATE:
        found += _unknown_words("resource.state", [thing.state], vocabulary.states.get(kind, frozenset()))
    found += _unknown_words("resource.relations", thing.relations, vocabulary.relations.get(kind, frozenset()))
    of_request = sorted(thing.facts.keys() & vocabulary.request_facts)
    found += [FieldError("resource.facts", f"'{fact}' {OF_SIGN_IN}") for fact in of_request[:1]]
    of_kind = vocabulary.facts.get(kind, frozenset())
    found += _unknown_words("resource.facts", thing.facts.keys() - vocabulary.request_facts, of_kind)
    found += _unknown_words("subject.scopes", subject.scopes, vocabulary.scopes)
    _, wrong = read_attributes(asked, vocabulary)
    found += wrong
    for name, words in (
        ("roles", subject.roles),
        ("methods", subject.methods or ()),
        ("client", [subject.client]),
        ("actors", subject.actors),
    ):
        if not all(_WORD.fullmatch(word) for word in words):
            found.append(FieldError(f"subject.{name}", "must be words of letters, digits and ._:@/-"))
    if subject.person is not None and not subject.user:
        found.append(FieldError("subject.person", "must be left out for a client that acts for itself"))
    if thing.id is not None:
        found += [
            FieldError(f"resource.{name}", "must be left out with an id: it is read from the resource")
            for name in ("state", "relations", "facts", "attributes")
            if getattr(thing, name)
        ]
        if subject.attributes:
            found.append(FieldError("subject.attributes", "must be left out with an id: the directory has them"))
        if subject.user and subject.person is None:
            found.append(FieldError("subject.person", "is required for a real timesheet"))
    return found


def principal_of(subject: Subject, now: int) -> Principal:
    """The principal of a verified token of the subject, at this Unix time."""
    return Principal(
        kind=PrincipalKind.USER if subject.user else PrincipalKind.CLIENT,
        issuer="",
        subject="",
        client=subject.client,
        scopes=subject.scopes,
        roles=frozenset(f"{ROLE}{role.removeprefix(ROLE)}" for role in subject.roles),
        token_id=None,
        issued_at=now,
        expires_at=now,
        authenticated_at=None if subject.auth_age is None else now - subject.auth_age,
        methods=subject.methods,
        person=subject.person if isinstance(subject.person, UUID) else None,
        actors=subject.actors,
        agent=subject.agent,
    )


def read_attributes(asked: SimulatedRequest, vocabulary: Vocabulary) -> tuple[dict[str, Value], list[FieldError]]:
    """The given attributes by their dotted names, and an error for each that is unknown or of another type."""
    known = vocabulary.known_attributes(asked.resource.kind)
    values: dict[str, Value] = {}
    wrong: list[FieldError] = []
    for field_name, prefix, given in (
        ("subject.attributes", PRINCIPAL, asked.subject.attributes),
        ("resource.attributes", RESOURCE, asked.resource.attributes),
    ):
        names = {
            name.removeprefix(prefix): name for name in known if name.startswith(prefix) and name not in OF_SUBJECT
        }
        for word, value in given.items():
            if word not in names:
                hint = nearest(word, names)
                wrong.append(FieldError(field_name, f"has no '{word}'" + (f"; {hint}" if hint else "")))
                continue
            wanted = known[names[word]].type
            read = _read_value(value, wanted)
            if read is None:
                wrong.append(FieldError(field_name, f"'{word}' must be of the type {wanted}"))
            values[names[word]] = read
    return values, wrong


def _read_value(value: object, wanted: AttributeType) -> Value:
    """A value in JSON, or None. A list may be given as its only item."""
    if wanted in LISTS and not isinstance(value, list):
        value = [value]
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, str) and not (len(item) <= LONGEST_VALUE and item.isprintable()) for item in items):
        return None
    if wanted in LISTS and len(set(map(str, items))) < len(items):
        return None
    return read_recorded(value, wanted)


def assumptions(asked: SimulatedRequest, under: Snapshot, facts: Mapping[str, bool | None]) -> tuple[str, ...]:
    """The assumptions of the answer, as sentences. `facts` are those of the resource."""
    found = ["the token is valid and not revoked"]
    if asked.resource.id is not None:
        found.append("relations, facts, state and directory roles are the current ones")
    else:
        found.append("the resource is as described; relations that are not named do not hold")
        if asked.subject.person is not None:
            found.append("the person has only the named roles and attributes")
        of_kind = under.vocabulary.facts.get(asked.resource.kind, frozenset()) - asked.resource.facts.keys()
        if unknown := sorted(name for name in of_kind if facts.get(name) is None):
            found.append(f"these facts are unknown, because they are not given: {', '.join(unknown)}")
            if missing := _missing_attributes(asked, under.vocabulary, unknown):
                found.append(f"these attributes that they read are missing: {', '.join(missing)}")
    roles, known = {role.removeprefix(ROLE) for role in asked.subject.roles}, _roles(under)
    found += [_unused_role(role, known) for role in sorted(roles - known)]
    found += [
        f"{role} stands for the role {role.removeprefix(ROLE)}; a token that names {role} itself meets no rule"
        for role in sorted(asked.subject.roles)
        if role.startswith(ROLE)
    ]
    who = "the person" if asked.subject.user else "anybody"
    if asked.subject.methods is None:
        found.append(f"the token does not say how {who} signed in")
    if asked.subject.auth_age is None:
        found.append(f"the token does not say when {who} signed in")
    return tuple(found)


def _missing_attributes(asked: SimulatedRequest, vocabulary: Vocabulary, facts: Iterable[str]) -> list[str]:
    """The attributes that could be given, and are read by these facts of the kind."""
    kind = asked.resource.kind
    read = {name for fact in facts if (found := find_definition(vocabulary, kind, fact)) for name in found.attributes}
    given = {f"{PRINCIPAL}{name}" for name in asked.subject.attributes}
    given |= {f"{RESOURCE}{name}" for name in asked.resource.attributes}
    return sorted(name for name in read - given - OF_SUBJECT if name.startswith((PRINCIPAL, RESOURCE)))


def _unused_role(role: str, known: frozenset[str]) -> str:
    """A role that no rule names is no error, because roles come from elsewhere; it may be misspelt."""
    close = nearest(role, known)
    return f"no rule names the role {role}, so it changes nothing" + (f" ({close})" if close else "")


def _roles(under: Snapshot) -> frozenset[str]:
    """Every role that a row of the version names."""
    linked = (role for link in under.policy.role_links for role in link)
    return frozenset(word.removeprefix(ROLE) for word in (*under.words.who, *linked) if word.startswith(ROLE))


def _unknown_words(name: str, words: Iterable[str], known: Collection[str]) -> list[FieldError]:
    """An error for the first word that is unknown, with the nearest known one, or all of them."""
    word = min(set(words).difference(known), default=None)
    if word is None:
        return []
    close = nearest(word, known) or f"known: {', '.join(sorted(known)) or 'none'}"
    return [FieldError(name, f"'{word}' is unknown to this version; {close}")]
