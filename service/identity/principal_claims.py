"""Builds the Principal from verified claims: who calls, through which client, with which scopes and roles. Pure.

A token that belongs to both a person and a client is refused, and so is one that looks like a client's without naming
that client: a client must never be mistaken for the user of the same name, nor a user for a client.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from service.identity.claims import MAX_LIST_ITEMS, SCOPE, TokenValidity, is_word, read_time, read_words
from service.identity.issuer import STRICT_TYPE
from service.identity.principal import UNLISTED, ClaimedValue, Principal, PrincipalKind
from service.identity.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.identity.issuer import Issuer


def read_client_id(claims: Mapping[str, Any], issuer: Issuer, token_type: str) -> str:
    """The acting client's id at its issuer: `client_id` (RFC 9068), or for issuers without that profile their own
    claims, which must agree."""
    given = [claims[name] for name in issuer.client_claims if name in claims]
    if not given or not all(is_word(client) for client in given) or len(set(given)) > 1:
        raise refusal("client")
    if token_type == STRICT_TYPE and "client_id" not in claims:
        raise refusal("client")
    return str(given[0])


def build_principal(
    claims: Mapping[str, Any],
    issuer: Issuer,
    token_type: str,
    client: str,
    validity: TokenValidity,
    step: Callable[[str], None],
) -> Principal:
    """Build the Principal. Raises InvalidToken if the claims are invalid or ambiguous. `step` is called before each
    check."""
    step("subject")
    subject = _read_subject(claims, "sub")
    step("kind")
    kind = read_kind(claims, issuer, subject, client)
    if kind is PrincipalKind.USER and issuer.subject_claim != "sub":
        subject = _read_subject(claims, issuer.subject_claim)
    step("scopes")
    granted = read_scopes(claims, issuer, kind)
    step("roles")
    held = read_roles(claims, issuer, kind)
    step("token-id")
    token_id = _read_token_id(claims, issuer.token_id_claim, token_type)
    step("sign-in")
    acr, methods, authenticated_at = _read_sign_in(claims, validity, issuer)
    step("actors")
    actors, agent = read_actors(claims, issuer, client)
    return Principal(
        kind=kind,
        issuer=issuer.issuer,
        subject=subject,
        client=_prefix_client(client, issuer),
        scopes=granted,
        roles=held,
        token_id=token_id,
        issued_at=validity.issued_at,
        expires_at=validity.expires_at,
        authenticated_at=authenticated_at,
        methods=methods,
        acr=acr,
        issuer_name=issuer.name,
        actors=actors,
        agent=agent,
        attributes=read_attributes(claims, issuer),
    )


def _prefix_client(client: str, issuer: Issuer) -> str:
    """The client's id with the issuer's prefix. A client of an issuer without prefix must not look like another
    issuer's."""
    if issuer.prefix:
        return f"{issuer.prefix}:{client}"
    if client.partition(":")[0] in issuer.foreign_prefixes:
        raise refusal("client")
    return client


def _read_subject(claims: Mapping[str, Any], claim: str) -> str:
    subject = claims.get(claim)
    if not isinstance(subject, str) or not is_word(subject):
        raise refusal("subject")
    return subject


def _read_token_id(claims: Mapping[str, Any], claim: str, token_type: str) -> str | None:
    if claim not in claims and token_type != STRICT_TYPE:
        return None
    given = claims.get(claim)
    if not isinstance(given, str) or not is_word(given):
        raise refusal("token-id")
    return given


def _read_sign_in(
    claims: Mapping[str, Any], validity: TokenValidity, issuer: Issuer
) -> tuple[str | None, frozenset[str] | None, int | None]:
    """`acr`, `amr` and `auth_time` (RFC 9068 section 2.2.1), each None if absent."""
    acr = claims.get("acr")
    if "acr" in claims and not is_word(acr):
        raise refusal("authentication")
    methods = read_words(claims, "amr", "authentication", SCOPE)
    if "auth_time" not in claims:
        return acr, methods, None
    authenticated_at = int(read_time(claims, "auth_time", "authentication"))
    # A token is issued after the sign-in.
    if authenticated_at > validity.issued_at + issuer.leeway:
        raise refusal("authentication")
    return acr, methods, authenticated_at


_CLIENT_MARKS = {"gty": "client-credentials", "idtyp": "app"}


def read_kind(claims: Mapping[str, Any], issuer: Issuer, subject: str, client: str) -> PrincipalKind:
    """Whether a person or a client calls, by the marks of client credentials: Auth0's `gty` and `...@clients`, Entra's
    `idtyp`, the client as subject (RFC 9068 section 2.2), the issuer's own rule and claim. Raises InvalidToken if marks
    contradict each other."""
    marks = {True} if subject in (client, f"{client}@clients") else set()
    for name, word in {**_CLIENT_MARKS, **dict([issuer.machine_claim] if issuer.machine_claim else [])}.items():
        if name in claims:
            if not is_word(claims[name]):
                raise refusal("kind")
            marks.add(claims[name] == word)
    named = claims.get("preferred_username")
    service_account = isinstance(named, str) and named.startswith("service-account-")
    if issuer.machine == "keycloak" and service_account:
        marks.add(_is_service_account(claims, client))
    if issuer.machine == "okta":
        marks.add("uid" not in claims)
    if issuer.machine == "entra":
        marks |= _entra_marks(claims, subject)
    unpinned = subject.endswith("@clients") or service_account
    if len(marks) > 1 or (unpinned and True not in marks):
        raise refusal("kind")
    return PrincipalKind.CLIENT if True in marks else PrincipalKind.USER


def _is_service_account(claims: Mapping[str, Any], client: str) -> bool:
    """Keycloak's service accounts have a user named after the client in lower case. A person may have chosen that name,
    so `client_id` counts too: Keycloak writes it only into tokens of client credentials."""
    return claims["preferred_username"] == f"service-account-{client}".lower() and claims.get("client_id") == client


def _entra_marks(claims: Mapping[str, Any], subject: str) -> set[bool]:
    """Entra: a user's token has `scp`. An app's own token has none, and its subject is the app's object."""
    if "scp" in claims:
        return {False}
    if claims.get("oid") != subject:
        raise refusal("kind")
    return {True}


_ROLE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# Entra lists up to 200 groups in a token, and says in `_claim_names` or `hasgroups` that there are more.
_MAX_GROUPS = 250


def read_scopes(claims: Mapping[str, Any], issuer: Issuer, kind: PrincipalKind) -> frozenset[str]:
    """The granted scopes, without the issuer's prefix. They are compared exactly: there are no wildcards.

    Permissions narrow scopes and never widen them: scopes are granted to the client, permissions to the user. If the
    issuer has a permissions claim, a user's token without it grants nothing.
    """
    granted = _read_scope_claim(claims, issuer.scope_claim)
    if kind is PrincipalKind.CLIENT and issuer.machine_scope_claim is not None:
        granted |= read_words(claims, issuer.machine_scope_claim, "scope", SCOPE) or frozenset()
    if issuer.permissions_claim is not None:
        permitted = read_words(claims, issuer.permissions_claim, "scope", SCOPE)
        if permitted is not None or kind is PrincipalKind.USER:
            granted &= permitted or frozenset()
    prefix = issuer.scope_prefix
    return frozenset(scope.removeprefix(prefix) for scope in granted if scope.startswith(prefix) and scope != prefix)


def read_roles(claims: Mapping[str, Any], issuer: Issuer, kind: PrincipalKind) -> frozenset[str]:
    """Words `role:X`: the issuer's roles with its prefix, and our roles for mapped groups.

    If a client's scopes stand in the same claim as roles, they are no roles.
    """
    named: frozenset[str] = frozenset()
    if kind is not PrincipalKind.CLIENT or issuer.roles_claim != issuer.machine_scope_claim:
        named = read_words(claims, issuer.roles_claim, "roles", _ROLE) or frozenset()
    if issuer.prefix:
        named = frozenset(f"{issuer.prefix}-{role}" for role in named)
    elif any(role.partition("-")[0] in issuer.foreign_prefixes for role in named):
        raise refusal("roles")
    return frozenset(f"role:{role}" for role in named | _roles_of_groups(claims, issuer))


def _roles_of_groups(claims: Mapping[str, Any], issuer: Issuer) -> frozenset[str]:
    if issuer.groups_claim is None or not issuer.groups:
        return frozenset()
    elsewhere = claims.get("_claim_names", {})
    if "hasgroups" in claims or not isinstance(elsewhere, dict) or issuer.groups_claim in elsewhere:
        # A rule may deny by role, so groups that the token leaves out cannot be treated as absent.
        raise refusal("groups")
    groups = read_words(claims, issuer.groups_claim, "groups", max_items=_MAX_GROUPS) or frozenset()
    return frozenset(role for group in groups for role in issuer.groups.get(group, ()))


def _read_scope_claim(claims: Mapping[str, Any], claim: str) -> frozenset[str]:
    """Scopes separated by single spaces (RFC 6749 section 3.3); none if absent or empty. Claims other than `scope` may
    be lists."""
    given = claims.get(claim, "")
    if isinstance(given, list) and claim != "scope":
        return read_words(claims, claim, "scope", SCOPE) or frozenset()
    if not isinstance(given, str):
        raise refusal("scope")
    words = given.split(" ") if given else []
    if len(words) > MAX_LIST_ITEMS or not all(SCOPE.fullmatch(word) for word in words):
        raise refusal("scope")
    return frozenset(words)


# As the directory stores them.
MAX_CLAIM_CHARS, MAX_CLAIM_VALUES, MAX_CLAIM_INT = 200, 50, 2**53 - 1


def read_attributes(claims: Mapping[str, Any], issuer: Issuer) -> dict[str, ClaimedValue]:
    """The values of the attributes that the issuer supplies, by name; those whose claims are absent are left out. A
    claim that no attribute can have gives None, so that the value is missing, and not that of the directory."""
    found: dict[str, ClaimedValue] = {}
    for name, path in issuer.attributes.items():
        *parents, last = (path,) if isinstance(path, str) else path
        place: object = claims
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if isinstance(place, dict) and last in place:
            found[name] = _read_attribute(place[last])
    return found


def _read_attribute(given: object) -> ClaimedValue:
    match given:
        case bool():
            return given
        case str() if is_word(given) and len(given) <= MAX_CLAIM_CHARS:
            return given
        case int() if abs(given) <= MAX_CLAIM_INT:
            return given
        case list() if len(given) <= MAX_CLAIM_VALUES:
            texts = [_read_attribute(text) for text in given]
            return tuple(text for text in texts if isinstance(text, str)) if _are_texts(texts) else None
        case _:
            return None


def _are_texts(values: list[ClaimedValue]) -> bool:
    return all(isinstance(value, str) for value in values)


MAX_ACTORS = 4


def read_actors(claims: Mapping[str, Any], issuer: Issuer, client: str) -> tuple[tuple[str, ...], bool | None]:
    """The names of the actors in `act`, the current one first, and whether an agent acts (RFC 8693 section 4.1).

    An actor is named by its client id, or by its subject if that is known to be a client's. Any other subject may be a
    person's, so the actor is UNLISTED; then it is not known whether it is an agent. Other members of `act` are ignored.
    """
    actors: list[str] = []
    agent = client in issuer.agents
    place: Mapping[str, Any] = claims
    while "act" in place:
        place = place["act"]
        if not isinstance(place, dict) or len(actors) == MAX_ACTORS:
            raise refusal("actors")
        name, is_agent = _read_actor(place, issuer, client)
        actors.append(name)
        agent |= is_agent
    return tuple(actors), agent or (None if UNLISTED in actors else False)


def _read_actor(act: Mapping[str, Any], issuer: Issuer, client: str) -> tuple[str, bool]:
    """The name of one actor, and whether it is declared an agent."""
    named = {name: act[name] for name in ("iss", "sub", *issuer.client_claims) if name in act}
    if not named.keys() - {"iss"} or not all(map(is_word, named.values())):
        raise refusal("actors")
    clients = {named[name] for name in issuer.client_claims if name in named}
    if len(clients) > 1 or UNLISTED in clients:
        raise refusal("actors")
    if named.get("iss", issuer.issuer) != issuer.issuer:
        # Another issuer's names are not ours to compare.
        return UNLISTED, False
    subject = named.get("sub", "")
    if not clients and (subject in (client, f"{client}@clients") or subject in issuer.agents | issuer.acting_clients):
        clients = {subject.removesuffix("@clients")}
    if not clients:
        return UNLISTED, False
    [name] = clients
    return _prefix_client(name, issuer), not issuer.agents.isdisjoint({name, subject})
