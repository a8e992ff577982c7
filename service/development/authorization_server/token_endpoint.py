"""The token endpoint (RFC 6749 section 3.2). Owns no state."""

import base64
import binascii
from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Error
from litestar import Response, post

from service.development.authorization_server.authorize import HttpRequest, TheServer
from service.development.authorization_server.oauth_server import OAuthServer, Reply
from service.development.authorization_server.requests import ProtocolRequest, oauth_parameters

PATH = "/token"


@post(PATH, status_code=200)
async def issue(request: HttpRequest, server: TheServer) -> Response[Any]:
    """An access token (section 5.1) or an error (section 5.2), as JSON that must not be cached."""
    reply = _reply(await request.body(), request, server)
    return Response(reply.body, status_code=reply.status, headers=reply.headers)


def _reply(body: bytes, request: HttpRequest, server: OAuthServer) -> Reply:
    try:
        asked = _read(body, request, server)
    except OAuth2Error as error:
        refused: Reply = server.handle_error_response(None, error)
        return refused
    reply: Reply = server.create_token_response(asked)
    return reply


def _read(body: bytes, request: HttpRequest, server: OAuthServer) -> ProtocolRequest:
    asked = protocol_request(PATH, body, request, server)
    if "grant_type" not in asked.form:
        raise InvalidRequestError("Missing 'grant_type' in request.")
    proofs = request.headers.getall("dpop", [])
    asked.key_thumbprint = server.proofs.key_thumbprint(proofs, "POST", server.endpoint(PATH))
    return asked


def protocol_request(path: str, body: bytes, request: HttpRequest, server: OAuthServer) -> ProtocolRequest:
    """Read the form and the credentials of a client. Raises InvalidRequestError."""
    if request.content_type[0] != "application/x-www-form-urlencoded":
        raise InvalidRequestError("The body must be application/x-www-form-urlencoded")
    asked = ProtocolRequest("POST", server.endpoint(path), oauth_parameters(body), _basic_credentials(request))
    ways = [asked.headers, "client_secret" in asked.form, "client_assertion" in asked.form]
    if sum(map(bool, ways)) > 1:
        raise InvalidRequestError("A client must use only one authentication method")  # RFC 6749 section 2.3
    return asked


def _basic_credentials(request: HttpRequest) -> str | None:
    """The Authorization header if it can be decoded; Authlib raises UnicodeDecodeError for bytes that are not UTF-8."""
    header = request.headers.get("authorization", "")
    try:
        base64.b64decode(header.partition(" ")[2]).decode()
    except (binascii.Error, ValueError):
        return None
    return header or None
