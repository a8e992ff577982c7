"""The checks of `timewarden doctor`, in the order in which a start would meet them. Reads only; owns no state.

Each check yields findings and never raises for a fault of the installation. Where a part does not answer, what depends
on it is left out.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from events.stream import REDIS_ERRORS, open_redis
from service import settings as configuration
from service.administration.checks import examination
from service.api_process import check_issuers
from service.app import issuers_of, wire
from service.authorization.active.versions import load_texts
from service.commands.policy_files import describe_absence, files_differ, is_named_in_vain
from service.database import Database, ReadReplica
from service.errors import LogDamaged, Misconfigured, PolicyRejected, PolicyUnavailable, TimewardenError
from service.identity.issuer import prefix_of
from service.identity.tokens import Tokens
from service.log.anchor import Anchor
from service.log.archive import open_store, read_archived
from service.log.keeper_status import read_status
from service.log.key_files import read_keys
from service.log.roles import ROLE, check_rights, check_server
from service.log.witness import HttpWitness
from service.migrations.run import newest, read_step
from service.places import printable
from service.policy.matching import ACTOR, CLIENT, VIA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from service.authorization.engine.engine import Snapshot
    from service.database import Connection
    from service.identity.issuer import Issuer
    from service.settings import Settings

MIN_POSTGRES, TESTED_POSTGRES = 150_000, 180_000
# Tokens and validities are compared with the clock; issuers are granted 30 seconds.
MAX_CLOCK_DIFFERENCE: Final = 2.0
# Connections of a worker beside its pool, and those left for keepers, commands and people.
BESIDE_POOL, LEFT_OVER = 5, 20
# Settings without which an acknowledged record can be lost.
DURABLE: Final = {"fsync": "on", "full_page_writes": "on"}

# Version, settings, standbys and clock of the server.
SERVER = """
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number,
           current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('synchronous_standby_names') AS synchronous_standbys,
           (SELECT count(*) FROM pg_stat_replication) AS standbys,
           current_setting('max_connections')::int AS connections,
           extract(epoch FROM clock_timestamp())::float8 AS now
"""
# Our tables that were never analyzed, so that Postgres guesses their size.
WITHOUT_STATISTICS = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind = 'r' AND c.reltuples < 0 ORDER BY c.relname
"""


# Links to tokens of issuers that are not in $1.
STRANGE_LINKS = """
    SELECT issuer, count(*) AS links FROM person_link WHERE issuer <> ALL ($1::text[])
    GROUP BY issuer ORDER BY links DESC, issuer LIMIT 3
"""
# Words of rules that a finding names.
MAX_NAMED = 3
# Settings of the issuer of the variables alone.
OF_SINGLE_ISSUER: Final = ("jwks_url", "token_types", "token_algorithms", "roles_claim")


class Grade(StrEnum):
    """GOOD, WARNING for what works and should be changed, BAD for what does not work or is unsafe."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check: the part of the installation, what was found, and what to do if it is not good."""

    part: str
    grade: Grade
    found: str
    remedy: str = ""


def good(part: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(part, Grade.GOOD, found)


def warning(part: str, found: str, remedy: str) -> Finding:
    """It works, and should be changed."""
    return Finding(part, Grade.WARNING, found, remedy)


def bad(part: str, found: str, remedy: str) -> Finding:
    """It does not work, or is unsafe."""
    return Finding(part, Grade.BAD, found, remedy)


def _count(number: int, singular: str, plural: str) -> str:
    """The number with its words: `1 key signs`, `2 keys sign`."""
    return f"{number} {singular if number == 1 else plural}"


async def check_installation() -> AsyncIterator[Finding]:
    """Every finding about the installation with the settings of the environment."""
    try:
        settings = configuration.load()
    except Misconfigured as error:
        yield bad("settings", error.public, "correct these variables: docs/settings.md")
        return
    for finding in check_settings(settings):
        yield finding
    async for finding in check_database(settings):
        yield finding
    if settings.redis_url:
        async for finding in check_redis(settings):
            yield finding
    if settings.issuer or settings.issuers_file:
        async for finding in check_keys_of_issuers(settings):
            yield finding
    for finding in check_log_files(settings):
        yield finding
    async for finding in check_elsewhere(settings):
        yield finding


async def check_elsewhere(settings: Settings) -> AsyncIterator[Finding]:
    """The standby and the archive, if there are any."""
    if settings.replica_url:
        yield await check_replica(settings)
    if settings.archive_url:
        yield await check_archive(settings)


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Settings that are missing, unsafe, or contradict each other."""
    try:
        settings.need("database_url")
        if settings.issuer or settings.issuers_file:
            settings.need("cursor_key", *settings.names_of_issuer())
            wire(settings)
        yield good("settings", "every variable is known, and none contradicts another")
    except TimewardenError as error:
        yield bad("settings", error.public, "set it: docs/settings.md")
    if settings.environment == "development":
        yield warning("settings", "plain http is allowed", "leave TIMEWARDEN_ENVIRONMENT out in production")
    if not settings.redis_url:
        yield warning(
            "settings",
            "there is no Redis: no events, no rate limits across replicas, no DPoP",
            "set TIMEWARDEN_REDIS_URL",
        )
    if not (settings.issuer or settings.issuers_file):
        # The keeper needs no issuer.
        return
    yield from _check_issuer_settings(settings)
    if not settings.erasure_keys:
        yield warning("settings", "nobody can be erased", "set TIMEWARDEN_ERASURE_KEYS: docs/production.md")
    if not settings.public_url:
        yield warning("settings", "answers name no address of this API", "set TIMEWARDEN_PUBLIC_URL")
    proxies = settings.split("trusted_proxies")
    if any(ip_network(proxy).prefixlen == 0 for proxy in proxies):
        yield bad(
            "proxies", "every address may claim to be a proxy", "name only your proxies in TIMEWARDEN_TRUSTED_PROXIES"
        )
    elif proxies:
        believed = _count(len(proxies), "address or network is", "addresses or networks are")
        yield good("proxies", f"{believed} believed")
    else:
        yield warning(
            "proxies", "none is trusted: behind one, all callers share a rate limit", "set TIMEWARDEN_TRUSTED_PROXIES"
        )


def _check_issuer_settings(settings: Settings) -> Iterator[Finding]:
    """Settings that are meant for an issuer and are about none."""
    if settings.issuer:
        return
    fields = type(settings).model_fields
    for name in OF_SINGLE_ISSUER:
        if getattr(settings, name) != fields[name].default:
            yield warning(
                "issuers",
                f"{configuration.variable(name)} has no effect: it is about the issuer of TIMEWARDEN_ISSUER",
                "write it into the issuers file, or set TIMEWARDEN_ISSUER: docs/issuers.md",
            )
    audiences = {issuer.audience for issuer in _configured_issuers(settings)}
    if settings.audience and audiences and settings.audience not in audiences:
        yield warning(
            "issuers",
            f"the metadata names the audience {printable(settings.audience, 100)}, which no issuer has",
            "correct TIMEWARDEN_AUDIENCE, or the audience in the issuers file",
        )


def _configured_issuers(settings: Settings) -> list[Issuer]:
    """The issuers; none if their settings are wrong, which another finding says."""
    try:
        return issuers_of(settings)
    except TimewardenError:
        return []


async def check_database(settings: Settings) -> AsyncIterator[Finding]:
    """The server, the role, the schema, the policy and the keeper, as the database has them."""
    if not settings.database_url:
        return
    database = Database(settings.database_url, size=1, timeout=settings.database_timeout, name="doctor", enforced=False)
    try:
        await database.open()
        await check_server(database)
        async with database.connection() as connection:
            async for finding in _check_server_settings(connection, settings):
                yield finding
            async for finding in _check_schema(connection, settings):
                yield finding
    except TimewardenError as error:
        yield bad("database", error.public, "see docs/production.md")
    finally:
        await database.close()


async def _check_server_settings(connection: Connection, settings: Settings) -> AsyncIterator[Finding]:
    before = time.time()
    server = await connection.fetchrow(SERVER)
    if server is None:
        return
    difference = server["now"] - (before + time.time()) / 2
    if server["number"] < MIN_POSTGRES:
        yield bad("database", f"Postgres {server['version']}", "use Postgres 15 or newer")
    elif server["number"] < TESTED_POSTGRES:
        yield warning("database", f"Postgres {server['version']}", "Timewarden is tested with 18")
    else:
        yield good("database", f"Postgres {server['version']}")
    if abs(difference) > MAX_CLOCK_DIFFERENCE:
        yield bad(
            "clock",
            f"differs from the database's by {difference:+.1f} s",
            "keep both hosts in time, for example by NTP",
        )
    else:
        yield good("clock", f"differs from the database's by {difference:+.3f} s")
    unsafe = [name for name, wanted in DURABLE.items() if server[name] != wanted]
    if server["synchronous_commit"] == "off":
        unsafe.append("synchronous_commit")
    if unsafe:
        yield bad("durability", f"{', '.join(unsafe)} is off: answers can be lost", "switch it on in postgresql.conf")
    else:
        yield good("durability", "commits reach the disk before an answer")
    if finding := _check_standbys(server):
        yield finding
    needed = settings.workers * (settings.database_pool + BESIDE_POOL) + LEFT_OVER
    if needed > server["connections"]:
        yield warning(
            "connections",
            f"one replica with its workers may need {needed}; Postgres allows {server['connections']}",
            "raise max_connections, or lower TIMEWARDEN_DATABASE_POOL",
        )


def _check_standbys(server: Any) -> Finding | None:
    """Whether a failover keeps what was answered; None for a server without standbys."""
    waits, standbys = bool(server["synchronous_standbys"]), server["standbys"]
    following = _count(standbys, "follows", "follow")
    if waits and not standbys:
        return bad(
            "standbys",
            "commits wait for a standby, and none follows: requests get 503",
            "start one, or empty synchronous_standby_names: docs/backup.md",
        )
    if waits and server["synchronous_commit"] in {"local", "off"}:
        return bad("standbys", "commits do not wait for them", "set synchronous_commit to on")
    if standbys and not waits:
        return warning(
            "standbys",
            f"{following}, but commits do not wait: a failover can lose what was answered",
            "set synchronous_standby_names: docs/backup.md",
        )
    return good("standbys", f"{following}, and commits wait") if standbys else None


async def _check_schema(connection: Connection, settings: Settings) -> AsyncIterator[Finding]:
    role = await connection.fetchrow(ROLE)
    if role is None or not role["migrated"]:
        yield bad("schema", "the database has no Timewarden tables", "run `timewarden migrate` as the owner")
        return
    async for finding in _check_role(connection, role):
        yield finding
    yield await _check_step(connection)
    if missing := [row["relname"] for row in await connection.fetch(WITHOUT_STATISTICS)]:
        tables = _count(len(missing), "table was", "tables were")
        yield warning("statistics", f"{tables} never analyzed, such as {missing[0]}", "run ANALYZE as the owner")
    else:
        yield good("statistics", "every table was analyzed")
    # The keeper decides nothing, and may not read the policy.
    if role["owns"] or not role["seals"]:
        async for finding in _check_policy(connection, settings):
            yield finding
    if role["owns"] or role["appends"]:
        async for finding in _check_links(connection, settings):
            yield finding
    for status in await read_status(connection):
        if status.ready:
            yield good(f"keeper: {status.part}", status.detail)
        else:
            yield bad(f"keeper: {status.part}", status.detail, "see `timewarden health --keeper` and the keeper's log")


async def _check_step(connection: Connection) -> Finding:
    step = await read_step(connection)
    if step < newest():
        return bad(
            "schema", f"is at step {step}, this release needs {newest()}", "run `timewarden migrate` as the owner"
        )
    if step > newest():
        return bad("schema", f"is at step {step}, newer than this release ({newest()})", "start the newer release")
    return good("schema", f"is at step {step}, the newest")


async def _check_role(connection: Connection, role: Any) -> AsyncIterator[Finding]:
    name = role["role"]
    if role["owns"]:
        yield warning("role", f"{name} owns the tables", "only `migrate` and monthly commands run as the owner")
        return
    try:
        await check_rights(connection)
    except Misconfigured as error:
        yield bad("role", error.public, "run roles.sql again, and connect as the role for this process")
        return
    may = "`serve`" if role["appends"] else "`keep`" if role["seals"] else "only read"
    yield good("role", f"{name} may {may}, and cannot rewrite the log")


async def _check_policy(connection: Connection, settings: Settings) -> AsyncIterator[Finding]:
    # Which version is active.
    active = await connection.fetchval("SELECT active FROM policy_head")
    if active is None:
        yield bad("policy", "no version was ever activated", "run `timewarden policy bootstrap` as the owner")
        return
    try:
        text = await load_texts(connection, active)
        snapshot = examination.build(text, active)
    except PolicyUnavailable as error:
        yield bad("policy", error.public, "find out who did it; restore the texts, or activate another version")
        return
    except PolicyRejected as error:
        yield bad(
            "policy",
            f"this release cannot read the active version {active}: {error.complaints[0]}",
            "start the release that activated it, and activate a version that both can read",
        )
        return
    yield good("policy", f"version {active} decides")
    for finding in _check_clients(snapshot, settings):
        yield finding
    if is_named_in_vain(settings):
        yield warning(
            "policy",
            describe_absence(settings.policies_directory),
            "correct TIMEWARDEN_POLICIES_DIRECTORY, or leave it out",
        )
    elif files_differ(settings.policies_directory, text.digest()):
        yield warning(
            "policy",
            f"the files in {settings.policies_directory} differ from the active version",
            "propose them, or take the active version's files",
        )


def _check_clients(snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    """Whether rules name only clients that tokens of the configured issuers can have."""
    prefixes = {issuer.prefix for issuer in _configured_issuers(settings)}
    named = {rule.who for rule in snapshot.policy.rules if rule.who.startswith((CLIENT, VIA, ACTOR))}
    strange = sorted(who for who in named if prefix_of(who.partition(":")[2], prefixes) not in prefixes)
    if prefixes and strange:
        known = ", ".join(f"{prefix}:" for prefix in sorted(prefixes))
        more = f" and {len(strange) - MAX_NAMED} more" if len(strange) > MAX_NAMED else ""
        yield warning(
            "policy",
            f"no token matches {', '.join(strange[:MAX_NAMED])}{more}: every client has a prefix of an issuer, {known}",
            "propose a version whose rules name clients with the prefix of their issuer: docs/issuers.md",
        )


async def _check_links(connection: Connection, settings: Settings) -> AsyncIterator[Finding]:
    """Whether the directory links people only to issuers whose tokens are accepted."""
    known = [issuer.issuer for issuer in _configured_issuers(settings)]
    if not known:
        return
    for row in await connection.fetch(STRANGE_LINKS, known):
        close = get_close_matches(row["issuer"], known, n=1)
        links = _count(row["links"], "link of a person names", "links of people name")
        yield warning(
            "directory",
            f"{links} the issuer {printable(row['issuer'], 100)}, which is not configured: nobody can sign in that way"
            + (f"; {close[0]} is" if close else ""),
            "configure the issuer, or link the people to the right one",
        )


async def check_replica(settings: Settings) -> Finding:
    """Whether the standby for long reads shows what the primary has committed."""
    seconds = settings.database_timeout
    primary = Database(settings.database_url, size=1, timeout=seconds, name="doctor", enforced=False)
    replica = ReadReplica(settings.replica_url, primary, size=1, timeout=seconds, lock_timeout=settings.lock_timeout)
    try:
        for pool in (primary, replica):
            await pool.open()
        await replica.measure_lag()
    except TimewardenError as error:
        return warning(
            "replica",
            f"the primary is read instead: {error.cause or error.public}",
            "correct TIMEWARDEN_REPLICA_URL, or see that the standby follows: docs/sizing.md",
        )
    finally:
        for pool in (replica, primary):
            await pool.close()
    return good("replica", f"a standby shows what the primary has, after {replica.lag:.3f} s")


async def check_redis(settings: Settings) -> AsyncIterator[Finding]:
    """Whether Redis answers and keeps what it holds."""
    redis = open_redis(settings.redis_url)
    try:
        info = await redis.info()
    except REDIS_ERRORS as error:
        yield bad("Redis", f"does not answer: {type(error).__name__}", "check TIMEWARDEN_REDIS_URL and its password")
        return
    finally:
        await redis.aclose()
    version, policy = info.get("redis_version", "?"), info.get("maxmemory_policy", "?")
    if policy == "noeviction":
        yield good("Redis", f"version {version} evicts nothing")
    elif settings.dpop_algorithms and settings.public_url:
        yield bad(
            "Redis",
            f"version {version} may evict keys ({policy}): a DPoP proof could be used twice, and events get lost",
            "set maxmemory-policy noeviction",
        )
    else:
        yield warning("Redis", f"version {version} may evict keys ({policy})", "set maxmemory-policy noeviction")


async def check_archive(settings: Settings) -> Finding:
    """Whether the archive can be read, and what it has."""
    try:
        settings.need("log_origin")
        found = await read_archived(open_store(settings.archive_url, settings.log_origin))
    except (TimewardenError, OSError) as error:
        reason = error.public if isinstance(error, TimewardenError) else str(error)
        return bad("archive", reason, "correct TIMEWARDEN_ARCHIVE_URL and its credentials: docs/sizing.md")
    if found is None:
        return warning("archive", "is empty", "it is written after TIMEWARDEN_ARCHIVE_INTERVAL by a keeper that signs")
    return good("archive", f"has {found.size} records of {found.origin}")


async def check_keys_of_issuers(settings: Settings) -> AsyncIterator[Finding]:
    """Whether each issuer's keys can be fetched."""
    try:
        tokens = Tokens(issuers_of(settings))
    except TimewardenError as error:
        yield bad("issuers", error.public, "correct the issuers: docs/issuers.md")
        return
    try:
        await tokens.start()
        for part in check_issuers(tokens.states()):
            if part.ready:
                yield good(part.name, part.detail)
            else:
                yield bad(part.name, part.detail, "check the issuer's URL and that this host may reach it")
    finally:
        await tokens.close()


def check_log_files(settings: Settings) -> Iterator[Finding]:
    """The key and anchor files of a keeper, if the settings name them."""
    if paths := [Path(path) for path in settings.split("log_key_file")]:
        try:
            signers = read_keys(paths, settings.log_origin)
            yield good("log key", f"{_count(len(signers), 'key signs', 'keys sign')} as {settings.log_origin}")
        except Misconfigured as error:
            yield bad("log key", error.public, "see docs/production.md, step 5")
    try:
        if witnesses := [HttpWitness.parse(text) for text in settings.split("log_witnesses")]:
            yield good("witnesses", f"{_count(len(witnesses), 'is', 'are')} asked to cosign")
    except Misconfigured as error:
        yield bad("witnesses", error.public, "correct TIMEWARDEN_LOG_WITNESSES: docs/production.md, step 5")
    if not settings.log_anchor_file:
        return
    anchor = Path(settings.log_anchor_file)
    try:
        last = Anchor(anchor).last()
    except (Misconfigured, LogDamaged) as error:
        yield bad("anchor", error.public, "see docs/runbook-restored-log.md")
        return
    if not os.access(anchor if anchor.exists() else anchor.parent, os.W_OK):
        yield bad("anchor", f"{anchor} cannot be written", "give it to the keeper's user")
    elif last is None:
        yield warning(
            "anchor", f"{anchor} names no checkpoint yet", "it is written when the keeper signs the first one"
        )
    else:
        yield good("anchor", f"{anchor} names a checkpoint of {last.size} records")
