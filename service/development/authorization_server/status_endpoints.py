"""The routes of introspection and revocation. Own no state."""

from typing import Any

from authlib.oauth2.rfc6749 import OAuth2Error
from litestar import Response, post

from service.development.authorization_server.authorize import HttpRequest, TheServer
from service.development.authorization_server.oauth_server import OAuthServer, Reply
from service.development.authorization_server.token_endpoint import protocol_request
from service.development.authorization_server.token_status import SIGNED_ANSWER, sign_answer

INTROSPECTION_PATH = "/introspect"
REVOCATION_PATH = "/revoke"
_PRIVATE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@post(INTROSPECTION_PATH, status_code=200)
async def introspect(request: HttpRequest, server: TheServer) -> Response[Any]:
    """The state and claims of a token, as JSON, or as a signed JWT if `Accept` asks for it (RFC 9701 section 4)."""
    reply, client_id = _reply(INTROSPECTION_PATH, "introspection", await request.body(), request, server)
    if client_id and reply.status == 200 and _accepts_signed(request.headers.get("accept", "")):  # noqa: PLR2004
        content = sign_answer(server, client_id, reply.body or {})
        return Response(content.encode(), headers=_PRIVATE, media_type=SIGNED_ANSWER)
    return Response(reply.body, status_code=reply.status, headers=reply.headers | _PRIVATE)


@post(REVOCATION_PATH, status_code=200)
async def revoke(request: HttpRequest, server: TheServer) -> Response[Any]:
    """Success for any token, or an error of the request or the client."""
    reply, _ = _reply(REVOCATION_PATH, "revocation", await request.body(), request, server)
    return Response(reply.body or {}, status_code=reply.status, headers=reply.headers | _PRIVATE)


def _reply(path: str, name: str, body: bytes, request: HttpRequest, server: OAuthServer) -> tuple[Reply, str]:
    """The answer, and the id of the authenticated client."""
    try:
        asked = protocol_request(path, body, request, server)
    except OAuth2Error as error:
        return server.handle_error_response(None, error), ""
    reply: Reply = server.create_endpoint_response(name, asked)
    return reply, asked.client.get_client_id() if asked.client else ""


def _accepts_signed(accept: str) -> bool:
    """Whether `Accept` names the JWT's media type. `*/*` gets JSON, as in RFC 7662."""
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if kind == SIGNED_ANSWER:
            return "q=0" not in parameters
    return False
