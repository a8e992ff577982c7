"""GET /v1/me: who the token says you are, as the policy sees you."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response, get

from service.web.answers import answered
from service.web.operations import operation
from service.web.parameters import Asking  # noqa: TC001 — Litestar reads handler signatures

if TYPE_CHECKING:
    from service.authorization.enforcement import Enforcement
    from service.authorization.permit import Permit
    from service.authorization.relationships import Seen
    from service.database import Connection


class Me(msgspec.Struct):
    """The principal of the token: kind, person (of a user), acting client, granted scopes, roles."""

    kind: str
    person: str | None
    client: str
    scopes: list[str]
    roles: list[str]
    policy_version: int


def me_route(enforcement: Enforcement) -> Any:
    """The handler, bound to its use case."""

    @get("/v1/me", **operation("Who am I", scope=None, tag="Me"))
    async def read_me(ask: Asking) -> Response[Me]:
        async def load(_permit: Permit, seen: Seen, _connection: Connection) -> tuple[Me, list[str]]:
            principal = ask.principal
            roles = principal.roles | {f"role:{role}" for role in seen.roles}
            return (
                Me(
                    kind=str(principal.kind),
                    person=str(principal.person) if principal.person else None,
                    client=principal.client,
                    scopes=sorted(principal.scopes),
                    roles=sorted(role.removeprefix("role:") for role in roles),
                    policy_version=seen.version,
                ),
                [],
            )

        answer = await enforcement.read(ask, "me", "read", load)
        return answered(answer.value, answer.receipt)

    return read_me
