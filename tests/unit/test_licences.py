"""Every package that the service needs is under a licence that lets others run, change and ship it."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
# `name==version ; marker \` at the start of a line.
PACKAGES = re.findall(r"^([A-Za-z0-9_.-]+)==\S+(?: ; (.*?))? \\$", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
# Permissive; the Mozilla Public License asks only for changes of its own files.
ACCEPTED = re.compile(
    r"(MIT|MIT-0|MIT License|Apache-2\.0|Apache Software License|BSD-2-Clause|BSD-3-Clause|BSD License|PSF-2\.0"
    r"|Mozilla Public License 2\.0 \(MPL 2\.0\))"
)


def licences_of(package: str) -> list[str]:
    """The licences that a package declares: an SPDX expression, its classifiers, or the first line of a text."""
    declared = metadata.metadata(package)
    if expressions := declared.get_all("License-Expression"):
        return re.split(r" (?:AND|OR) ", expressions[0])
    named = [line.rpartition(" :: ")[2] for line in declared.get_all("Classifier") or () if line.startswith("License")]
    return named or [text.partition("\n")[0] for text in declared.get_all("License") or ()]


@pytest.mark.parametrize("package", [name for name, marker in PACKAGES if not marker])
def test_a_package_has_a_licence_that_we_accept(package: str) -> None:
    licences = licences_of(package)
    assert licences
    assert [licence for licence in licences if not ACCEPTED.fullmatch(licence)] == []


def test_the_lock_was_read() -> None:
    assert {"litestar", "asyncpg", "pycasbin"} <= {name for name, _ in PACKAGES}
