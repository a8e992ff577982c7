"""The parts of the development authorization server that need no server: stores, parameters, redirects, pages,
people.
"""

from __future__ import annotations

import pytest
from authlib.oauth2.rfc6749 import InvalidRequestError
from hypothesis import given
from hypothesis import strategies as st

from service.development.authorization_server import second_factor
from service.development.authorization_server.application import loopback_address
from service.development.authorization_server.clients import find
from service.development.authorization_server.demo import demo_page, describe_token
from service.development.authorization_server.expiring import ExpiringStore
from service.development.authorization_server.page_walk import read_page
from service.development.authorization_server.pages import (
    consent_page,
    error_page,
    second_factor_page,
    sign_in_page,
    user_code_page,
)
from service.development.authorization_server.requests import oauth_parameters
from service.development.authorization_server.sessions import Sessions, check_password
from service.development.people import ALL_MEANINGS, CLIENTS, PEOPLE, ROLE_SCOPES, SCOPE_MEANINGS, DemoClient, scopes_of
from service.errors import Misconfigured

HOSTILE = """"><script>alert('x')</script>&amp;"""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_entry_is_given_out_once_and_expires() -> None:
    clock = Clock()
    store: ExpiringStore[str] = ExpiringStore(seconds=60, capacity=10, clock=clock)
    store.put("a", "first")
    store.put("b", "second")
    assert store.take("a") == "first"
    assert store.take("a") is None
    clock.now = 60
    assert store.find("b") is None


def test_a_full_store_forgets_its_oldest_entries_and_keeps_its_bound() -> None:
    store: ExpiringStore[int] = ExpiringStore(seconds=60, capacity=3)
    for number in range(100):
        store.put(str(number), number)
    assert len(store) == 3
    assert [store.find(str(number)) for number in (96, 97, 98, 99)] == [None, 97, 98, 99]


@pytest.mark.parametrize(
    "issuer",
    [
        "http://192.168.1.10:9000",
        "http://0.0.0.0:9000",
        "http://login.example.com",
        "http://127.0.0.1.example.com:9000",
        "http://localhost.example.com",
        "http://localhost@example.com",
        "https://127.0.0.1:9000",
        "http://127.0.0.1:9000/tenant",
        "http://127.0.0.1:9000?x=1",
        "http://127.0.0.1:99999999",
        "ftp://127.0.0.1",
        "127.0.0.1:9000",
        "",
    ],
)
def test_an_issuer_that_is_not_plain_loopback_is_refused(issuer: str) -> None:
    with pytest.raises(Misconfigured):
        loopback_address(issuer)


@pytest.mark.parametrize(
    ("issuer", "address"),
    [
        ("http://127.0.0.1:9000", ("127.0.0.1", 9000)),
        ("http://127.0.0.1:9000/", ("127.0.0.1", 9000)),
        ("http://localhost:9000", ("127.0.0.1", 9000)),
        ("http://[::1]:9000", ("::1", 9000)),
    ],
)
def test_a_loopback_issuer_names_where_to_listen(issuer: str, address: tuple[str, int]) -> None:
    assert loopback_address(issuer) == address


@pytest.mark.parametrize(
    ("client_id", "uri", "accepted"),
    [
        ("timesheets-cli", "http://127.0.0.1:51234/callback", True),
        ("timesheets-cli", "http://127.0.0.1/callback", True),
        ("timesheets-cli", "http://[::1]:51234/callback", True),
        ("timesheets-cli", "http://127.0.0.1:51234/other", False),
        ("timesheets-cli", "http://127.0.0.1:51234/callback?next=x", False),
        ("timesheets-cli", "http://127.0.0.1:51234/callback#x", False),
        ("timesheets-cli", "http://127.0.0.1:80@evil.example/callback", False),
        ("timesheets-cli", "http://127.0.0.1.evil.example/callback", False),
        ("timesheets-cli", "https://127.0.0.1:51234/callback", False),
        ("timesheets-cli", "http://localhost:51234/callback", False),
        ("timesheets-cli", "http://127.0.0.1:/callback", False),
        ("hours-app", "http://127.0.0.1:4200/callback", True),
        ("hours-app", "http://127.0.0.1:4201/callback", False),
        ("hours-app", "http://127.0.0.1:4200/callback/", False),
        ("payroll-import", "http://127.0.0.1/callback", False),
    ],
)
def test_only_a_registered_redirect_uri_is_accepted(client_id: str, uri: str, *, accepted: bool) -> None:
    client = find(client_id)
    assert client is not None
    assert client.check_redirect_uri(uri) is accepted


@pytest.mark.parametrize(
    "query",
    [
        b"state=a&state=b",
        b"client_id=a&client_id=a",
        b"state=%00",
        b"state=%0d%0aSet-Cookie:x",
        b"state=%ff",
        b"state=\xff",
        b"state=%C3%A9",
        b"redirect_uri=%22",
        b"response_type=co%5Cde",
        b"&".join(b"p%d=1" % number for number in range(100)),
        b"state=" + b"a" * 20_000,
    ],
)
def test_parameters_that_the_protocol_does_not_allow_are_refused(query: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        oauth_parameters(query)


def test_parameters_without_a_value_count_as_absent_and_a_resource_may_be_repeated() -> None:
    assert oauth_parameters(b"scope=&resource=a&resource=b&state=x") == (
        ("resource", "a"),
        ("resource", "b"),
        ("state", "x"),
    )


@given(st.binary(max_size=200))
def test_any_bytes_as_parameters_are_read_or_refused(raw: bytes) -> None:
    try:
        pairs = oauth_parameters(raw)
    except InvalidRequestError:
        return
    assert all(part.isprintable() and part.isascii() for pair in pairs for part in pair)


@given(st.text(max_size=60))
def test_whatever_stands_in_a_page_comes_back_as_text_and_never_as_markup(text: str) -> None:
    client = DemoClient("c", None, text, (), (), ())
    page = sign_in_page(client, action=f"/authorize?{text}", form_token="t", login=text, problem="no")
    assert page.count("<script") == page.count("<strong>") - 1
    (form,) = read_page(page).forms
    assert form.has("password")


def test_hostile_text_is_escaped_on_every_page() -> None:
    client = DemoClient("c", None, HOSTILE, (), (), ())
    pages = (
        sign_in_page(client, HOSTILE, HOSTILE, login=HOSTILE, problem=HOSTILE),
        error_page(HOSTILE, HOSTILE),
        consent_page(
            client,
            PEOPLE["ana"],
            asked=("read:timesheets",),
            allowed=frozenset({"read:timesheets"}),
            action=HOSTILE,
            tokens=(HOSTILE, HOSTILE),
            redirect_uri=HOSTILE,
            user_code=HOSTILE,
        ),
        second_factor_page(PEOPLE["ana"], HOSTILE, HOSTILE, HOSTILE, problem=HOSTILE),
        user_code_page(HOSTILE, problem=HOSTILE),
        demo_page([(HOSTILE, HOSTILE, HOSTILE)], HOSTILE, problem=HOSTILE),
        demo_page([], HOSTILE, content=describe_token(HOSTILE, HOSTILE, HOSTILE)),
    )
    for page in pages:
        assert "<script" not in page
    assert read_page(pages[0]).forms[0].action == HOSTILE
    assert read_page(pages[0]).forms[0].values("login") == [HOSTILE]


def test_forms_are_read_from_careless_html() -> None:
    page = read_page(
        "<FORM action=/go?a=1&amp;b=2><input name=a value=1><INPUT TYPE=Checkbox NAME=scope VALUE='read:x' checked>"
        "<input name=gone disabled><input type=checkbox name=plain><button name=decision value=deny>No</FORM>"
        "<input name=outside><p role=alert>Not &lt;this&gt;\n time</p>"
    )
    (form,) = page.forms
    assert form.action == "/go?a=1&b=2"
    assert [(field.name, field.value, field.kind) for field in form.fields] == [
        ("a", "1", "text"),
        ("scope", "read:x", "checkbox"),
        ("plain", "on", "checkbox"),
        ("decision", "deny", "submit"),
    ]
    assert page.alert == "Not <this> time"


def test_a_form_token_is_good_for_one_browser_one_step_and_one_request() -> None:
    sessions = Sessions()
    token = sessions.form_token("browser", "consent", "client_id=a")
    assert sessions.is_form_token(token, "browser", "consent", "client_id=a")
    assert not sessions.is_form_token(token, "another", "consent", "client_id=a")
    assert not sessions.is_form_token(token, "browser", "sign-in", "client_id=a")
    assert not sessions.is_form_token(token, "browser", "consent", "client_id=b")
    assert not sessions.is_form_token("", "browser", "consent", "client_id=a")
    assert not Sessions().is_form_token(token, "browser", "consent", "client_id=a")
    assert not sessions.is_form_token(sessions.form_token("", "consent", ""), "", "consent", "")


def test_only_the_right_password_signs_in() -> None:
    right = check_password("ana", PEOPLE["ana"].password)
    assert right is not None
    assert right.person is PEOPLE["ana"]
    for login, password in (("ana", "ben-demo"), ("ana", ""), ("nobody", ""), ("nobody", "é"), ("", "")):
        assert check_password(login, password) is None


def test_every_person_has_known_roles_and_every_scope_has_words() -> None:
    assert set(PEOPLE) == {"ana", "ben", "mia", "max", "dora", "carl", "audrey", "paula", "adam", "pia", "pablo"}
    for login, person in PEOPLE.items():
        assert person.login == login
        assert person.subject == f"dev|{login}"
        assert scopes_of(person) <= set(SCOPE_MEANINGS)
    assert scopes_of(PEOPLE["mia"]) == {*ROLE_SCOPES["employee"], "approve:timesheets"}
    assert not any("batch:upload" in scopes_of(person) for person in PEOPLE.values())
    assert all(set(client.scopes) <= set(ALL_MEANINGS) for client in CLIENTS.values())


def test_secrets_are_not_shown_when_people_and_clients_are_printed() -> None:
    printed = f"{PEOPLE!r} {CLIENTS!r}"
    assert "ana-demo" not in printed
    assert "payroll-import-demo" not in printed


def test_the_demo_code_is_that_of_rfc_6238(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_factor, "_secret", lambda _: b"12345678901234567890")
    assert second_factor.demo_code("ana", 59) == "287082"
    assert second_factor.demo_code("ana", 1_111_111_109) == "081804"
    assert second_factor.demo_code("ana", 20_000_000_000) == "353130"
