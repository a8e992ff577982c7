"""Pages, redirects and the browser's cookie as HTTP answers with security headers. Owns no state."""

from urllib.parse import urlsplit

from litestar import Response
from litestar.datastructures import Cookie
from litestar.enums import MediaType

from service.development.authorization_server.pages import STYLE_HASH

_PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


def page(html: str, status: int = 200, cookie: Cookie | None = None, form_target: str = "'self'") -> Response[str]:
    """A page without scripts and frames. Its forms can only be sent to `form_target`."""
    rules = (
        "default-src 'none'",
        f"style-src '{STYLE_HASH}'",
        f"form-action {form_target}",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
    headers = {"Content-Security-Policy": "; ".join(rules), **_PRIVATE}
    cookies = [cookie] if cookie else None
    return Response(html, status_code=status, media_type=MediaType.HTML, headers=headers, cookies=cookies)


def redirect(location: str, cookie: Cookie | None = None) -> Response[str]:
    """Redirect by GET, so that reloading does not send the form again."""
    headers = {"Location": location, **_PRIVATE}
    cookies = [cookie] if cookie else None
    return Response("", status_code=303, media_type=MediaType.TEXT, headers=headers, cookies=cookies)


def browser_cookie(issuer: str, browser: str) -> Cookie:
    return Cookie(key=cookie_name(issuer), value=browser, path="/", httponly=True, samesite="lax")


def cookie_name(issuer: str) -> str:
    # Browsers share cookies between the ports of one host, and two servers may run on it.
    return f"timewarden_sign_in_{urlsplit(issuer).port or 80}"


def form_target(redirect_uri: str) -> str:
    """The `form-action` of a page. Browsers apply it to the redirect after the form too, and its grammar has no IPv6
    addresses.
    """
    parts = urlsplit(redirect_uri)
    return f"'self' {parts.scheme}:" if "[" in parts.netloc else f"'self' {parts.scheme}://{parts.netloc}"
