"""Turns errors into RFC 9457 problem documents: the one table from the error tree to HTTP. Pure: owns no state.

The answer holds the public sentence, the slug and what helps to correct the request. Causes and traces go only to the
log.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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

from service import errors, metrics
from service.connectivity import TAKEN_AWAY
from service.identity.challenges import CHALLENGED, build_challenge
from service.identity.credentials import BEARER
from service.identity.refusals import CAUSES
from service.metric_families import OTHER
from service.places import FieldError
from service.web.http.wrong_fields import describe_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from litestar import Request
    from litestar.types import ExceptionHandlersMap, Scope

PROBLEM_JSON: Final = "application/problem+json"
CREDENTIALS_REFUSED: Final = (errors.InvalidToken, errors.InvalidProof, errors.MalformedCredentials)
_WAITS: Final = (errors.TryLater, errors.TooManyRequests)
TYPE_PREFIX: Final = "urn:timewarden:problem:"
# Litestar's message for a missing parameter.
_MISSING: Final = re.compile(r"Missing required (query|header) parameter '([^']{1,64})'")
log = structlog.get_logger("problems")


class NoSuchRoute(errors.NotFound):
    """Nothing answers at this path."""

    slug = "no-such-route"
    summary = "No such route; /openapi.json lists the routes"


class _MethodNotAllowed(errors.BadInput):
    slug = "method-not-allowed"
    summary = "This path does not support that method"

    def __init__(self, allow: str) -> None:
        super().__init__(f"{self.summary}; use {allow}" if allow else self.summary)
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
    return next(STATUS[ancestor] for ancestor in kind.__mro__ if ancestor in STATUS)


class _Form(NamedTuple):
    """What the answers to all errors of a class share: the status, the labels of their metric, and the first members
    of the document. `may_challenge`: other credentials might help."""

    status: int
    labels: tuple[str, str]
    members: Mapping[str, object]
    may_challenge: bool

    @classmethod
    def of(cls, kind: type[errors.TimewardenError]) -> _Form:
        status = status_of(kind)
        return cls(
            status,
            (kind.slug, str(status)),
            {"type": TYPE_PREFIX + kind.slug, "title": kind.summary, "status": status},
            issubclass(kind, CHALLENGED),
        )


class Problems:
    """The exception handlers of an app. For WWW-Authenticate challenges: `resource_metadata` is their URL, if any;
    `dpop_algorithms` are the accepted algorithms of proofs; `dpop_required` leaves out Bearer; `step_up_acr` is the
    level that a stronger sign-in must have."""

    def __init__(
        self,
        resource_metadata: str | None,
        *,
        dpop_algorithms: Sequence[str] = (),
        dpop_required: bool = False,
        step_up_acr: str = "",
    ) -> None:
        self._step_up_acr = step_up_acr
        self._forms: dict[type[errors.TimewardenError], _Form] = {}
        self._offers_dpop = bool(dpop_algorithms)
        self._build = partial(
            build_challenge,
            resource_metadata=resource_metadata,
            dpop_algorithms=dpop_algorithms,
            dpop_required=dpop_required,
        )

    def handlers(self) -> ExceptionHandlersMap:
        """Litestar's map from exception class to handler."""
        return {
            errors.TimewardenError: lambda request, error: self.answer(request.scope, error),
            HTTPException: lambda request, error: self.answer(request.scope, from_framework(request, error)),
            Exception: lambda request, error: self.answer_unexpected(request.scope, error),
        }

    def answer(self, scope: Scope, error: errors.TimewardenError) -> Response[dict[str, object]]:
        """The problem document of an error of ours."""
        kind = type(error)
        form = self._forms.get(kind)
        if form is None:
            form = self._forms[kind] = _Form.of(kind)
        metrics.PROBLEMS.add(form.labels)
        if error.cause or form.status >= 500:  # noqa: PLR2004
            _report_cause(error, form.status)
        body: dict[str, object] = {**form.members, "detail": error.public, **error.extra}
        headers: dict[str, str] = {}
        if form.may_challenge and (value := self.challenge(scope, error)) is not None:
            headers["WWW-Authenticate"] = value
        if isinstance(error, _WAITS):
            headers["Retry-After"] = str(error.retry_after)
        if isinstance(error, _MethodNotAllowed):
            headers["Allow"] = error.allow
        if error.decision is not None:
            headers["Decision-Id"], headers["Decision-Leaf"] = error.decision
            body["decision_id"] = error.decision[0]
            if error.request_access is not None:
                body["request_access"] = error.request_access
        if request_id := scope.get("state", {}).get("request_id"):
            body["request_id"] = request_id
        # Its traceback holds the frames that hold the error. Only the garbage collector would free them, 113 objects a
        # refusal.
        error.__traceback__ = None
        return Response(body, status_code=form.status, headers=headers, media_type=PROBLEM_JSON)

    def challenge(self, scope: Scope, error: errors.TimewardenError) -> str | None:
        """The WWW-Authenticate value of an error. Lists use it too, when another sign-in would show more items."""
        if isinstance(error, errors.StepUpNeeded) and error.stronger:
            error.acr_values = self._step_up_acr or None
        # Only where DPoP is offered does the challenge follow the request.
        return self._build(error, scheme=_scheme(scope) if self._offers_dpop else BEARER)

    def answer_unexpected(self, scope: Scope, error: Exception) -> Response[dict[str, object]]:
        """Answer an unexpected error without detail, and log it with its trace."""
        log.error("unexpected error", exc_info=error)
        if isinstance(error, TAKEN_AWAY):
            return self.answer(scope, errors.DatabaseUnavailable(cause=type(error).__name__))
        return self.answer(scope, errors.TimewardenError("Internal error; quote the request id when you report it"))


def _report_cause(error: errors.TimewardenError, status: int) -> None:
    if isinstance(error, CREDENTIALS_REFUSED) and error.cause:
        metrics.TOKENS_REFUSED.add((error.cause if error.cause in CAUSES else OTHER,))
    log.log(40 if status >= 500 else 20, "problem", slug=error.slug, cause=error.cause, status=status)  # noqa: PLR2004


def _scheme(scope: Scope) -> str:
    """The scheme that the caller used; the challenge uses the same."""
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return given.decode("latin-1").strip().partition(" ")[0].lower()


def from_framework(request: Request[Any, Any, Any], error: HTTPException) -> errors.TimewardenError:
    """Convert an exception of Litestar into an error of our tree."""
    if isinstance(error, ValidationException):
        return _from_validation(request, error)
    if isinstance(error, NotFoundException):
        return NoSuchRoute()
    if isinstance(error, MethodNotAllowedException):
        return _MethodNotAllowed(", ".join(find_methods(request)))
    if error.status_code == 413:  # noqa: PLR2004
        return errors.BodyTooLarge()
    if isinstance(error, ClientException):
        return errors.MalformedRequest(_clean_message(str(error.detail)))
    return errors.TimewardenError(cause=type(error).__name__)


def find_methods(request: Request[Any, Any, Any]) -> list[str]:
    """The methods of the path (RFC 9110 section 10.2.1). The router has no list of them, so each one is tried."""
    found = []
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        with suppress(HTTPException):
            request.app.asgi_router.handle_routing(path=request.scope["path"], method=method)
            found.append(method)
    return ["GET", "HEAD", *found[1:]] if found[:1] == ["GET"] else found


def _from_validation(request: Request[Any, Any, Any], error: ValidationException) -> errors.TimewardenError:
    found = []
    names = {"data": "body", **_parameter_names(request)}
    for detail in error.extra if isinstance(error.extra, list) else []:
        if isinstance(detail, dict):
            where = str(detail.get("source", "")).removeprefix("ParamType.").lower()
            key = str(detail.get("key", ""))
            name = names.get(key or "body", key or "body")
            path = name if where in {"", "body"} else f"{where}.{name}"
            message = _describe_parameter(request, key) or _clean_message(str(detail.get("message", "is not valid")))
            found.append(FieldError(path, message))
    if not found and (missing := _MISSING.match(str(error.detail))):
        found.append(FieldError(f"{missing[1]}.{missing[2]}", "is missing"))
    if not found:
        return errors.MalformedRequest(_clean_message(str(error.detail)))
    return errors.InvalidField(*found)


def _describe_parameter(request: Request[Any, Any, Any], name: str) -> str | None:
    """Describe the type of a parameter of the handler or its dependencies; None if there is no such parameter."""
    route = request.route_handler
    models = [route.signature_model, *(provide.signature_model for provide in route.resolve_dependencies().values())]
    for field in (field for model in models for field in msgspec.structs.fields(model)):
        if field.name == name:
            return f"must be {describe_parameter(field.type)}"
    return None


def _parameter_names(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The public names of parameters that have another name in the handler's signature."""
    signature = request.route_handler.parsed_fn_signature.parameters
    names = ((name, getattr(field.kwarg_definition, "name", None)) for name, field in signature.items())
    return {name: public for name, public in names if public}


def _clean_message(text: str) -> str:
    """The framework's message, shortened and without line breaks; it may quote the caller's bytes."""
    return " ".join(text.split())[:300]
