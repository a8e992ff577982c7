"""`timewarden policy simulate`: what a version would decide on an access request, and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console

from service.commands.api_client import connect
from service.commands.groups import as_json, as_person
from service.commands.tables import escape_markup
from service.commands.version_numbers import VersionNumber, call_about_versions, resolve_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FACT = {"true": True, "false": False, "unknown": None}
# The conditions of a rule that denies, and those that a rule would need, by dimension.
GROUNDS = {
    "who": "the caller is {}",
    "state": "the state is {}",
    "scope": "the token has the scope {}",
    "fact": "the fact {} is true or unknown",
}
NEEDED = {"who": "relation {}", "state": "state {}", "scope": "scope {}", "fact": "fact {}"}


@click.command()
@click.argument("action")
@click.argument("kind", default="timesheet")
@click.option("--client", default="hours-app", show_default=True, help="The client of the access request.")
@click.option("--for-itself", is_flag=True, help="The client acts for itself, not for a user.")
@click.option("--person", "subject", help="The id of the person who asks.")
@click.option("--scope", "scopes", multiple=True, help="A scope of the token; may be repeated.")
@click.option("--role", "roles", multiple=True, help="A role of the token; may be repeated.")
@click.option(
    "--method", "methods", multiple=True, help="An authentication method (amr), such as mfa; may be repeated."
)
@click.option("--auth-age", type=click.IntRange(min=0), help="Seconds since the sign-in.")
@click.option(
    "--id",
    "sheet",
    help="An existing timesheet, if you may read it or the log; without it, the options below describe an imagined"
    " resource.",
)
@click.option("--state", help="Its state.")
@click.option("--relation", "relations", multiple=True, help="A relation of the subject to it; may be repeated.")
@click.option(
    "--fact", "facts", multiple=True, metavar="NAME=true|false|unknown", help="A fact of it; may be repeated."
)
@click.option(
    "--attribute", "attributes", multiple=True, metavar="resource.NAME=VALUE",
    help="An attribute of it, or principal.NAME=VALUE of the subject; a value may be JSON; may be repeated.",
)  # fmt: skip
@click.option("--actor", "actors", multiple=True, help="A client that acts for the subject, the current one first.")
@click.option("--agent", is_flag=True, help="An actor, or the client, is an agent.")
@click.option("--version", type=VersionNumber(), help="A policy version, or latest; default: the one that decides.")
@as_json
@as_person
def simulate(
    *,
    action: str,
    kind: str,
    client: str,
    for_itself: bool,
    subject: str | None,
    scopes: Sequence[str],
    roles: Sequence[str],
    methods: Sequence[str],
    auth_age: int | None,
    sheet: str | None,
    state: str | None,
    relations: Sequence[str],
    facts: Sequence[str],
    attributes: Sequence[str],
    actors: Sequence[str],
    agent: bool,
    version: int | str | None,
    as_json: bool,
    person: str | None,
) -> None:
    """Show whether a subject would be allowed ACTION on a KIND of resource. It is recorded as a simulation."""
    api = connect(person)
    given = _attributes(attributes)
    question = {
        "subject": {
            "client": client,
            "as": "client" if for_itself else "user",
            "person": subject,
            "scopes": list(scopes),
            "roles": list(roles),
            "methods": list(methods) or None,
            "auth_age": auth_age,
            "actors": list(actors),
            "agent": agent,
            "attributes": given["principal"],
        },
        "action": action,
        "resource": {
            "kind": kind,
            "id": sheet,
            "state": state,
            "relations": list(relations),
            "facts": dict(_fact(fact) for fact in facts),
            "attributes": given["resource"],
        },
        "version": (number := resolve_version(api, version)),
    }
    path = "/v1/policies/simulate"
    found = call_about_versions(api, "POST", path, number, body=question, long="the version is loaded")
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)


def _fact(text: str) -> tuple[str, bool | None]:
    name, _, value = text.partition("=")
    if value not in FACT:
        raise click.BadParameter(f"'{text}' is not NAME=true, NAME=false or NAME=unknown", param_hint="--fact")
    return name, FACT[value]


def _attributes(texts: Sequence[str]) -> dict[str, dict[str, object]]:
    """The values by `principal` and `resource`, and by name. A value that is no JSON is a string."""
    found: dict[str, dict[str, object]] = {"principal": {}, "resource": {}}
    for text in texts:
        name, given, value = text.partition("=")
        root, _, rest = name.partition(".")
        if not given or not rest or root not in found:
            raise click.BadParameter(
                f"'{text}' is not resource.NAME=VALUE or principal.NAME=VALUE", param_hint="--attribute"
            )
        try:
            found[root][rest] = json.loads(value)
        except ValueError:
            found[root][rest] = value
    return found


def _show(found: dict[str, Any]) -> None:
    allowed = found["verdict"] == "allow"
    by = f" by {escape_markup(', '.join(found['rules']))}" if found["rules"] else ""
    lines = [
        f"[{'green' if allowed else 'red'}]{found['verdict']}[/] ({found['reason']}{by}), version {found['version']}"
    ]
    lines += [f"  sentence for the caller: {escape_markup(sentence)}" for sentence in found["told"]]
    lines += [f"  {escape_markup(rule['rule'])} denies it{_grounds(rule)}" for rule in found["denied_because"]]
    if found["denied_because"] and found["near_misses"]:
        # A denial stands even if the missing conditions were met.
        lines.append("  without that denial, still no rule would allow it:")
    lines += [
        f"  {escape_markup(near_miss['rule'])} would need: {_words(near_miss, NEEDED)}"
        for near_miss in found["near_misses"]
    ]
    if found["more_near_misses"]:
        lines.append(f"  and {found['more_near_misses']} more rules with more missing conditions")
    lines += [f"  assumed: {escape_markup(sentence)}" for sentence in found["assumed"]]
    console = Console(soft_wrap=True, highlight=False, emoji=False)
    for line in lines:
        console.print(line)


def _grounds(rule: dict[str, Any]) -> str:
    return f": {_words(rule, GROUNDS)}" if rule["conditions"] else " to everybody"


def _words(rule: dict[str, Any], sentences: Mapping[str, str]) -> str:
    found = []
    for dimension, word in rule["conditions"]:
        # Words such as role:payroll say themselves what they are.
        sentence = "{}" if sentences is NEEDED and ":" in word and dimension == "who" else sentences[dimension]
        found.append(sentence.format(word))
    return escape_markup("; ".join(found))
