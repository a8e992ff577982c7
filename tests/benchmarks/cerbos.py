"""The rival Cerbos: it verifies the token, decides about a sheet, and writes its local audit log. It reads no sheet.

Its policy holds the shipped rows about reading a timesheet, in its own language. The program comes from npm with
`make bench`, for Linux on x86-64.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.servers import Server, spawn_program

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE = Path(__file__).resolve().parents[2] / ".local" / "bench" / "node_modules" / "@cerbos" / "cerbos-linux-x64"
PATH = "/api/check/resources"
RELATIONS = {
    "owner": "request.resource.attr.owner == request.principal.id",
    "manager": "request.principal.id in request.resource.attr.leads",
    "delegate": "request.principal.id in request.resource.attr.delegates",
    "fallback": "size(request.resource.attr.leads) == 0 && request.principal.attr.fallback",
}
SCOPE = 'has(request.aux_data.jwt.scope) && "read:timesheets" in request.aux_data.jwt.scope.split(" ")'


def find_program() -> Path | None:
    """The program, or None where npm did not install it."""
    program = PACKAGE / PACKAGE.name
    return program if program.is_file() else None


def start_cerbos(program: Path, folder: Path, port: int, grpc_port: int, key_set: Mapping[str, Any]) -> Server:
    """Start it on all processors, with its files in a new folder."""
    policies = folder / "policies"
    policies.mkdir(parents=True)
    for name, policy in _policies().items():
        # JSON is YAML, too.
        (policies / f"{name}.yaml").write_text(json.dumps({"apiVersion": "api.cerbos.dev/v1", **policy}))
    (folder / "keys.json").write_text(json.dumps(key_set))
    settings = {
        "server": {"httpListenAddr": f"127.0.0.1:{port}", "grpcListenAddr": f"127.0.0.1:{grpc_port}"},
        "storage": {"driver": "disk", "disk": {"directory": str(policies), "watchForChanges": False}},
        "audit": {
            "enabled": True,
            "accessLogsEnabled": False,
            "decisionLogsEnabled": True,
            "backend": "local",
            "local": {"storagePath": str(folder / "audit")},
        },
        "auxData": {"jwt": {"keySets": [{"id": "bench", "local": {"file": str(folder / "keys.json")}}]}},
        "telemetry": {"disabled": True},
    }
    (folder / "settings.yaml").write_text(json.dumps(settings))
    command = [str(program), "server", f"--config={folder / 'settings.yaml'}", "--log-level=error"]
    return Server(port, spawn_program(command, {}))


def question(token: str, sheet: str) -> dict[str, Any]:
    """The body that asks whether the owner of a draft may read it."""
    attributes = {"owner": "ana", "state": "draft", "leads": ["mia"], "delegates": []}
    return {
        "requestId": "bench",
        "principal": {"id": "ana", "roles": ["employee"], "attr": {"fallback": False}},
        "resources": [{"actions": ["read"], "resource": {"kind": "timesheet", "id": sheet, "attr": attributes}}],
        "auxData": {"jwt": {"token": token, "keySetId": "bench"}},
    }


def _policies() -> dict[str, dict[str, Any]]:
    relations = [
        {"name": name, "parentRoles": ["employee"], "condition": {"match": {"expr": expression}}}
        for name, expression in RELATIONS.items()
    ]
    scoped = {"match": {"expr": SCOPE}}
    final = {
        "match": {"all": {"of": [{"expr": SCOPE}, {"expr": 'request.resource.attr.state in ["approved", "locked"]'}]}}
    }
    rules = [
        {"actions": ["read"], "effect": "EFFECT_ALLOW", "derivedRoles": list(RELATIONS), "condition": scoped},
        {"actions": ["read"], "effect": "EFFECT_ALLOW", "roles": ["payroll"], "condition": final},
    ]
    return {
        "relations": {"derivedRoles": {"name": "relations", "definitions": relations}},
        "timesheet": {
            "resourcePolicy": {
                "resource": "timesheet",
                "version": "default",
                "importDerivedRoles": ["relations"],
                "rules": rules,
            }
        },
    }
