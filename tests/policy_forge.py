"""Policies for tests: the shipped one, the shipped one with edits, and ones put together from rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from service.authorization import policy_file
from service.authorization.engine import Snapshot
from service.authorization.policy_file import Policy, PolicyText

POLICIES = Path(__file__).resolve().parent.parent / "policies"


def shipped() -> PolicyText:
    return PolicyText.read(POLICIES)


def rows(*lines: str) -> PolicyText:
    """The shipped texts with these rows in place of policy.csv, and without cases."""
    return replace(shipped(), rules="\n".join(lines) + "\n", cases={})


def policy(*lines: str) -> Policy:
    return policy_file.parse(rows(*lines))


def snapshot(*lines: str) -> Snapshot:
    return Snapshot.build(policy(*lines), 1)


def without_rule(name: str) -> PolicyText:
    """The shipped texts without one row, and without cases."""
    text = shipped()
    kept = [line for line in text.rules.splitlines() if not line.endswith(f" {name}")]
    assert len(kept) + 1 == len(text.rules.splitlines())
    return replace(text, rules="\n".join(kept) + "\n", cases={})
