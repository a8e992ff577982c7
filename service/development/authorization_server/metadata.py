"""The server's metadata (RFC 8414) and its public keys (RFC 7517). Owns no state."""

from typing import Any

from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from service.development.authorization_server import (
    authorize,
    device_pages,
    end_session,
    status_endpoints,
    token_endpoint,
)
from service.development.authorization_server.device_grant import DeviceGrant
from service.development.authorization_server.dpop_proof import PROOF_ALGORITHMS
from service.development.authorization_server.identity_tokens import ALGORITHM
from service.development.authorization_server.oauth_server import OAuthServer
from service.development.authorization_server.sessions import ACR_MFA
from service.development.authorization_server.signing_keys import SigningKeys
from service.development.authorization_server.token_exchange import ExchangeGrant
from service.development.authorization_server.token_status import ANSWER_ALGORITHM, CLIENT_METHODS
from service.development.people import ALL_MEANINGS

JWKS_PATH = "/jwks"
_CACHEABLE = {"Cache-Control": "public, max-age=300"}

Metadata = NamedDependency[SkipValidation[dict[str, Any]]]
Keys = NamedDependency[SkipValidation[SigningKeys]]


@get(["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"])
async def discovery(metadata: Metadata) -> Response[dict[str, Any]]:
    """The same document at both addresses, because many clients know only the second."""
    return Response(metadata, headers=_CACHEABLE)


@get(JWKS_PATH)
async def jwks(keys: Keys) -> Response[dict[str, Any]]:
    return Response(keys.public_jwks(), headers=_CACHEABLE)


def describe(server: OAuthServer) -> dict[str, Any]:
    """The metadata document, checked by Authlib's own validator."""
    document = AuthorizationServerMetadata(
        {
            "issuer": server.issuer,
            "authorization_endpoint": server.endpoint(authorize.PATH),
            "token_endpoint": server.endpoint(token_endpoint.PATH),
            "device_authorization_endpoint": server.endpoint(device_pages.AUTHORIZATION_PATH),
            "jwks_uri": server.endpoint(JWKS_PATH),
            "scopes_supported": list(ALL_MEANINGS),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": [
                "authorization_code",
                "client_credentials",
                "refresh_token",
                DeviceGrant.GRANT_TYPE,
                ExchangeGrant.GRANT_TYPE,
            ],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
            "introspection_endpoint": server.endpoint(status_endpoints.INTROSPECTION_PATH),
            "introspection_endpoint_auth_methods_supported": list(CLIENT_METHODS),
            "introspection_endpoint_auth_signing_alg_values_supported": ["ES256"],
            "introspection_signing_alg_values_supported": [ANSWER_ALGORITHM],
            "revocation_endpoint": server.endpoint(status_endpoints.REVOCATION_PATH),
            "revocation_endpoint_auth_methods_supported": ["none", *CLIENT_METHODS],
            "revocation_endpoint_auth_signing_alg_values_supported": ["ES256"],
            "end_session_endpoint": server.endpoint(end_session.PATH),
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "subject_types_supported": ["public"],
            "acr_values_supported": [ACR_MFA],
            "prompt_values_supported": ["login", "consent", "select_account", "none"],
            "code_challenge_methods_supported": ["S256"],
            "dpop_signing_alg_values_supported": list(PROOF_ALGORITHMS),
            "authorization_response_iss_parameter_supported": True,
        }
    )
    document.validate()
    return dict(document)
