"""Policies for tests: the shipped one, the shipped one with edits, and ones put together from rows."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from service.authorization.engine.engine import Snapshot
from service.policy import policy_file
from service.policy.policy_file import Policy, PolicyText

POLICIES = Path(__file__).resolve().parent.parent / "policies"


def read_shipped() -> PolicyText:
    return PolicyText.read(POLICIES)


def four_eyes_as_written(text: PolicyText) -> PolicyText:
    """The texts, changed as the section on four eyes in policies/README.md says, word by word."""
    section = (POLICIES / "README.md").read_text().split("## Four eyes\n")[1].split("\n## ")[0]
    row, written = re.findall(r"```(?:yaml)?\n(.*?)```", section, re.DOTALL)
    marked = [line for line in text.rules.splitlines() if re.sub(r"\s+", " ", line.removeprefix("# ")) == row.strip()]
    assert [line[:2] for line in marked] == ["# "], "the row that the page shows is not the one that is marked"
    cases = text.cases["administration.yaml"]
    replacements = re.findall(r"# instead of: (.*)\n((?:.+\n)+)", written)
    assert len(replacements) == written.count("- case: ")
    for name, case in replacements:
        old = re.findall(rf"- case: {re.escape(name)}\n(?:.+\n)+", cases)
        assert len(old) == 1, name
        cases = cases.replace(old[0], case)
    rules = text.rules.replace(marked[0], marked[0].removeprefix("# "))
    return replace(text, rules=rules, cases={**text.cases, "administration.yaml": cases})


def rows(*lines: str) -> PolicyText:
    """The shipped texts with these rows in place of policy.csv, and without cases."""
    return replace(read_shipped(), rules="\n".join(lines) + "\n", cases={})


def policy(*lines: str) -> Policy:
    return policy_file.parse(rows(*lines))


def snapshot(*lines: str) -> Snapshot:
    return Snapshot.build(policy(*lines), 1)


def vocabulary_without_paths() -> tuple[str, str]:
    """The shipped vocabulary without access requests, which need a path; and as an older version had it, without any
    path."""
    tables = re.split(r"\n(?=\[)", read_shipped().vocabulary)
    shipped = "\n".join(table for table in tables if "access_request" not in table)
    return shipped, "\n".join(line for line in shipped.splitlines() if not line.startswith("is = "))


def with_more(rules: str = "", words: str = "") -> PolicyText:
    """The shipped texts with further lines of rules and of vocabulary, and without cases."""
    text = read_shipped()
    return replace(text, rules=text.rules + rules, vocabulary=text.vocabulary + words, cases={})


def without_rule(name: str) -> PolicyText:
    """The shipped texts without this row, and without cases."""
    text = read_shipped()
    kept = [line for line in text.rules.splitlines() if not line.endswith(f" {name}")]
    assert len(kept) + 1 == len(text.rules.splitlines())
    return replace(text, rules="\n".join(kept) + "\n", cases={})
