"""`make pin` pins base images by the digest that a registry gives, and its check fails while one is not pinned."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import httpx2
import pytest

from service.development.processes import wait_until
from tests.image_content import ROOT
from tests.ports import unused_port
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = ("Dockerfile", "docker-compose.yml", "docs/examples/replicas/docker-compose.yml")
IMAGE = re.compile(r"^(?:ARG BASE=| +image: )(?!timewarden:)(\S+)$", re.MULTILINE)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files with images, none pinned, and the program."""
    for name in (".ci/pin", *FILES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(re.sub(r"@sha256:[0-9a-f]{64}$", "", text, flags=re.MULTILINE), encoding="utf-8")
    return tmp_path


def images(checkout: Path) -> set[str]:
    return {image for name in FILES for image in IMAGE.findall((checkout / name).read_text(encoding="utf-8"))}


def pin(checkout: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(checkout / ".ci" / "pin"), *options],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_check_names_every_image_that_is_not_pinned(checkout: Path) -> None:
    found = pin(checkout, "--check")
    assert found.returncode == 1
    assert set(found.stdout.split()) == images(checkout)
    assert len(images(checkout)) >= 6
    for name in FILES:
        text = (checkout / name).read_text(encoding="utf-8")
        (checkout / name).write_text(IMAGE.sub(lambda line: f"{line[0]}@sha256:{'0' * 64}", text), encoding="utf-8")
    assert pin(checkout, "--check").returncode == 0


class Registry:
    """A registry on loopback, without TLS."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.address = folder, f"127.0.0.1:{unused_port()}"
        configuration = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
            "http": {"addr": self.address},
        }
        (folder / "registry.yml").write_text(json.dumps(configuration), encoding="utf-8")
        self.process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "registry.yml")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def answers(self) -> bool:
        with contextlib.suppress(httpx2.HTTPError):
            return httpx2.get(f"http://{self.address}/v2/", trust_env=False).is_success
        return False

    def push(self, image: str, content: str) -> str:
        """Push an image whose configuration holds this content; returns its digest."""
        folder = self.folder / "image"
        folder.mkdir(exist_ok=True)
        (folder / "version").write_text("Directory Transport Version: 1.1\n")
        settings = {"architecture": "amd64", "os": "linux", "author": content, "rootfs": {"type": "layers"}}
        configuration = json.dumps({**settings, "config": {}}).encode()
        digest = hashlib.sha256(configuration).hexdigest()
        (folder / digest).write_bytes(configuration)
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        described = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(configuration)}
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": {**described, "digest": f"sha256:{digest}"}}
        text = json.dumps({**manifest, "layers": []})
        (folder / "manifest.json").write_text(text)
        options = ("--quiet", "--insecure-policy", "--dest-tls-verify=false")
        subprocess.run(["skopeo", "copy", *options, f"dir:{folder}", f"docker://{self.address}/{image}"], check=True)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    for program in ("skopeo", "docker-registry"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: apt-get install skopeo docker-registry)")
    made = Registry(tmp_path)
    try:
        assert wait_until(made.answers, PATIENCE_SECONDS)
        yield made
    finally:
        made.process.terminate()
        made.process.wait()


@pytest.mark.long
def test_each_image_is_pinned_by_what_its_tag_names_in_the_registry(checkout: Path, registry: Registry) -> None:
    wanted = {image: registry.push(image, image) for image in images(checkout)}
    mirror = {"MIRROR": f"{registry.address}/", "SKOPEO_OPTIONS": "--tls-verify=false"}
    done = pin(checkout, **mirror)
    assert done.returncode == 0, done.stderr
    assert images(checkout) == {f"{image}@{digest}" for image, digest in wanted.items()}
    assert pin(checkout, "--check").returncode == 0
    for name in FILES:
        pinned = (checkout / name).read_text(encoding="utf-8")
        assert re.sub(r"@sha256:\w+", "", pinned) == re.sub(
            r"@sha256:\w+", "", (ROOT / name).read_text(encoding="utf-8")
        )

    # A tag that names another image later is pinned anew.
    image = min(wanted)
    wanted[image] = registry.push(image, "newer")
    assert pin(checkout, **mirror).returncode == 0
    assert images(checkout) == {f"{image}@{digest}" for image, digest in wanted.items()}


@pytest.mark.long
def test_an_image_that_the_registry_does_not_have_is_an_error(checkout: Path, registry: Registry) -> None:
    done = pin(checkout, MIRROR=f"{registry.address}/", SKOPEO_OPTIONS="--tls-verify=false")
    assert done.returncode != 0
    assert "unknown" in done.stderr
