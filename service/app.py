"""The composition root of an API process: creates its parts and connects them. `create` reads the environment.

Nothing is durable here. Every part gets plain values: only this module, `keeper` (the other composition root) and the
command line read settings.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from litestar import Litestar
from litestar.di import Provide

from events.stream import open_redis
from service import settings as configuration
from service.administration.checks import check_worker, examination
from service.administration.replay.replays import Replays
from service.administration.versions.administration import PolicyAdministration
from service.administration.versions.comparison import PolicyComparison
from service.administration.versions.simulation import Simulation
from service.api_process import Api
from service.audit.published_log import PublishedLog
from service.audit.search import NewestRecords
from service.authorization.active.hint import PolicyHint
from service.authorization.active.versions import PolicyVersions
from service.authorization.active.watch import PolicyWatch
from service.authorization.enforcement.directory_memory import DirectoryMemory
from service.authorization.enforcement.gate import Gate
from service.authorization.enforcement.idempotent_replay import IdempotentReplay
from service.authorization.enforcement.policy_relations import POLICY_FACTS
from service.authorization.enforcement.relationships import Relationships
from service.authorization.enforcement.stored_responses import StoredResponses
from service.authorization.enforcement.token_revocation import Revocations
from service.database import Database, ReadReplica, Turns
from service.directory.access_request_store import ACCESS_REQUEST_FACTS
from service.directory.access_requests import AccessRequests
from service.directory.actions import Directory
from service.directory.delegations import DELEGATION_FACTS, Delegations
from service.directory.erasure import Erasure, Memory
from service.directory.fallbacks import Fallbacks
from service.directory.groups import Groups
from service.directory.holder_store import LEADS, MEMBERS
from service.directory.holders import Holders
from service.directory.imports import DirectoryImports
from service.directory.legal_holds import LegalHolds
from service.directory.merging import Merging
from service.directory.people import People
from service.directory.people_store import is_known
from service.directory.projects import Projects
from service.errors import Misconfigured
from service.heap import settle_heap
from service.identity.issuer import Issuer
from service.identity.issuers_file import read_issuers_file
from service.identity.sender import build_senders
from service.identity.subject_hashes import SubjectHashes
from service.identity.tokens import Tokens
from service.log.log import Log
from service.log_lines import configure_log_lines
from service.timesheets.access import TimesheetAccess
from service.timesheets.actions import Timesheets
from service.timesheets.approvals import Approvals
from service.timesheets.relations import TIMESHEET_FACTS
from service.timesheets.reminders import Reminders
from service.timesheets.reports import Reports
from service.timesheets.upload import Uploads
from service.tracing import check_tracing, start_tracing
from service.web.audit.decisions import decision_routes
from service.web.audit.explanations import decision_explanation_route
from service.web.audit.exports import audit_export_routes
from service.web.audit.own_decisions import own_decision_routes
from service.web.audit.proofs import log_proof_routes
from service.web.audit.records import audit_record_routes
from service.web.audit.tiles import log_tile_routes
from service.web.directory.access_requests import access_request_routes
from service.web.directory.delegations import delegation_routes, fallback_routes
from service.web.directory.directory import directory_routes
from service.web.directory.directory_import import directory_import_route
from service.web.directory.groups import group_routes
from service.web.directory.people import people_routes
from service.web.directory.personal_data import personal_data_routes
from service.web.directory.project_leads import project_lead_routes
from service.web.directory.projects import project_routes
from service.web.http.admission import CLOSE_CONNECTIONS, Admission
from service.web.http.authentication import Authentication, is_public, provide_caller
from service.web.http.bodies import JsonRequest
from service.web.http.cors import make_cors_config
from service.web.http.direct_routes import DirectRoutes
from service.web.http.dpop_nonces import nonce_hook
from service.web.http.health import health_routes
from service.web.http.idempotency import Idempotency
from service.web.http.paging import Cursors
from service.web.http.problems import Problems
from service.web.http.rate_limits import Addresses, AddressLimits, ClientLimits, Counters
from service.web.http.requests import RequestBounds, RequestFrame, refuse_unknown_parameters
from service.web.http.unknown_routes import UnknownRoutes
from service.web.identity import metadata
from service.web.identity.me import me_route
from service.web.identity.revocations import revocation_routes
from service.web.openapi.documentation import documentation_routes, openapi_config
from service.web.openapi.shapes import Shapes
from service.web.policy.diff import policy_diff_routes
from service.web.policy.replays import replay_routes
from service.web.policy.simulation import simulation_route
from service.web.policy.versions import policy_routes
from service.web.timesheets.approvals import approval_routes
from service.web.timesheets.reminders import reminder_route
from service.web.timesheets.reports import report_routes
from service.web.timesheets.timesheet_access import timesheet_access_route
from service.web.timesheets.timesheet_reading import timesheet_reading_routes
from service.web.timesheets.timesheets import timesheet_routes
from service.web.uploads.uploads import upload_routes

if TYPE_CHECKING:
    from litestar.config.cors import CORSConfig

    from service.identity.sender import Senders
    from service.settings import Settings


def create(channel: int) -> Admission:
    """Create the ASGI application of an API process from the environment. It reports its readiness to the supervisor on
    the socket `channel`."""
    settings = configuration.load()
    settings.need("database_url", "cursor_key", *settings.names_of_issuer())
    configure_log_lines(settings.log_level)
    app = build(settings, channel=channel)
    if settings.traces:
        start_tracing()
    signal.signal(CLOSE_CONNECTIONS, lambda _number, _frame: app.close_connections())
    settle_heap()
    return app


@dataclass(frozen=True, slots=True)
class Parts:
    """The stateful parts of an API process."""

    api: Api
    requests: Database
    replica: ReadReplica | None
    policies: PolicyVersions
    counters: Counters
    tokens: Tokens
    gate: Gate
    people: People
    published: PublishedLog
    newest: NewestRecords | None
    relationships: Relationships
    hint: PolicyHint | None
    senders: Senders
    address_of: Addresses
    cors: CORSConfig | None


def build(settings: Settings, *, channel: int | None = None) -> Admission:
    """Wire an API process from its settings."""
    parts = wire(settings, channel=channel)
    return admit(settings, parts, route(settings, parts))


def wire(settings: Settings, *, channel: int | None = None) -> Parts:
    """Create the stateful parts, and those that read settings which can be wrong; none is opened before the process
    starts. Raises Misconfigured."""
    if settings.traces:
        check_tracing()

    def database(name: str, size: int) -> Database:
        return Database(
            settings.database_url,
            size=size,
            timeout=settings.database_timeout,
            lock_timeout=settings.lock_timeout,
            name=name,
        )

    senders = build_senders(
        redis_url=settings.redis_url,
        public_url=settings.public_url,
        secret=settings.cursor_key,
        algorithms=settings.split("dpop_algorithms"),
        nonce_required=settings.dpop_nonce == "required",
        dpop_required=settings.dpop_required,
        certificate_header=settings.client_certificate_header,
        trusted_proxies=settings.split("trusted_proxies"),
    )
    loader = database("policy", 1)
    policies = PolicyVersions(loader, examination.build, timeout=settings.database_timeout)
    requests = database("requests", settings.database_pool)
    log = Log(requests, patience=settings.database_timeout, inbox=settings.log_inbox)
    replica = None
    if settings.replica_url:
        replica = ReadReplica(
            settings.replica_url,
            requests,
            size=settings.database_pool,
            timeout=settings.database_timeout,
            lock_timeout=settings.lock_timeout,
        )
    health, hint = database("health", 1), _hint(settings)
    api = Api(
        requests=requests,
        log=log,
        loader=loader,
        health=health,
        replica=replica,
        policies=policies,
        watch=PolicyWatch(health, policies, listen=hint.listen if hint else None),
        hint=hint,
        replay=senders.used_proofs,
        counters=Counters(settings.redis_url),
        tokens=Tokens(issuers_of(settings), sender=senders.check),
        channel=channel,
    )
    memory = DirectoryMemory()
    relationships = Relationships(
        [TIMESHEET_FACTS, POLICY_FACTS, DELEGATION_FACTS, ACCESS_REQUEST_FACTS], memory, requests
    )
    gate = Gate(
        requests,
        log,
        policies,
        relationships,
        turns=Turns(
            max(1, settings.database_pool - 2),
            timeout=settings.lock_timeout,
            full="Too many changes are waiting for each other; send this one again in a moment",
            keeps_slot=True,
        ),
    )
    reading = Turns(
        max(1, settings.database_pool // 4),
        timeout=settings.lock_timeout,
        full="Too many requests are reading the log's tree; send this one again in a moment",
        keeps_slot=True,
    )
    return Parts(
        api=api,
        requests=requests,
        replica=replica,
        policies=policies,
        counters=api.counters,
        tokens=api.tokens,
        gate=gate,
        people=People(requests, log, SubjectHashes(settings.split("erasure_keys")), memory),
        published=PublishedLog(requests, reading),
        newest=NewestRecords(requests, timeout=settings.database_timeout) if replica is None else None,
        relationships=relationships,
        hint=hint,
        senders=senders,
        address_of=Addresses(settings.split("trusted_proxies")),
        cors=make_cors_config(settings.split("cors_origins")),
    )


def route(settings: Settings, parts: Parts) -> RequestFrame:
    """Create the routes and middleware for these parts."""
    issuers = issuers_of(settings)
    gate, policies, hint, senders = parts.gate, parts.policies, parts.hint, parts.senders
    cursors = Cursors(settings.cursor_key)
    timesheets = Timesheets(gate, weeks_ahead=settings.weeks_ahead)
    administration = PolicyAdministration(
        gate, policies, check_worker.check, publish=hint.publish if hint else lambda _number: None
    )
    longest_lifetime = max(issuer.max_lifetime + issuer.leeway for issuer in issuers)
    leeway = max(issuer.leeway for issuer in issuers)
    prefixes = {issuer.issuer: issuer.prefix for issuer in issuers}
    hashes = SubjectHashes(settings.split("erasure_keys"))
    memory = Memory(hashes, settings.erasure_memory_days, longest_lifetime, leeway)
    problems = Problems(
        _metadata_url(settings, settings.audience or issuers[0].audience),
        dpop_algorithms=senders.algorithms,
        dpop_required=settings.dpop_required,
        step_up_acr=settings.step_up_acr,
    )
    limits = AddressLimits(
        parts.counters,
        settings.address_rate,
        weight=settings.failed_authentication_weight,
        is_public=is_public,
        address_of=parts.address_of,
    )
    middleware = [
        RequestBounds(),
        *([limits] if settings.address_rate else []),
        Authentication(
            parts.tokens,
            parts.people.identify,
            public_url=settings.public_url,
            certificates=senders.certificates,
        ),
        *([ClientLimits(parts.counters, settings.client_rate)] if settings.client_rate else []),
    ]
    # A request with an idempotency key is never a direct one.
    idempotency = Idempotency(StoredResponses(parts.requests), IdempotentReplay(gate), problems)
    app = Litestar(
        route_handlers=[
            me_route(gate),
            *timesheet_reading_routes(timesheets, cursors),
            *timesheet_routes(timesheets),
            *approval_routes(Approvals(gate), cursors, problems.challenge),
            *report_routes(Reports(gate)),
            reminder_route(Reminders(gate)),
            timesheet_access_route(TimesheetAccess(gate), cursors),
            *upload_routes(
                Uploads(gate, weeks_ahead=settings.weeks_ahead),
                max_body_bytes=settings.max_body_bytes,
                max_upload_bytes=settings.max_upload_bytes,
            ),
            *decision_routes(gate, cursors, parts.replica, parts.newest),
            *audit_record_routes(gate, cursors, parts.replica, parts.newest),
            *audit_export_routes(gate, parts.requests, parts.replica),
            decision_explanation_route(gate, policies.load),
            *own_decision_routes(gate, cursors, parts.replica, policies.load),
            simulation_route(Simulation(gate, policies, parts.relationships, is_known)),
            *policy_routes(administration, cursors),
            *policy_diff_routes(PolicyComparison(administration, check_worker.compare)),
            *replay_routes(Replays(gate, parts.requests), cursors),
            *directory_routes(Directory(gate, hashes), cursors),
            *people_routes(Directory(gate, hashes), Merging(gate), cursors),
            *personal_data_routes(Erasure(gate, memory), LegalHolds(gate)),
            directory_import_route(DirectoryImports(gate, hashes), max_body_bytes=settings.max_body_bytes),
            *delegation_routes(Delegations(gate), cursors),
            *fallback_routes(Fallbacks(gate), cursors),
            *access_request_routes(AccessRequests(gate), cursors),
            *project_routes(Projects(gate), cursors),
            *project_lead_routes(Holders(gate, LEADS), cursors),
            *group_routes(Groups(gate), Holders(gate, MEMBERS), cursors),
            *revocation_routes(Revocations(gate, longest_lifetime, leeway, prefixes), cursors),
            *log_tile_routes(parts.published, gate),
            *log_proof_routes(gate),
            *health_routes(parts.api.check),
            *metadata.metadata_routes(
                settings.audience or issuers[0].audience,
                [issuer.issuer for issuer in issuers],
                dpop_algorithms=senders.algorithms,
                dpop_required=settings.dpop_required,
                certificate_bound=senders.certificates is not None,
            ),
            *documentation_routes(),
        ],
        dependencies={"caller": Provide(provide_caller)},
        middleware=[*middleware, idempotency],
        request_class=JsonRequest,
        before_request=refuse_unknown_parameters,
        exception_handlers=problems.handlers(),
        before_send=[nonce_hook(senders.nonces)] if senders.algorithms else [],
        cors_config=parts.cors,
        openapi_config=openapi_config(settings.public_url, issuers[0].issuer, settings.contact_url),
        plugins=[Shapes()],
        request_max_body_size=settings.max_body_bytes,
        lifespan=[parts.api.running],
        logging_config=None,
    )
    direct = DirectRoutes(app, middleware, problems, UnknownRoutes(app, limits, problems, parts.cors))
    return RequestFrame(app, direct, https=settings.public_url.startswith("https://"))


def admit(settings: Settings, parts: Parts, frame: RequestFrame) -> Admission:
    """The ASGI application: the routes behind the bounds on requests and on how many are in progress."""
    admission = Admission(
        frame,
        max_wait=settings.admission_timeout,
        connections=settings.database_pool,
        address_of=parts.address_of,
        cors=parts.cors,
        open_connections=settings.connections,
    )
    parts.api.measured.append(admission.measure)
    return admission


def issuers_of(settings: Settings) -> list[Issuer]:
    """The issuers whose tokens are taken: the one of the variables, and those of the file."""
    https = settings.environment == "production"
    filed = read_issuers_file(Path(settings.issuers_file), https=https) if settings.issuers_file else []
    if not settings.names_of_issuer():
        return filed
    try:
        single = Issuer(
            name="main",
            issuer=settings.issuer,
            audience=settings.audience,
            jwks_url=settings.jwks_url or None,
            algorithms=frozenset(settings.split("token_algorithms")),
            accepted_types=frozenset(settings.split("token_types")),
            roles_claim=settings.roles_claim,
        )
    except Misconfigured as error:
        named = ", ".join(
            map(configuration.variable, ("issuer", "audience", "jwks_url", "token_algorithms", "token_types"))
        )
        raise Misconfigured(f"{error.public}; issuer main is that of {named}") from error
    return [single, *filed]


def _hint(settings: Settings) -> PolicyHint | None:
    """Without Redis a process learns of a new version by its next decision or heartbeat."""
    if not settings.redis_url:
        return None
    return PolicyHint(open_redis(settings.redis_url, timeout=1.0), f"{settings.event_stream}:policy-activated")


def _metadata_url(settings: Settings, resource: str) -> str | None:
    return settings.public_url.rstrip("/") + metadata.metadata_path(resource) if settings.public_url else None
