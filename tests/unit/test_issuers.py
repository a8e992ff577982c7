"""Several issuers, each with its own kind of claims; none can impersonate another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.errors import InvalidToken, Misconfigured
from service.identity.issuers_file import read_issuers_file
from service.identity.principal import Principal, PrincipalKind
from service.identity.profiles import PROFILES
from service.identity.tokens import Tokens
from tests.token_forge import (
    ABSENT,
    AUDIENCE,
    NOW,
    HeldKeys,
    bearer,
    claims,
    good_jwks,
    header,
    issuer,
    sign,
    verifier,
)

if TYPE_CHECKING:
    from pathlib import Path

    from service.identity.issuer import Issuer

NAMES = {
    "auth0": "https://acme.eu.auth0.com/",
    "keycloak": "https://keycloak.acme.com/realms/acme",
    "entra": "https://login.microsoftonline.com/5e2f0f4c-0000-4000-8000-000000000001/v2.0",
    "okta": "https://acme.okta.com/oauth2/default",
    "cognito": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI",
}
MORE = {
    "auth0": 'roles_claim = "https://timewarden.example/roles"\npermissions_claim = "permissions"',
    "keycloak": "",
    "entra": 'groups = { "9d1e" = ["auditor"] }',
    "okta": 'groups = { "Payroll Team" = ["payroll", "payroll-lead"] }',
    "cognito": f'scope_prefix = "{AUDIENCE}/"\nclients_as_audience = ["web-app"]\ngroups = {{ payroll = ["payroll"] }}',
}


def table(profile: str, more: str = "") -> str:
    return (
        f'[[issuer]]\nname = "{profile}"\nprofile = "{profile}"\nprefix = "{profile}"\n'
        f'issuer = "{NAMES[profile]}"\naudience = "{AUDIENCE}"\n{MORE[profile]}\n{more}\n'
    )


def read(directory: Path, text: str, **options: Any) -> list[Issuer]:
    file = directory / "issuers.toml"
    file.write_text(text, encoding="utf-8")
    return read_issuers_file(file, **options)


def test_an_issuers_file_that_cannot_be_read_is_named_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=f"{tmp_path}/none cannot be read: No such file or directory"):
        read_issuers_file(tmp_path / "none")
    (tmp_path / "latin").write_bytes("# größer".encode("latin-1"))
    with pytest.raises(Misconfigured, match="The file is not UTF-8"):
        read_issuers_file(tmp_path / "latin")


@pytest.fixture
def all_five(tmp_path: Path) -> Tokens:
    return verifier(*read(tmp_path, "\n".join(table(profile) for profile in PROFILES)))


COMMON = {"client_id": ABSENT, "jti": ABSENT, "scope": ABSENT}
AUTH0: dict[str, Any] = {**COMMON, "azp": "web-app", "scope": "read:timesheets approve:timesheets"}
ENTRA: dict[str, Any] = {**COMMON, "azp": "web-app", "oid": "object-1", "sub": "pairwise", "uti": "t", "ver": "2.0"}
OKTA: dict[str, Any] = {**COMMON, "cid": "web-app", "uid": "00u1", "sub": "ana@acme.com", "jti": "AT.1"}
KEYCLOAK: dict[str, Any] = {**COMMON, "azp": "web-app", "typ": "Bearer", "jti": "j", "scope": "read:timesheets"}
COGNITO: dict[str, Any] = {
    **COMMON,
    "aud": ABSENT,
    "client_id": "web-app",
    "token_use": "access",
    "scope": f"openid {AUDIENCE}/read:timesheets",
}
SERVICE = {"preferred_username": "service-account-web-app", "client_id": "web-app", "sub": "7c0f"}
USER, CLIENT = PrincipalKind.USER, PrincipalKind.CLIENT
READ = frozenset({"read:timesheets"})
# Issuer, typ, claims → kind, subject, scopes, roles.
TAKEN: dict[str, tuple[str, Any, dict[str, Any], PrincipalKind, str, frozenset[str], set[str]]] = {
    "a person's permissions narrow the scopes at Auth0": (
        "auth0", "JWT",
        {**AUTH0, "permissions": ["read:timesheets", "x"], "https://timewarden.example/roles": ["lead"]},
        USER, "auth0|ana", READ, {"role:auth0-lead"},
    ),
    "a person without permissions may nothing at Auth0": (
        "auth0", "JWT", AUTH0, USER, "auth0|ana", frozenset(), set(),
    ),
    "a machine at Auth0 has its scopes": (
        "auth0", "JWT", {**AUTH0, "scope": "batch:upload", "gty": "client-credentials", "sub": "web-app@clients"},
        CLIENT, "web-app@clients", frozenset({"batch:upload"}), set(),
    ),
    "a person at Keycloak": (
        "keycloak", "JWT", {**KEYCLOAK, "realm_access": {"roles": ["auditor"]}},
        USER, "auth0|ana", READ, {"role:keycloak-auditor"},
    ),
    "a service account at Keycloak": ("keycloak", "JWT", {**KEYCLOAK, **SERVICE}, CLIENT, "7c0f", READ, set()),
    "a person at Entra is known by the object id": (
        "entra", "JWT", {**ENTRA, "scp": "read:timesheets", "roles": ["lead"], "groups": ["9d1e", "unknown"]},
        USER, "object-1", READ, {"role:entra-lead", "role:auditor"},
    ),
    "an app at Entra has its roles as scopes": (
        "entra", "JWT", {**ENTRA, "sub": "object-1", "roles": ["batch:upload"]},
        CLIENT, "object-1", frozenset({"batch:upload"}), set(),
    ),
    "an app at Entra that says so": (
        "entra", "JWT", {**ENTRA, "sub": "object-1", "idtyp": "app"}, CLIENT, "object-1", frozenset(), set(),
    ),
    "a person at Okta is known by the user id": (
        "okta", ABSENT, {**OKTA, "scp": ["read:timesheets", "openid"], "groups": ["Payroll Team", "Everyone"]},
        USER, "00u1", READ | {"openid"}, {"role:payroll", "role:payroll-lead"},
    ),
    "a service app at Okta": (
        "okta", ABSENT, {**OKTA, "uid": ABSENT, "sub": "web-app", "scp": ["batch:upload"]},
        CLIENT, "web-app", frozenset({"batch:upload"}), set(),
    ),
    "a person at Cognito, whose tokens have no audience": (
        "cognito", ABSENT, {**COGNITO, "cognito:groups": ["payroll", "eu west"]},
        USER, "auth0|ana", READ, {"role:payroll"},
    ),
    "a machine at Cognito": ("cognito", ABSENT, {**COGNITO, "sub": "web-app"}, CLIENT, "web-app", READ, set()),
}  # fmt: skip


def token(name: str, typ: Any, changes: dict[str, Any]) -> bytes:
    return sign(header(typ=typ), claims(iss=NAMES[name], **changes))


@pytest.mark.parametrize("case", TAKEN.values(), ids=TAKEN)
async def test_each_profile_is_understood(all_five: Tokens, case: Any) -> None:
    name, typ, changes, kind, subject, scopes, roles = case
    caller: Principal = await all_five.verify(bearer(token(name, typ, changes)))
    assert (caller.kind, caller.subject, caller.issuer_name) == (kind, subject, name)
    assert (caller.scopes, caller.roles, caller.client) == (scopes, roles, f"{name}:web-app")


REFUSED: dict[str, tuple[str, Any, dict[str, Any], str]] = {
    "an ID token of Entra": ("entra", "JWT", {**ENTRA, "scp": "openid", "nonce": "n"}, "other-use"),
    "an app of Entra with a user's scopes": ("entra", "JWT", {**ENTRA, "scp": "x", "idtyp": "app"}, "kind"),
    "a token of Entra for nobody known": ("entra", "JWT", ENTRA, "kind"),
    "a user of Entra without object": ("entra", "JWT", {**ENTRA, "scp": "x", "oid": ABSENT}, "subject"),
    "groups that Entra left out": (
        "entra", "JWT", {**ENTRA, "scp": "x", "_claim_names": {"groups": "src1"}}, "groups",
    ),
    "more groups than Entra names": ("entra", "JWT", {**ENTRA, "scp": "x", "hasgroups": True}, "groups"),
    "a person who took a service account's name": (
        "keycloak", "JWT", {**KEYCLOAK, "preferred_username": "service-account-web-app"}, "kind",
    ),
    "a service account of another client": ("keycloak", "JWT", {**KEYCLOAK, **SERVICE, "azp": "other"}, "client"),
    "roles of Keycloak that are no object": ("keycloak", "JWT", {**KEYCLOAK, "realm_access": ["x"]}, "roles"),
    "a person of Okta who took a client's name": ("okta", ABSENT, {**OKTA, "sub": "web-app"}, "kind"),
    "a client of Cognito that is not ours": ("cognito", ABSENT, {**COGNITO, "client_id": "other"}, "audience"),
    "an ID token of Cognito": ("cognito", ABSENT, {**COGNITO, "aud": "web-app", "token_use": "id"}, "audience"),
    "another audience at Cognito": ("cognito", ABSENT, {**COGNITO, "aud": "https://x.example"}, "audience"),
    "the type of one issuer at another": ("entra", "at+jwt", {**ENTRA, "scp": "x"}, "type"),
    "permissions that are a string": ("auth0", "JWT", {**AUTH0, "permissions": "read:timesheets"}, "scope"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
async def test_unclear_claims_of_a_profile_are_refused(all_five: Tokens, case: Any) -> None:
    name, typ, changes, cause = case
    with pytest.raises(InvalidToken) as caught:
        await all_five.verify(bearer(token(name, typ, changes)))
    assert caught.value.cause == cause


async def test_no_issuer_can_impersonate_another_not_even_in_names_of_clients_and_roles() -> None:
    plain, other = (
        issuer(),
        issuer(name="kc", prefix="kc", issuer="https://kc.example", jwks_url="https://kc.example/k"),
    )
    tokens = verifier(plain, other)
    for changes, cause in (({"client_id": "kc:payroll"}, "client"), ({"roles": ["kc-auditor"]}, "roles")):
        with pytest.raises(InvalidToken) as caught:
            await tokens.verify(bearer(sign(header(), claims(**changes))))
        assert caught.value.cause == cause
    caller = await tokens.verify(bearer(sign(header(), claims(iss="https://kc.example", roles=["auditor"]))))
    assert (caller.client, caller.roles) == ("kc:web-app", frozenset({"role:kc-auditor"}))


async def test_keys_of_one_issuer_do_not_sign_for_another() -> None:
    mine, theirs = issuer(), issuer(name="b", prefix="b", issuer="https://b.example")
    empty = HeldKeys(b'{"keys":[]}')
    held = {mine.name: HeldKeys(good_jwks()), theirs.name: empty}
    tokens = Tokens([mine, theirs], source=lambda issuer: held[issuer.name], clock=lambda: float(NOW))
    await tokens.verify(bearer(sign(header(), claims())))
    with pytest.raises(Exception, match="keys") as caught:
        await tokens.verify(bearer(sign(header(), claims(iss="https://b.example"))))
    assert type(caught.value).__name__ == "KeysUnavailable"


def test_an_issuer_may_have_a_machine_claim() -> None:
    mine = issuer(machine_claim=("client_type", "service"))
    assert mine.machine_claim == ("client_type", "service")


async def test_the_machine_claim_distinguishes_clients_from_people() -> None:
    tokens = verifier(issuer(machine_claim=("client_type", "service")))
    kinds = [
        (await tokens.verify(bearer(sign(header(), claims(client_type=kind))))).kind for kind in ("service", "person")
    ]
    assert kinds == [CLIENT, USER]


ATTRIBUTES = 'attributes = { country = "https://acme.example/country", level = ["employment", "level"] }'


@pytest.mark.parametrize(
    ("claimed", "read_as"),
    [
        ({}, {}),
        ({"employment": "none"}, {}),
        ({"employment": {}}, {}),
        ({"https://acme.example/country": "DE", "employment": {"level": 3}}, {"country": "DE", "level": 3}),
        ({"https://acme.example/country": ["DE", "FR"]}, {"country": ("DE", "FR")}),
        ({"https://acme.example/country": True}, {"country": True}),
        ({"https://acme.example/country": None}, {"country": None}),
        ({"https://acme.example/country": {"code": "DE"}}, {"country": None}),
        ({"https://acme.example/country": ["DE", 7]}, {"country": None}),
        ({"https://acme.example/country": ["DE"] * 51}, {"country": None}),
        ({"https://acme.example/country": "D\nE"}, {"country": None}),
        ({"https://acme.example/country": "x" * 201}, {"country": None}),
        ({"https://acme.example/country": ""}, {"country": None}),
        ({"employment": {"level": 1.5}}, {"level": None}),
        ({"employment": {"level": 2**53}}, {"level": None}),
    ],
)
async def test_claims_give_attributes_and_one_that_none_can_have_gives_a_missing_value(
    tmp_path: Path, claimed: dict[str, Any], read_as: dict[str, Any]
) -> None:
    """A wrong claim does not refuse the token: what it would have allowed stays forbidden."""
    (mapped,) = read(tmp_path, table("auth0", ATTRIBUTES))
    tokens = verifier(issuer(attributes=mapped.attributes))
    found = await tokens.verify(bearer(sign(header(), claims(**claimed))))
    assert dict(found.attributes) == read_as


COMPLAINTS: dict[str, tuple[str, str]] = {
    "no TOML": ("[[issuer]\n", "issuers.toml:1:1: This is not TOML"),
    "nothing": ("", "issuers.toml: The file needs an [[issuer]] table"),
    "too much": (
        table("okta").ljust(262_145), "issuers.toml: The file has 262145 bytes; at most 262144 are allowed",
    ),
    "another table": (table("okta") + "[other]\nx = 1\n", "Unknown key 'other'"),
    "a misspelt key": (table("okta", 'audiense = "x"'), "issuers.toml:8:1: Unknown key 'audiense' (did you mean"),
    "a misspelt profile": (table("okta").replace('profile = "okta"', 'profile = "x"'), "profile (the profiles are"),
    "no audience": (table("okta").replace("audience", "# audience"), ":1:1: This [[issuer]] has no audience"),
    "a number as a list": (table("okta", "algorithms = 5"), "issuers.toml:8:1: algorithms must be a list of strings"),
    "a shared secret": (table("okta", 'algorithms = ["HS256"]'), "may use only these algorithms"),
    "plain http": (table("okta").replace("https://acme", "http://acme"), "issuer must be an https URL"),
    "a password in the issuer": (
        table("okta").replace("https://acme", "https://ana:unquoted@acme"), "without user, password and fragment",
    ),
    "a password in the address of the keys": (
        table("okta", 'jwks_url = "https://ana:unquoted@a.example"'), "without user, password and fragment",
    ),
    "a password in the address of introspection": (
        table(
            "okta", '[issuer.introspection]\nurl = "https://ana:unquoted@a.example"\nclient_id = "x"',
        ),
        "without user, password and fragment",
    ),
    "http on loopback, in production": (
        table("okta").replace("https://acme.okta.com", "http://127.0.0.1"), "issuer must be an https URL",
    ),
    "a prefix that could be two": (table("okta").replace('prefix = "okta"', 'prefix = "a-b"'), "lower-case letters"),
    "a role that no policy can name": (
        table("auth0", 'groups_claim = "g"\ngroups = { x = ["Lead"] }'), "lower-case letters, digits and hyphens",
    ),
    "an attribute without a claim": (table("okta", "attributes = { country = 5 }"), "attributes must be a table from"),
    "an attribute that code supplies": (
        table("okta", 'attributes = { groups = "groups" }'), "declares under [directory.people]",
    ),
    "an attribute that no policy can name": (
        table("okta", 'attributes = { "Country" = "c" }'), "declares under [directory.people]",
    ),
    "an unknown key of introspection": (
        table("okta", '[issuer.introspection]\nurl = "https://a.example"\nclient_id = "x"\nsecret = "s"'),
        "Unknown key 'secret'",
    ),
    "a secret that is not there": (
        table("okta", '[issuer.introspection]\nurl = "https://a.example"\nclient_id = "x"\nclient_secret_file = "no"'),
        "client_secret_file must be the name of a file that can be read",
    ),
    "no secret": (
        table("okta", '[issuer.introspection]\nurl = "https://a.example"\nclient_id = "x"'),
        "either a client secret or a private key",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "complaint"), COMPLAINTS.values(), ids=COMPLAINTS)
def test_a_complaint_about_an_issuers_file_names_the_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        read(tmp_path, text)
    assert complaint in caught.value.public
    assert "unquoted" not in caught.value.public


def test_all_complaints_are_reported_at_once_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("top-secret\n", encoding="utf-8")
    extra = '[issuer.introspection]\nurl = "https://a.example"\nclient_id = "x"\nclient_secret_file = "secret"'
    with pytest.raises(Misconfigured) as caught:
        read(tmp_path, table("okta", "leeway = 3600\n" + extra) + table("entra", "nonsense = 1"))
    assert "leeway of 0 to 60" in caught.value.public
    assert "'nonsense'" in caught.value.public
    (found,) = read(tmp_path, table("okta", extra))
    assert found.introspection is not None
    assert found.introspection.client_secret == "top-secret"
    assert "top-secret" not in repr(found)


def test_in_development_an_issuer_may_be_on_this_machine(tmp_path: Path) -> None:
    text = table("okta").replace("https://acme.okta.com", "http://127.0.0.1:9000")
    assert read(tmp_path, text, https=False)[0].issuer == "http://127.0.0.1:9000/oauth2/default"


def test_two_issuers_cannot_share_a_prefix_or_both_have_introspection() -> None:
    from service.identity.issuer import Introspection

    asked = Introspection("https://a.example/i", "us", client_secret="s")
    for changes in ({"prefix": ""}, {"prefix": "b", "name": "example"}):
        with pytest.raises(Misconfigured):
            verifier(issuer(), issuer(**{"name": "b", "issuer": "https://b.example", **changes}))
    with pytest.raises(Misconfigured):
        verifier(
            issuer(introspection=asked), issuer(name="b", prefix="b", issuer="https://b.example", introspection=asked)
        )
