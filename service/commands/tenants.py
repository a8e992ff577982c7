"""`timewarden tenants`: a log of checkpoints over the logs of several tenants, and its check.

It needs no token and no database: a tenant's checkpoint and hash tiles are public, and everything durable is in the
directory of `checkpoint_log`. What a tenant serves is checked by the code of timewarden-verify, which shares nothing
with the service.
"""

from __future__ import annotations

import json
import sys
import tomllib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from service.commands.groups import as_json
from service.errors import Misconfigured
from service.log.checkpoint_log import CheckpointLog
from service.log.key_files import read_key
from service.standalone.verify.findings import INTACT, MALFORMED, Fault, Report
from service.standalone.verify.live import LiveLog
from service.standalone.verify.notes import Checkpoint, claimed_checkpoint, read_checkpoint, read_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.log.checkpoint import Signer
    from service.standalone.verify.notes import Keys

MEMBERS = {"directory": str, "key_file": str, "tenant": list}
MEMBERS_OF_TENANT = {"name": str, "log": str, "key": (str, list)}
MAX_TENANTS = 1_000
_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant: the URL of its log, without /checkpoint, and the keys that sign it."""

    name: str
    log: str
    keys: Keys


@dataclass(frozen=True, slots=True)
class TenantFile:
    """The tenants, and where the log of their checkpoints is."""

    directory: Path
    signer: Signer
    tenants: Sequence[Tenant]

    @property
    def log(self) -> CheckpointLog:
        return CheckpointLog(self.directory, self.signer)


@dataclass(slots=True)
class TenantFinding:
    """What was found about a tenant's log."""

    tenant: str
    good: bool
    found: str


@click.group()
def tenants() -> None:
    """Record the checkpoints of several tenants' logs in one log, and check it. FILE: docs/sizing.md."""


@tenants.command()
@_file
@as_json
def record(*, file: Path, as_json: bool) -> None:
    """Record the newest checkpoint of each tenant whose log extends what was recorded before.

    Exits with 0, or with 1 if a log was altered, rolled back or does not answer; the others are recorded.
    """
    wanted = read_tenant_file(file)
    with wanted.log.lock():
        known = wanted.log.find_newest({name for tenant in wanted.tenants for name, _ in tenant.keys})
        findings, fresh = [], []
        for tenant in wanted.tenants:
            finding, note = _look_at(tenant, known)
            findings.append(finding)
            fresh += [note] if note else []
        if fresh:
            wanted.log.append(fresh)
    _end(findings, as_json=as_json)


@tenants.command()
@_file
@as_json
def check(*, file: Path, as_json: bool) -> None:
    """Check the log of checkpoints, each checkpoint in it, and that each tenant's log still extends the last one.

    Exits with 0, or with 1 if something is wrong.
    """
    wanted = read_tenant_file(file)
    findings, newest = check_recorded(wanted)
    findings += [_look_at(tenant, newest)[0] for tenant in wanted.tenants]
    _end(findings, as_json=as_json)


def check_recorded(wanted: TenantFile) -> tuple[list[TenantFinding], dict[str, str]]:
    """What is wrong in the log of checkpoints, or one good finding, and the newest note of each log in it."""
    report, newest, sizes = Report(quiet=True), dict[str, str](), dict[str, Checkpoint]()
    keys = {name: key for tenant in wanted.tenants for name, key in tenant.keys.items()}
    try:
        log = LiveLog(str(wanted.directory), read_keys([wanted.signer.verifier.vkey]), report)
        log.check_extends()
        for position, entry in log.read_records():
            try:
                signed = read_checkpoint(entry.decode(), keys)
                before = sizes.get(signed.origin)
                if before is not None and signed.size <= before.size:
                    raise Fault(f"{signed.origin}: {signed.size} records follow {before.size}")
            except (Fault, *MALFORMED) as error:
                report.add(error, position=position)
            else:
                sizes[signed.origin], newest[signed.origin] = signed, signed.note
    except (Fault, *MALFORMED) as error:
        report.add(error)
    name = wanted.signer.name
    wrong = [
        TenantFinding(name, good=False, found=f"{found['verdict']}: {found['what']}" + _place(found))
        for found in report.findings
    ]
    count = report.checked.get("records", 0)
    return wrong or [
        TenantFinding(name, good=True, found=f"{count} checkpoints are there as they were recorded")
    ], newest


def _look_at(tenant: Tenant, known: Mapping[str, str]) -> tuple[TenantFinding, str | None]:
    """Whether the tenant's log extends the checkpoint that is known, and its newest checkpoint if it is longer."""
    report = Report(quiet=True)
    try:
        # Of so many tenants, no connection may stay open.
        with closing(LiveLog(tenant.log, tenant.keys, report)) as log:
            note = known.get(log.checkpoint.origin)
            seen = claimed_checkpoint(note) if note is not None else None
            log.check_extends(seen)
    except (Fault, OSError, *MALFORMED) as error:
        report.add(error)
    else:
        if report.verdict == INTACT:
            now = log.checkpoint
            found = f"{now.size} records" + (f" extend the {seen.size} that were recorded" if seen else ", seen first")
            grown = seen is None or now.size > seen.size
            return TenantFinding(tenant.name, good=True, found=found), now.note if grown else None
    found = "; ".join(f"{finding['verdict']}: {finding['what']}" for finding in report.findings)
    return TenantFinding(tenant.name, good=False, found=found), None


def read_tenant_file(path: Path) -> TenantFile:
    """Read FILE, a TOML file. Raises Misconfigured, which names what is wrong."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
        _check_members(content, MEMBERS, str(path))
        signer = read_key(path.parent / content["key_file"])
        listed = content["tenant"]
        if not 0 < len(listed) <= MAX_TENANTS:
            raise Misconfigured(f"{path}: it must have 1 to {MAX_TENANTS} tenants")
        tenants = [_read_tenant(item, f"{path}: tenant {number}") for number, item in enumerate(listed, 1)]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from error
    logs = [name for tenant in tenants for name in {name for name, _ in tenant.keys}]
    for names in ([tenant.name for tenant in tenants], logs):
        if twice := {name for name in names if names.count(name) > 1}:
            raise Misconfigured(f"{path}: two tenants have the name or the log {min(twice)}")
    return TenantFile(path.parent / content["directory"], signer, tenants)


def _read_tenant(item: Any, where: str) -> Tenant:
    if not isinstance(item, dict):
        raise Misconfigured(f"{where} must be a table")
    _check_members(item, MEMBERS_OF_TENANT, where)
    keys = item["key"] if isinstance(item["key"], list) else [item["key"]]
    try:
        return Tenant(item["name"], item["log"], read_keys(map(str, keys)))
    except Fault as error:
        raise Misconfigured(f"{where}: {error}") from error


def _check_members(content: Mapping[str, Any], members: Mapping[str, Any], where: str) -> None:
    for name, kind in members.items():
        if not isinstance(content.get(name), kind):
            raise Misconfigured(f"{where}: `{name}` is missing or of the wrong type")
    if unknown := sorted(content.keys() - members.keys()):
        raise Misconfigured(f"{where}: `{unknown[0]}` is not known here; the members are {', '.join(members)}")


def _place(found: Mapping[str, Any]) -> str:
    return f" (position {found['position']})" if "position" in found else ""


def _end(findings: Sequence[TenantFinding], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([{"tenant": f.tenant, "good": f.good, "found": f.found} for f in findings], indent=2))
    else:
        for finding in findings:
            print(f"{finding.tenant}: {'good' if finding.good else 'BAD'}: {finding.found}")
    sys.exit(0 if all(finding.good for finding in findings) else 1)
