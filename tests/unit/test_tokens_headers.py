"""The Authorization header: exactly one, with the scheme Bearer and one token (RFC 6750 section 2.1)."""

from __future__ import annotations

import pytest

from service.errors import InvalidToken, MalformedCredentials, MissingToken, TimewardenError
from service.identity.credentials import RequestCredentials, parse_authorization
from tests.token_forge import good_token, verifier

HEADERS: dict[str, tuple[list[bytes], type[TimewardenError]]] = {
    "no header": ([], MissingToken),
    "basic credentials": ([b"Basic YTpi"], MissingToken),
    "a scheme that is not offered": ([b"Digest " + good_token()], MissingToken),
    "an unbound token as if bound": ([b"DPoP " + good_token()], InvalidToken),
    "DPoP without a token": ([b"DPoP"], MalformedCredentials),
    "a token without scheme": ([good_token()], MissingToken),
    "an empty header": ([b""], MalformedCredentials),
    "two headers": ([b"Bearer " + good_token()] * 2, MalformedCredentials),
    "two headers, one of them empty": ([b"Bearer " + good_token(), b""], MalformedCredentials),
    "two methods": ([b"Basic YTpi", b"Bearer " + good_token()], MalformedCredentials),
    "two headers joined by a proxy": ([b"Bearer a.b.c, Bearer d.e.f"], MalformedCredentials),
    "the scheme alone": ([b"Bearer"], MalformedCredentials),
    "the scheme and a space": ([b"Bearer "], MalformedCredentials),
    "two tokens": ([b"Bearer a.b.c d.e.f"], MalformedCredentials),
    "a tab between": ([b"Bearer \ta.b.c"], MalformedCredentials),
    "a token in quotes": ([b'Bearer "a.b.c"'], MalformedCredentials),
    "a parameter": ([b"Bearer token=a.b.c"], MalformedCredentials),
    "a line break": ([b"Bearer a.b.c\n"], MalformedCredentials),
    "bytes beyond ASCII": ([b"Bearer \xff.b.c"], MalformedCredentials),
    "an opaque token": ([b"Bearer opaque-token"], InvalidToken),
}


@pytest.mark.parametrize(("headers", "error"), HEADERS.values(), ids=HEADERS)
async def test_anything_but_one_bearer_token_is_refused_with_the_right_error(
    headers: list[bytes], error: type[TimewardenError]
) -> None:
    with pytest.raises(error) as caught:
        await verifier().verify(RequestCredentials(tuple(headers)))
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("header", "scheme"),
    [
        (b"Bearer a.b.c", "bearer"),
        (b"bearer a.b.c", "bearer"),
        (b"BEARER  a.b.c", "bearer"),
        (b" Bearer a.b.c ", "bearer"),
        (b"DPoP a.b.c", "dpop"),
        (b"dpop a.b.c", "dpop"),
    ],
)
def test_the_scheme_is_accepted_in_any_case_and_spacing_that_http_allows(header: bytes, scheme: str) -> None:
    assert parse_authorization([header]) == (scheme, b"a.b.c")
