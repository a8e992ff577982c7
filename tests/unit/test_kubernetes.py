"""The Kubernetes example names settings, paths and ports that exist, and grants no more than the compose file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from service import VERSION
from service.settings import variables

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "examples" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for path in sorted(FOLDER.glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
PODS: dict[str, dict[str, Any]] = {
    manifest["metadata"]["name"]: manifest["spec"]["template"]["spec"]
    for manifest in MANIFESTS
    if "template" in manifest.get("spec", {})
}
CONTAINERS = [
    pytest.param(container, pod, id=container["name"])
    for pod in PODS.values()
    for container in (*pod.get("initContainers", ()), *pod["containers"])
]


def test_the_kustomization_applies_every_file_in_this_release() -> None:
    assert set(KUSTOMIZATION["resources"]) == {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert KUSTOMIZATION["images"] == [{"name": "timewarden", "newTag": VERSION}]
    # A job cannot be changed, so each release has its own.
    assert f"timewarden-migrate-{VERSION.replace('.', '-')}" in PODS


def test_every_setting_exists_and_secrets_are_files() -> None:
    [config] = [manifest["data"] for manifest in MANIFESTS if manifest["kind"] == "ConfigMap"]
    named = set(config) | {env["name"] for container in containers() for env in container.get("env", ())}
    assert named <= variables()
    assert not {"TIMEWARDEN_DATABASE_URL", "TIMEWARDEN_REDIS_URL", "TIMEWARDEN_CURSOR_KEY"} & named


@pytest.mark.parametrize(("container", "pod"), CONTAINERS)
def test_a_container_has_no_privileges_and_writes_only_to_its_volumes(
    container: dict[str, Any], pod: dict[str, Any]
) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    assert container["resources"]["limits"]["memory"]


def test_probes_ask_the_management_port() -> None:
    [api] = PODS["timewarden-api"]["containers"]
    assert {port["name"]: port["containerPort"] for port in api["ports"]} == {"http": 8080, "management": 8081}
    probes = {name: api[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert probes["readinessProbe"] == probes["startupProbe"] == {"path": "/health/ready", "port": "management"}
    assert probes["livenessProbe"] == {"path": "/health/live", "port": "management"}


def test_clients_reach_only_the_port_for_clients() -> None:
    service = next(manifest for manifest in MANIFESTS if manifest["kind"] == "Service")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    default, api = [manifest["spec"] for manifest in MANIFESTS if manifest["kind"] == "NetworkPolicy"]
    assert "ingress" not in default
    assert [rule["ports"] for rule in api["ingress"]] == [[{"port": "http"}], [{"port": "management"}]]


def containers() -> Iterator[dict[str, Any]]:
    for pod in PODS.values():
        yield from (*pod.get("initContainers", ()), *pod["containers"])
