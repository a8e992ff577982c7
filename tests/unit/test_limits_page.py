"""docs/limits.md says which bounds a caller can meet, and says them as the code does."""

from __future__ import annotations

import ast
import importlib
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.settings import Settings, variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8").split("\n## Bounds\n")[1]
ROW = re.compile(r"^\| ([^|*]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
# The rows of the page and where their values stand in the code.
BOUNDS = {
    "headers of a request": "service.web.http.requests:MAX_HEADER_BYTES",
    "URL of a request": "service.web.http.requests:MAX_URL_BYTES",
    "access token": "service.identity.jws:MAX_TOKEN_BYTES",
    "DPoP proof": "service.identity.dpop:MAX_PROOF_BYTES",
    "waiting requests, per process": "service.web.http.admission_queue:MAX_WAITING_REQUESTS",
    "arriving bodies, per process (half from one address)": "service.web.http.admission:MAX_BODIES_ARRIVING",
    "items of a page": "service.web.http.paging:MAX_LIMIT",
    "entries of a timesheet": "service.timesheets.timesheet:MAX_ENTRIES",
    "entries of one request": "service.timesheets.timesheet:MAX_ENTRIES_AT_ONCE",
    "approvals of a timesheet": "service.policy.approval:MAX_APPROVALS",
    "items of a batch of approvals": "service.timesheets.approvals:MAX_ITEMS",
    "projects of a filter": "service.web.timesheets.timesheet_shapes:MAX_PROJECTS",
    "days of a search for a text, of all owners": "service.timesheets.listing:MAX_DAYS_OF_TEXT",
    "timesheets of the totals of a list": "service.timesheets.actions:MAX_SHEETS_OF_TOTALS",
    "timesheets of a list in another order than by week": "service.timesheets.listing:MAX_SORTED_SHEETS",
    "period of a report": "service.timesheets.reports:MAX_DAYS",
    "timesheets of a report": "service.timesheets.reports:MAX_SHEETS",
    "arrival of a file": "service.web.uploads.uploads:MAX_ARRIVAL_SECONDS",
    "rows of a JSON body": "service.web.uploads.uploads_shapes:MAX_ROWS_OF_JSON",
    "rows of a file, together": "service.timesheets.upload:MAX_TOGETHER",
    "timesheets of a file, together": "service.timesheets.upload:MAX_SHEETS_TOGETHER",
    "rows of a file, per row": "service.timesheets.upload_rows:MAX_ROWS",
    "lines of a file": "service.web.uploads.uploads_lines:MAX_LINES_PER_FILE",
    "line of a file": "service.web.uploads.uploads_lines:MAX_LINE_BYTES",
    "rows of one person and week": "service.timesheets.upload_rows:MAX_ROWS_PER_SHEET",
    "files read at once, per process": "service.web.uploads.upload_turns:MAX_FILES",
    "files read at once, of one client": "service.web.uploads.upload_turns:MAX_FILES_PER_CLIENT",
    "words of a search for people": "service.directory.entities:MAX_WORDS_PER_SEARCH",
    "people of a list of memberships": "service.web.directory.directory:MAX_PEOPLE",
    "time of an access request": "service.directory.entities:MAX_ACCESS_DAYS",
    "days until the beginning of an access request": "service.directory.entities:MAX_DAYS_UNTIL_ACCESS",
    "open access requests of a person": "service.directory.entities:MAX_OPEN_ACCESS_REQUESTS",
    "import": "service.web.directory.directory_import:MAX_BYTES",
    "rows of an import": "service.directory.import_file:MAX_ROWS",
    "line of an import": "service.directory.import_file:MAX_CHARACTERS_PER_LINE",
    "texts of an attribute that is a list": "service.directory.declared_attributes:MAX_VALUES_PER_LIST",
    "attributes of a person, team or project": "service.directory.declared_attributes:MAX_ATTRIBUTE_BYTES",
    "proposal": "service.web.policy.versions:MAX_BYTES",
    "`p` rows": "service.policy.rule_rows:MAX_ROWS",
    "`g` rows": "service.policy.rule_rows:MAX_LINKS",
    "expression": "service.policy.expressions.source:MAX_EXPRESSION_CHARACTERS",
    "expressions of a kind, and of the sign-in": "service.policy.vocabulary_file:MAX_DEFINED_FACTS",
    "attributes of people, teams or projects": "service.policy.directory_tables:MAX_ATTRIBUTES",
    "relations with a path, of a kind": "service.policy.relation_tables:MAX_PATHS",
    "path": "service.policy.path_parser:LONGEST_PATH",
    "steps of a path": "service.policy.path_parser:MAX_STEPS",
    "branches of a path": "service.policy.path_parser:MAX_CHAINS",
    "branches of all paths of a kind": "service.policy.relation_tables:MAX_BRANCHES",
    "cases": "service.policy.case_files:MAX_CASES",
    "case files": "service.policy.policy_file:MAX_CASE_FILES",
    "rows visited by all cases": "service.administration.checks.case_results:MAX_ROW_VISITS",
    "rows visited to prove the safety laws": "service.policy.request_space:MAX_CASBIN_ROWS",
    "check of a proposal": "service.administration.checks.check_worker:MAX_SECONDS",
    "unfinished replays of each kind": "service.administration.replay.jobs:MAX_OPEN_JOBS_PER_KIND",
    "attributes in a record, together": (
        "service.authorization.enforcement.decision_record:MAX_ATTRIBUTE_BYTES_PER_RECORD"
    ),
    "period of a summary": "service.web.audit.decisions:MAX_SUMMARY",
    "decisions that a summary counts": "service.audit.summary:MAX_COUNTED",
    "deleted timesheets of a person, in a search by week": "service.audit.people:MAX_DELETED_SHEETS",
    "timesheets that a search by week finds": "service.audit.people:MAX_SHEETS_OF_WEEK",
    "exports at once, per process": "service.web.audit.exports:MAX_STREAMS",
    "duration of an export": "service.web.audit.exports:MAX_STREAM_SECONDS",
    "pending weeks that a filter of the inbox looks through": "service.console.approver:MAX_SEARCHED",
    "form": "service.console.application:MAX_BODY_BYTES",
    "session without a request": "service.console.sessions:IDLE_SECONDS",
    "session": "service.console.sessions:MAX_SECONDS",
    "sign-in, from its beginning": "service.console.sessions:ATTEMPT_SECONDS",
    "form that waits for a stronger sign-in": "service.console.sessions:MAX_KEPT_BYTES",
    "forms of a person that wait for it": "service.console.sessions:MAX_KEPT",
    "form that waits, from when it was sent": "service.console.sessions:KEPT_SECONDS",
}
# Bounds that raise a refusal and stand elsewhere, with the reason.
ELSEWHERE = {
    "service.database:MAX_REPLAY_SECONDS": "the primary answers instead: docs/sizing.md",
    "service.identity.principal_claims:MAX_ACTORS": "what an issuer may write",
    "service.identity.claims:MAX_LIST_ITEMS": "what an issuer may write",
    "service.identity.issuer:MAX_LEEWAY_SECONDS": "of a setting, which the refusal names",
    "service.settings:MAX_SECRET_CHARACTERS": "of a setting, which the refusal names",
    "service.identity.jwk_set:MAX_KEYS": "what an issuer may publish",
    "service.identity.jwk_set:MAX_KEYS_PER_KID": "what an issuer may publish",
    "service.administration.checks.case_changes:MAX_NAMED": "ends a list of names",
    "service.administration.checks.redundancy:MAX_FOUND": "ends a list of hints",
    "service.directory.entities:MAX_CLIENT_LENGTH": "a field of a request",
    "service.directory.entities:MAX_LINKS": "a field of a request",
    "service.timesheets.entry:MAX_MINUTES": "a field of a request",
    "service.fields:MAX_TAGS": "a field of a request",
    "service.directory.entities:MAX_ACTIVITIES": "a field of a request",
    "service.directory.legal_holds:MAX_REASON_LENGTH": "a field of a request",
    "service.directory.entities:MAX_ACCESS_REASON_LENGTH": "a field of a request",
    "service.directory.entities:MAX_TEAM_NAME_LENGTH": "a field of a request",
    "service.directory.erasure:MAX_NAMED": "ends a list of timesheets",
    "service.policy.case_files:MAX_COMPLAINTS": "ends a list of complaints",
    "service.policy.rule_rows:MAX_COMPLAINTS": "ends a list of complaints",
    "service.authorization.enforcement.fact_reader:MAX_WAITING": "the admission lets fewer requests work at once",
    "service.timesheets.reminders:MAX_DAYS": "a field of a request",
    "service.administration.versions.simulated_request:MAX_WORDS": "a field of a request",
    "service.policy.vocabulary_file:MAX_REQUEST_FACTS": "which the complaint about the file names",
    "service.policy.attributes:MAX_INT": "which the complaint about the expression names",
    "service.console.sign_in_server:MAX_ANSWER_BYTES": "of what the authorization server answers",
    "service.web.audit.exports:MAX_POSITION": "the largest integer that JSON keeps exact",
    "service.web.audit.proofs:MAX_SIZE": "the largest integer that JSON keeps exact",
    "service.web.http.parameters:MAX_INTEGER": "the largest integer of a column",
    "service.console.form_values:MAX_NUMBER": "the largest integer of a column",
}
# Lengths of single texts (`_CHARS`) are in the OpenAPI document; a private bound is a part of another.
BOUND = re.compile(r"MAX_[A-Z_]+(?<!_CHARS)")
# Bounds of files, commands and local servers: no caller meets them.
NOT_SERVED = ("service.commands.", "service.development.", "service.log.", "service.standalone.")


def value_of(place: str) -> int:
    module, _, name = place.partition(":")
    value = getattr(importlib.import_module(module), name)
    return value.days if isinstance(value, timedelta) else int(value)


def names_in(nodes: Iterable[ast.AST]) -> set[str]:
    found = (part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name))
    return {name for name in found if BOUND.fullmatch(name)}


def refuses(node: ast.AST) -> bool:
    """Whether it raises, or notes a wrong field or a complaint about a policy."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func).rpartition(".")[2] in {"wrong", "Complaint", "_complain", "complain"}
    return isinstance(node, ast.Raise)


def bounds_that_refuse() -> Iterator[str]:
    """`module:constant` of each bound that a condition of a refusal, a refusal or a parameter's schema names."""
    for path in sorted((ROOT / "service").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if module.startswith(NOT_SERVED):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            alias.name: node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for node in ast.walk(tree):
            names: set[str] = set()
            if isinstance(node, ast.If) and any(refuses(part) for below in node.body for part in ast.walk(below)):
                names = names_in([node.test])
            elif isinstance(node, ast.Raise):
                names = names_in([node])
            elif isinstance(node, ast.keyword) and node.arg in {"max_length", "le", "request_max_body_size"}:
                names = names_in([node.value])
            yield from (f"{imported.get(name, module)}:{name}" for name in names)


def test_the_page_names_every_bound_once_and_no_other() -> None:
    rows = [bound for bound, value, _ in ROW.findall(PAGE) if value[0].isdigit()]
    assert rows == list(BOUNDS)


@pytest.mark.parametrize(("bound", "place"), BOUNDS.items(), ids=list(BOUNDS.values()))
def test_a_bound_has_its_value_in_the_code_a_unit_and_a_consequence(bound: str, place: str) -> None:
    value, consequence = next((value, says) for row, value, says in ROW.findall(PAGE) if row == bound)
    number, _, unit = value.partition(" ")
    assert number == f"{value_of(place):,}"
    assert unit.isalpha()
    assert consequence.strip()


def test_a_bound_that_is_a_setting_names_one() -> None:
    named = re.findall(r"`(TIMEWARDEN_\w+)`", PAGE)
    assert named
    assert set(named) <= {variable(name) for name in Settings.model_fields}


def test_every_bound_that_raises_a_refusal_is_on_the_page() -> None:
    found = set(bounds_that_refuse())
    assert sorted(found - set(BOUNDS.values()) - ELSEWHERE.keys()) == []
    assert sorted(ELSEWHERE.keys() - found) == [], "these raise no refusal any more"
