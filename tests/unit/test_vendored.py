"""Files of others in this repository are those of their packages, and each says its licence in .ci/vendored."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LISTED = [
    line.split()
    for line in (ROOT / ".ci" / "vendored").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
LICENCES = {"0BSD", "MIT", "MPL-2.0", "Apache-2.0", "BSD-3-Clause"}


@pytest.mark.parametrize(("target", "package", "version", "file", "licence", "checksum"), LISTED)
def test_a_file_is_the_one_of_its_package(
    target: str, package: str, version: str, file: str, licence: str, checksum: str
) -> None:
    assert hashlib.sha256((ROOT / target).read_bytes()).hexdigest() == checksum
    assert licence in LICENCES
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_every_vendored_file_is_listed() -> None:
    folder = ROOT / "service" / "console" / "static" / "vendor"
    files = {str(path.relative_to(ROOT)) for path in folder.rglob("*") if path.is_file()}
    assert files <= {target for target, *_ in LISTED}
