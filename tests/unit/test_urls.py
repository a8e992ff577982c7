"""Two spellings of one URL have the same normal form, and two URLs never do (RFC 3986 sections 6.2.2 and 6.2.3)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.identity.urls import normalize_url

SAME = {
    "scheme and host in capitals": ("HTTPS://API.Example/a", "https://api.example/a"),
    "the default port": ("https://api.example:443/a", "https://api.example/a"),
    "the default port of http": ("http://api.example:80/a", "http://api.example/a"),
    "no port after the colon": ("https://api.example:/a", "https://api.example/a"),
    "no path": ("https://api.example", "https://api.example/"),
    "an escape that needs none": ("https://api.example/%61%2D%7e", "https://api.example/a-~"),
    "an escape in small letters": ("https://api.example/%2f%c3%a9", "https://api.example/%2F%C3%A9"),
    "steps that lead nowhere": ("https://api.example/a/./b/../c", "https://api.example/a/c"),
    "steps above the root": ("https://api.example/../../a", "https://api.example/a"),
    "steps at the end": ("https://api.example/a/b/..", "https://api.example/a/"),
    "escaped steps": ("https://api.example/a/%2e%2E/b", "https://api.example/b"),
    "a query": ("https://api.example/a?b=c", "https://api.example/a"),
    "a fragment": ("https://api.example/a#b", "https://api.example/a"),
    "an address": ("https://[2001:DB8::1]:443/a", "https://[2001:db8::1]/a"),
}
OTHER = {
    "a letter's case in the path": ("https://api.example/A", "https://api.example/a"),
    "an escaped slash": ("https://api.example/a%2Fb", "https://api.example/a/b"),
    "an empty step": ("https://api.example/a//b", "https://api.example/a/b"),
    "a slash at the end": ("https://api.example/a/", "https://api.example/a"),
    "another scheme": ("http://api.example/a", "https://api.example/a"),
    "the port of another scheme": ("https://api.example:80/a", "https://api.example/a"),
    "a parameter of a step": ("https://api.example/a;b", "https://api.example/a"),
}
NONE = [
    "", "/a", "//api.example/a", "api.example/a", "ftp://api.example/a", "https://", "https:///a", "https://u@h/a",
    "https://u:p@h/a", "https://h:99999/a", "https://h:x/a", "https://h/%", "https://h/%4", "https://h/%zz",
    "https://h/ a", "https://h/\ta", "https://h/\u00e9", "https://\u212a/a", "https://h\\@x/a", "https://[::1/a", "https://h/\x00",
    " https://h/",
]  # fmt: skip


@pytest.mark.parametrize(("spelling", "normal"), SAME.values(), ids=SAME)
def test_spellings_of_one_url_have_the_same_normal_form(spelling: str, normal: str) -> None:
    assert normalize_url(spelling) == normalize_url(normal) == normal


@pytest.mark.parametrize(("first", "second"), OTHER.values(), ids=OTHER)
def test_different_urls_have_different_normal_forms(first: str, second: str) -> None:
    assert normalize_url(first) != normalize_url(second)


@pytest.mark.parametrize("url", NONE)
def test_anything_but_an_http_url_with_only_a_host_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        normalize_url(url)


@given(st.text(max_size=40) | st.text(alphabet="https://[]%2e.:@?#a1\\", max_size=40).map("https://".__add__))
def test_the_normal_form_of_any_text_is_stable(url: str) -> None:
    with contextlib.suppress(ValueError):
        found = normalize_url(url)
        assert normalize_url(found) == found
        assert "?" not in found
        assert "#" not in found
