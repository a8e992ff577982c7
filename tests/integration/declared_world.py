"""Words that a vocabulary declares, for tests: attributes of the directory, facts over them, and an organisation whose
people, teams and projects have values, some of them missing and some of a wrong type."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from service.authorization.engine.engine import Snapshot
from service.policy import policy_file
from tests.policy_forge import read_shipped, rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from service.policy.policy_file import PolicyText
    from tests.integration.random_organisation import Organisation

DIRECTORY: Final = """
[directory.people]
country = "string"
level = { type = "int", personal = true }
remote = "bool"
joined = "timestamp"
tags = "list<string>"

[directory.teams]
region = "string"
floor = "int"

[directory.projects]
customer = "string"
secret = "bool"
"""
# Facts about a sheet and the caller.
FACTS: Final = {
    "overtime": "resource.minutes > 2400",
    "same_country": "resource.owner.country == principal.country",
    "empty": "resource.entry_count == 0 || size(resource.projects) == 0",
    "senior": "principal.level > resource.owner.level",
    "remote_owner": "resource.owner.remote",
    "joined_before": "resource.owner.joined < resource.period_start",
    "shares_tag": "resource.owner.tags.exists(t, t in principal.tags)",
    "in_region": "principal.country in resource.owner.teams.region",
    "upstairs": "resource.owner.teams.floor.all(f, f >= 2)",
    "for_acme": "resource.projects.customer.exists(c, c.startsWith('AC'))",
    "no_secret": "!resource.projects.secret.exists(s, s)",
    "leads_project": "resource.projects.exists(p, p in principal.projects_led)",
    "in_group": "principal.groups.exists(g, g in resource.owner.groups)",
    "shares_team": "resource.owner.teams.exists(t, t in principal.teams)",
    "has_level": "has(resource.owner.level) && has(principal.level)",
    "own": "resource.owner.id == principal.id",
    "by_app": "principal.kind == 'user' && principal.client != 'payroll-import'",
    "auditing": "'auditor' in principal.roles && context.methods.exists(m, m == 'mfa')",
    "fresh": "context.sign_in_age < 3600 && context.now > resource.submitted_at",
    "long_or_here": "resource.days >= 3 || resource.owner.country == 'DE'",
    "quoted": 'resource.owner.country == "it\'s :person, $1 \\\\ {}" || context.delegated',
}
# Facts about the caller and the sign-in.
REQUEST_FACTS: Final = {
    "german": "principal.country == 'DE'",
    "with_mfa": "'mfa' in context.methods || context.acr == 'gold'",
    "any_day": "context.weekday != '' && context.now > timestamp('2020-01-01T00:00:00Z')",
}
PROJECTS: Final = {
    "apollo": {"customer": "ACME", "secret": True},
    "gemini": {"customer": "Bolt"},
    "zeus": {},
    "x": {"customer": 7},
}


def declare(facts: Mapping[str, str] = FACTS, request_facts: Mapping[str, str] = REQUEST_FACTS) -> str:
    """The shipped vocabulary with these words."""
    added = [DIRECTORY]
    for table, words in (("kinds.timesheet.facts", facts), ("request.facts", request_facts)):
        added += [
            f"[{table}.{name}]\nis = {json.dumps(text, ensure_ascii=False)}\n"
            f'yes = "{name} holds"\nno = "{name} does not hold"\n'
            for name, text in words.items()
        ]
    return read_shipped().vocabulary + "\n" + "\n".join(added)


def declared_rows(*lines: str, vocabulary: str | None = None) -> PolicyText:
    """These rows under the vocabulary with all declared words."""
    return replace(rows(*lines), vocabulary=vocabulary or declare())


def declared_snapshot(*lines: str, vocabulary: str | None = None) -> Snapshot:
    return Snapshot.build(policy_file.parse(declared_rows(*lines, vocabulary=vocabulary)), 1)


async def give_values(owner: asyncpg.Connection[asyncpg.Record], made: Organisation, seed: int) -> None:
    """Hours, attributes, groups and project leads for an organisation; the same for the same seed."""
    draw = random.Random(seed)  # noqa: S311 — no secret comes of it
    for code, attributes in PROJECTS.items():
        await owner.execute("INSERT INTO project (code, name) VALUES ($1, $1) ON CONFLICT DO NOTHING", code)
        await owner.execute("UPDATE project SET attributes = $2 WHERE code = $1", code, json.dumps(attributes))
    for place, person in enumerate(made.people):
        choices: dict[str, list[object]] = {
            "country": [["DE", "FR", "it's :person, $1 \\ {}", 3][place % 4]],
            "level": [1, 2, 5, "2"],
            "remote": [True, False, "true"],
            "joined": ["2020-01-01T00:00:00Z", "2026-04-01T00:00:00.5Z", "2026-02-30T00:00:00Z"],
            "tags": [[], ["a", "b"], ["b"], ["c", 1]],
        }
        values: dict[str, object] = {name: draw.choice(known) for name, known in choices.items() if draw.random() < 0.8}
        await owner.execute("UPDATE person SET attributes = $2 WHERE id = $1", person, json.dumps(values))
    for team in made.teams:
        values = (
            {"region": draw.choice(["DE", "FR", None])} if draw.random() < 0.7 else {"floor": draw.choice([1, 2, 3])}
        )
        await owner.execute("UPDATE team SET attributes = $2 WHERE id = $1", team, json.dumps(values))
    for name in ("night", "day"):
        await owner.execute("INSERT INTO person_group (name) VALUES ($1) ON CONFLICT DO NOTHING", name)
        await owner.executemany(
            "INSERT INTO group_member (id, group_name, person_id, valid_from)"
            " VALUES (gen_random_uuid(), $1, $2, '-infinity')",
            [(name, person) for person in draw.sample(made.people, 4)],
        )
    await owner.executemany(
        "INSERT INTO project_lead (id, project, person_id, valid_from) VALUES (gen_random_uuid(), $1, $2, '-infinity')",
        [(draw.choice(sorted(PROJECTS)), person) for person in draw.sample(made.people, 5)],
    )
    for sheet, (_, _, start) in made.sheets.items():
        days = draw.sample(range(7), draw.choice([0, 1, 4, 7]))
        await owner.executemany(
            "INSERT INTO entry (id, timesheet_id, day, project, minutes, uploader)"
            " VALUES (gen_random_uuid(), $1, $2::date + $3::integer, $4, $5, NULL)",
            [(sheet, start, day, draw.choice(sorted(PROJECTS)), draw.choice([60, 480, 720])) for day in days],
        )
