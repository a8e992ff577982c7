"""The compose file with replicas, nginx, Prometheus and Grafana fits the one that it extends, and the settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from ipaddress import IPv4Network, ip_address
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from service.settings import Settings
from tests.image_content import ROOT, last_stage

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "docs" / "examples" / "replicas"
MONITORING = ROOT / "docs" / "examples" / "monitoring"
NGINX = (FOLDER / "nginx.conf").read_text(encoding="utf-8")
OWN_IMAGES = {"proxy": "nginx", "prometheus": "prom/prometheus", "grafana": "grafana/grafana"}


class ComposeLoader(yaml.SafeLoader):
    """Knows compose's tag that takes a value of the first file away."""


ComposeLoader.add_constructor("!reset", lambda _loader, _node: [])


def load(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), ComposeLoader)  # noqa: S506 - a safe loader
    return found


BASE, ADDED = load(ROOT / "docker-compose.yml"), load(FOLDER / "docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = ADDED["services"]
# Those of the first file that start without a profile.
STARTED = [name for name, service in BASE["services"].items() if "profiles" not in service]


def port_of(setting: str) -> int:
    """The port in a setting of the image."""
    words = " ".join(item.rest for item in last_stage() if item.word == "ENV")
    found = re.search(rf"\bTIMEWARDEN_{setting}=(?:\S*:)?(\d+)", words)
    assert found
    return int(found[1])


def test_callers_reach_nginx_and_this_machine_reaches_grafana_but_nothing_else() -> None:
    assert SERVICES["api"]["ports"] == [], "the port of the first file is taken away"
    assert {name for name, service in SERVICES.items() if service.get("ports")} == {"proxy", "grafana"}
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["grafana"]["ports"])
    assert [name for name in STARTED if "ports" in BASE["services"][name]] == ["api"]


def test_what_it_adds_has_a_fixed_version_and_no_privileges() -> None:
    assert set(SERVICES) == {"api", *OWN_IMAGES}
    for name, image in OWN_IMAGES.items():
        service = SERVICES[name]
        assert re.fullmatch(rf"{image}:v?\d+\.\d+(\.\d+)?(@sha256:[0-9a-f]{{64}})?", service["image"])
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(ADDED["volumes"]).isdisjoint(BASE["volumes"])


def test_the_api_believes_nginx_whose_address_nobody_else_is_given() -> None:
    [network] = ADDED["networks"]["default"]["ipam"]["config"]
    address = SERVICES["proxy"]["networks"]["default"]["ipv4_address"]
    assert SERVICES["api"]["environment"] == {"TIMEWARDEN_TRUSTED_PROXIES": address}
    assert ip_address(address) in IPv4Network(network["subnet"])
    assert ip_address(address) not in IPv4Network(network["ip_range"])
    assert IPv4Network(network["ip_range"]).subnet_of(IPv4Network(network["subnet"]))


def test_every_mounted_file_exists_and_every_value_that_must_be_given_says_what_it_is() -> None:
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert not source.startswith("./") or (ROOT / source).is_file(), source
    text = (FOLDER / "docker-compose.yml").read_text(encoding="utf-8")
    required = set(re.findall(r"\$\{(\w+):\?[^}]{20,}\}", text))
    assert required == {"TLS_CERTIFICATE", "TLS_KEY", "GRAFANA_PASSWORD"}
    assert all(name in text.partition("services:")[0] for name in required)


def test_nginx_asks_the_replicas_at_their_port_and_closes_idle_connections_first() -> None:
    assert re.findall(r"server (\S+) resolve", NGINX) == [f"api:{port_of('PORT')}"]
    [upstream] = re.findall(r"keepalive_timeout (\d+)s", NGINX)
    assert int(upstream) < Settings.model_fields["idle_timeout"].default
    assert re.findall(r"proxy_set_header X-Forwarded-For (\S+);", NGINX) == ["$remote_addr"]


def test_nginx_lets_through_every_body_that_the_api_takes() -> None:
    sizes = [int(size) * 2**20 for size in re.findall(r"client_max_body_size (\d+)m;", NGINX)]
    for size, setting in zip(sizes, ("max_body_bytes", "max_upload_bytes"), strict=True):
        assert size > Settings.model_fields[setting].default


@pytest.mark.parametrize(
    ("job", "service", "setting"),
    [("timewarden-api", "api", "MANAGEMENT_ADDRESS"), ("timewarden-keeper", "keeper", "KEEPER_ADDRESS")],
)
def test_prometheus_finds_every_replica_and_keeper_by_its_name(job: str, service: str, setting: str) -> None:
    jobs = {item["job_name"]: item for item in load(MONITORING / "prometheus.yml")["scrape_configs"]}
    [place] = jobs[job]["dns_sd_configs"]
    assert (place["names"], place["type"], place["port"]) == ([service], "A", port_of(setting))
    assert service in BASE["services"]


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    [source] = load(FOLDER / "grafana-datasource.yml")["datasources"]
    assert source["url"].startswith("http://prometheus:")
    assert source["isDefault"]
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    [chosen] = [item for item in dashboard["templating"]["list"] if item["name"] == "datasource"]
    assert chosen["query"] == source["type"]
    [provider] = load(FOLDER / "grafana-dashboard.yml")["providers"]
    mounts = dict(mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"])
    assert mounts["./docs/examples/monitoring/dashboard.json"].startswith(f"{provider['options']['path']}/")
    assert {"/etc/grafana/provisioning/datasources", "/etc/grafana/provisioning/dashboards"} <= {
        target.rpartition("/")[0] for target in mounts.values()
    }


@pytest.mark.skipif(
    shutil.which("docker-compose") is None,
    reason="docker-compose is not installed (Debian: apt-get install docker-compose)",
)
def test_compose_itself_joins_both_files_as_meant(tmp_path: Path) -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    given = re.sub(r"^(\w+)=$", rf"\1={'0' * 48}", example, flags=re.MULTILINE)
    (tmp_path / "env").write_text(
        f"{given}TLS_CERTIFICATE=/c.pem\nTLS_KEY=/k.pem\nGRAFANA_PASSWORD=x\n", encoding="utf-8"
    )
    files = ("-f", "docker-compose.yml", "-f", "docs/examples/replicas/docker-compose.yml")
    done = subprocess.run(
        ["docker-compose", "--env-file", str(tmp_path / "env"), *files, "config", "--format", "json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert set(services) == {*STARTED, *SERVICES}
    assert "ports" not in services["api"]
    assert services["api"]["deploy"]["replicas"] > 1
    assert services["api"]["environment"]["TIMEWARDEN_DATABASE_URL"], "the settings of the first file are kept"
