"""Steps of the schema keep what the release before uses, so that the two run side by side."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import service.migrations

VERSIONS = Path(service.migrations.__file__).parent / "versions"
# The last step of the release before this one, which tests/acceptance/test_upgrade.py runs on the newest schema.
LAST_OF_PREVIOUS = "0028"
STEPS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(VERSIONS.glob("*.sql"))}
NEW = {name: text for name, text in STEPS.items() if name[:4] > LAST_OF_PREVIOUS}
BREAKS = re.compile(
    r"DROP (?:TABLE|COLUMN|VIEW|TYPE)|RENAME (?:TO|COLUMN)|ALTER COLUMN \w+ (?:SET DATA )?TYPE|SET NOT NULL"
    r"|REVOKE .* FROM timewarden",
    re.IGNORECASE,
)


def removed_by(step: str) -> list[str]:
    """What a step takes away from the release before, also functions that it drops and does not make again."""
    code = re.sub(r"--.*", "", step)
    dropped = re.findall(r"DROP FUNCTION (?:IF EXISTS )?(\w+)", code)
    return BREAKS.findall(code) + [
        name for name in dropped if not re.search(rf"CREATE (?:OR REPLACE )?FUNCTION {name}\b", code)
    ]


@pytest.mark.parametrize("name", NEW)
def test_a_step_takes_nothing_away_from_the_release_before(name: str) -> None:
    assert removed_by(NEW[name]) == []


@pytest.mark.parametrize(
    "step",
    [
        "ALTER TABLE person DROP COLUMN email;",
        "ALTER TABLE person RENAME COLUMN email TO mail;",
        "ALTER TABLE person ALTER COLUMN email TYPE bytea;",
        "ALTER TABLE person ALTER COLUMN email SET NOT NULL;",
        "DROP FUNCTION erase_person(uuid);",
        "REVOKE SELECT ON person FROM timewarden_app;",
    ],
)
def test_what_would_break_the_release_before_is_found(step: str) -> None:
    assert len(removed_by(step)) == 1
