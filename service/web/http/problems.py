"""Errors become RFC 9457 problem documents: the one table from the error tree to HTTP. Pure: owns no state.

The answer holds the public sentence, the slug and what helps to mend the request; causes and traces go to the log only.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from litestar import Response
from litestar.exceptions import (
    ClientException,
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)

from service import errors
from service.identity.challenges import challenge
from service.places import FieldError
from service.web.http.wrong_fields import OR_NULL, wanted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from litestar import Request
    from litestar.types import ExceptionHandlersMap

PROBLEM_JSON: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:timewarden:problem:"
# How Litestar says that a parameter which has to be there is not.
_MISSING: Final = re.compile(r"Missing required (query|header) parameter '([^']{1,64})'")
log = structlog.get_logger("problems")


class _NoSuchRoute(errors.NotFound):
    slug = "no-such-route"
    summary = "There is nothing at this path; the routes are listed in /openapi.json"


class _MethodNotAllowed(errors.BadInput):
    slug = "method-not-allowed"
    summary = "This path does not take that method"

    def __init__(self, allow: str) -> None:
        super().__init__(f"{self.summary}; it takes {allow}" if allow else self.summary)
        self.allow = allow


# The most specific class of an error found here gives its status.
STATUS: Final[Mapping[type[errors.TimewardenError], int]] = {
    errors.MalformedRequest: 400,
    errors.InvalidField: 422,
    errors.QueryTooBroad: 422,
    errors.BodyTooSlow: 408,
    errors.BodyTooLarge: 413,
    errors.HeadersTooLarge: 431,
    errors.UnsupportedMediaType: 415,
    _MethodNotAllowed: 405,
    errors.BadInput: 400,
    errors.Unauthenticated: 401,
    errors.NotFound: 404,
    errors.Denied: 403,
    errors.PreconditionRequired: 428,
    errors.PreconditionFailed: 412,
    errors.NotApplied: 409,
    errors.PolicyRejected: 422,
    errors.StaleExpectation: 409,
    errors.TooManyRequests: 429,
    errors.TryLater: 503,
    errors.TimewardenError: 500,
}


def status_of(kind: type[errors.TimewardenError]) -> int:
    """The HTTP status of an error class: that of its nearest ancestor in the table."""
    return next(STATUS[one] for one in kind.__mro__ if one in STATUS)


class Problems:
    """Exception handlers for an app. `resource_metadata` is the URL that challenges name, or None; `dpop_algorithms`
    are offered for proofs, and with `dpop_required` nothing but DPoP is; `step_up_acr` is what challenges for a
    stronger sign-in ask for."""

    def __init__(
        self,
        resource_metadata: str | None,
        *,
        dpop_algorithms: Sequence[str] = (),
        dpop_required: bool = False,
        step_up_acr: str = "",
    ) -> None:
        self._step_up_acr = step_up_acr
        self._challenge = partial(
            challenge, resource_metadata=resource_metadata, dpop_algorithms=dpop_algorithms, dpop_required=dpop_required
        )

    def handlers(self) -> ExceptionHandlersMap:
        """What Litestar wants: exception class to handler."""
        return {
            errors.TimewardenError: self.answer,
            HTTPException: lambda request, error: self.answer(request, of_framework(request, error)),
            Exception: self.unexpected,
        }

    def answer(self, request: Request[Any, Any, Any], error: errors.TimewardenError) -> Response[dict[str, object]]:
        """The problem document of an error of ours."""
        status = status_of(type(error))
        if error.cause or status >= 500:  # noqa: PLR2004
            log.log(40 if status >= 500 else 20, "problem", slug=error.slug, cause=error.cause, status=status)  # noqa: PLR2004
        body: dict[str, object] = {
            "type": TYPE_PREFIX + error.slug,
            "title": error.summary,
            "status": status,
            "detail": error.public,
            **error.extra,
        }
        headers: dict[str, str] = {}
        if (value := self.challenge(request, error)) is not None:
            headers["WWW-Authenticate"] = value
        if isinstance(error, errors.TryLater | errors.TooManyRequests):
            headers["Retry-After"] = str(error.retry_after)
        if isinstance(error, _MethodNotAllowed):
            headers["Allow"] = error.allow
        if error.decision is not None:
            headers["Decision-Id"], headers["Decision-Leaf"] = error.decision
            body["decision_id"] = error.decision[0]
        if request_id := request.scope.get("state", {}).get("request_id"):
            body["request_id"] = request_id
        return Response(body, status_code=status, headers=headers, media_type=PROBLEM_JSON)

    def challenge(self, request: Request[Any, Any, Any], error: errors.TimewardenError) -> str | None:
        """The WWW-Authenticate value of an error, also beside an answer that another sign-in would make longer."""
        if isinstance(error, errors.StepUpNeeded) and error.stronger:
            error.acr_values = self._step_up_acr or None
        return self._challenge(error, scheme=_scheme(request))

    def unexpected(self, request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, object]]:
        """What nobody foresaw: told without detail, logged with its trace."""
        log.error("unexpected error", exc_info=error)
        return self.answer(request, errors.TimewardenError("Something went wrong on our side; the request id finds it"))


def _scheme(request: Request[Any, Any, Any]) -> str:
    """The scheme that the caller used, in which the challenge is written."""
    return request.headers.get("Authorization", "").strip().partition(" ")[0].lower()


def of_framework(request: Request[Any, Any, Any], error: HTTPException) -> errors.TimewardenError:
    """Litestar's own exceptions as errors of our tree."""
    if isinstance(error, ValidationException):
        return _invalid(request, error)
    if isinstance(error, NotFoundException):
        return _NoSuchRoute()
    if isinstance(error, MethodNotAllowedException):
        return _MethodNotAllowed(", ".join(_methods_of(request)))
    if error.status_code == 413:  # noqa: PLR2004
        return errors.BodyTooLarge()
    if isinstance(error, ClientException):
        return errors.MalformedRequest(_sentence(str(error.detail)))
    return errors.TimewardenError(cause=type(error).__name__)


def _methods_of(request: Request[Any, Any, Any]) -> list[str]:
    """The methods that the path takes (RFC 9110 section 10.2.1), asked of the router, which does not tell them."""
    found = []
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        with suppress(HTTPException):
            request.app.asgi_router.handle_routing(path=request.scope["path"], method=method)
            found.append(method)
    return ["GET", "HEAD", *found[1:]] if found[:1] == ["GET"] else found


def _invalid(request: Request[Any, Any, Any], error: ValidationException) -> errors.TimewardenError:
    found = []
    called = {"data": "body", **_names_of_parameters(request)}
    for one in error.extra if isinstance(error.extra, list) else []:
        if isinstance(one, dict):
            where = str(one.get("source", "")).removeprefix("ParamType.").lower()
            name = str(one.get("key", "")) or "body"
            name = called.get(name, name)
            path = name if where in {"", "body"} else f"{where}.{name}"
            says = _wanted(request, str(one.get("key", ""))) or _sentence(str(one.get("message", "is not valid")))
            found.append(FieldError(path, says))
    if not found and (missing := _MISSING.match(str(error.detail))):
        found.append(FieldError(f"{missing[1]}.{missing[2]}", "is missing"))
    if not found:
        return errors.MalformedRequest(_sentence(str(error.detail)))
    return errors.InvalidField(*found)


def _wanted(request: Request[Any, Any, Any], name: str) -> str | None:
    """What a parameter of the handler, or of what fills its dependencies, must be."""
    route = request.route_handler
    models = [
        route.signature_model,
        *(dependency.signature_model for dependency in route.resolve_dependencies().values()),
    ]
    for field in (field for model in models for field in msgspec.structs.fields(model)):
        if field.name == name:
            # Nothing in a URL is null.
            return f"must be {wanted(field.type).removesuffix(OR_NULL)}"
    return None


def _names_of_parameters(request: Request[Any, Any, Any]) -> dict[str, str]:
    """How callers spell the parameters that a handler's signature spells otherwise."""
    signature = request.route_handler.parsed_fn_signature.parameters
    spelled = ((name, getattr(field.kwarg_definition, "name", None)) for name, field in signature.items())
    return {name: spelling for name, spelling in spelled if spelling}


def _sentence(text: str) -> str:
    """A framework's message without the caller's own bytes in excess, and without line breaks."""
    return " ".join(text.split())[:300]
