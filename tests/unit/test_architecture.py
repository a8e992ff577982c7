"""What import-linter cannot say: who may use which library, who makes permits, where SQL and settings are."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("service/**/*.py"), *ROOT.glob("events/**/*.py")])
NAMES = {str(path.relative_to(ROOT)): path for path in SOURCES}

# Library to the places that may import it: a prefix of the path.
ALLOWED = {
    "casbin": ["service/authorization/engine/engine.py"],
    "cel_expr_python": ["service/policy/expressions/runtime.py"],
    "simpleeval": [],
    "jwt": ["service/identity/"],
    "joserfc": ["service/development/authorization_server/", "service/console/"],
    "authlib": ["service/development/authorization_server/", "service/console/"],
    "jinja2": ["service/console/"],
    "litestar": ["service/web/", "service/app.py", "service/development/authorization_server/", "service/console/"],
    "redis": [
        "events/",
        "service/identity/used_proofs.py",
        "service/authorization/active/hint.py",
        "service/console/",
    ],
    "opentelemetry": ["service/tracing.py"],
    "alembic": ["service/migrations/"],
    "sqlalchemy": ["service/migrations/"],
    "granian": ["service/listeners.py"],
    "pydantic": ["service/settings.py"],
    "pydantic_settings": ["service/settings.py"],
}
SETTINGS_READERS = (
    "service/__main__.py",
    "service/app.py",
    "service/keeper.py",
    "service/commands/",
)
# Modules whose job is storage, and those that put one statement together from what storage modules gave them.
SQL_PLACES = (
    "service/audit/",
    "service/log/",
    "service/commands/doctor_checks.py",
    "service/connectivity.py",
    "service/authorization/enforcement/idempotent_replay.py",
    "service/authorization/enforcement/stored_responses.py",
    "service/administration/versions/version_store.py",
    "service/authorization/enforcement/policy_relations.py",
    "service/authorization/active/versions.py",
    "service/authorization/active/replicas.py",
    "service/authorization/enforcement/attribute_sql.py",
    "service/authorization/enforcement/fact_statements.py",
    "service/authorization/enforcement/path_sql.py",
    "service/authorization/enforcement/relationships.py",
    "service/authorization/enforcement/person_references.py",
    "service/authorization/enforcement/team_references.py",
    "service/administration/replay/jobs.py",
    "service/authorization/enforcement/token_revocation.py",
    "service/identity/revocation.py",
    "service/timesheets/known_projects.py",
    "service/timesheets/store.py",
    "service/timesheets/upload_store.py",
    "service/timesheets/access_store.py",
    "service/timesheets/listing.py",
    "service/timesheets/reports_store.py",
    "service/timesheets/approvals_store.py",
    "service/timesheets/relations.py",
    "service/timesheets/sheet_columns.py",
    "service/directory/access_request_store.py",
    "service/directory/store.py",
    "service/directory/holder_store.py",
    "service/directory/grant_store.py",
    "service/directory/people_store.py",
    "service/directory/erased_store.py",
    "service/directory/erasure.py",
    "service/directory/legal_holds.py",
    "service/directory/project_store.py",
    "service/directory/import_store.py",
    "service/directory/merging_store.py",
    "service/directory/team_store.py",
    "service/migrations/",
    "service/commands/serve.py",
    "service/development/",
)
SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM)\b[^.]*\b(FROM|INTO|SET|WHERE|VALUES)\b")
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "core", "manager", "util", "misc"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def find_imports(path: Path) -> set[str]:
    """Every module name that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sql_lines(name: str) -> list[int]:
    """Where a module holds SQL."""
    return [
        node.lineno
        for node in ast.walk(tree(NAMES[name]))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.search(node.value)
    ]


@pytest.mark.parametrize("library", ALLOWED)
def test_a_library_is_imported_only_where_its_job_is_done(library: str) -> None:
    strangers = [
        name
        for name, path in NAMES.items()
        if any(find_import == library or find_import.startswith(f"{library}.") for find_import in find_imports(path))
        and not name.startswith(tuple(ALLOWED[library]))
    ]
    assert strangers == []


def test_settings_are_read_by_the_composition_root_and_the_command_line_alone() -> None:
    readers = [name for name, path in NAMES.items() if "service.settings" in find_imports(path)]
    assert [name for name in readers if not name.startswith(SETTINGS_READERS)] == []


def test_permits_are_made_by_enforcement_alone() -> None:
    makers = [
        name for name, path in NAMES.items() if "service.authorization.enforcement.changes.grant" in find_imports(path)
    ]
    assert makers == ["service/authorization/enforcement/gate.py"]


def test_visibilities_are_made_by_enforcement_alone() -> None:
    makers = [
        name
        for name, path in NAMES.items()
        if "service.authorization.enforcement.visibility.visible" in find_imports(path)
    ]
    assert makers == ["service/authorization/enforcement/gate.py"]


def test_sql_stands_in_the_modules_whose_job_is_storage() -> None:
    speakers = [f"{name}:{line}" for name in NAMES if not name.startswith(SQL_PLACES) for line in sql_lines(name)]
    assert speakers == []


def test_every_exemption_is_needed() -> None:
    idle = [
        (library, place)
        for library, places in ALLOWED.items()
        for place in places
        if not any(
            find_import == library or find_import.startswith(f"{library}.")
            for name, path in NAMES.items()
            if name.startswith(place)
            for find_import in find_imports(path)
        )
    ]
    idle += [
        ("SQL", sql_place)
        for sql_place in SQL_PLACES
        if not any(sql_lines(name) for name in NAMES if name.startswith(sql_place))
    ]
    idle += [
        ("settings", settings_reader)
        for settings_reader in SETTINGS_READERS
        if not any(
            "service.settings" in find_imports(path) for name, path in NAMES.items() if name.startswith(settings_reader)
        )
    ]
    assert idle == []


def test_nothing_is_set_for_a_session_because_pools_do_not_reset_their_connections() -> None:
    lasting = re.compile(
        r"pg_(try_)?advisory_(unlock|lock\w*)|^\s*(LISTEN|SET|DECLARE|PREPARE)\s|\bWITH HOLD\b|\bTEMP(ORARY)? TABLE\b"
        r"|set_config\([^)]*false\)|add_listener|add_log_listener"
    )
    found = [
        f"{name}:{node.lineno}"
        for name, path in NAMES.items()
        if name.startswith("service/") and not name.startswith(("service/development/", "service/migrations/"))
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Constant) and isinstance(node.value, str) and lasting.search(node.value))
        or (isinstance(node, ast.Attribute) and lasting.search(node.attr))
    ]
    assert found == []


def test_web_modules_do_not_know_one_anothers_routes() -> None:
    routes = {
        name: path
        for name, path in NAMES.items()
        if name.startswith("service/web/")
        and re.search(r"^def \w+_routes?\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    known = {name.removesuffix(".py").replace("/", ".") for name in routes}
    meetings = [
        f"{name} imports {find_import}"
        for name, path in routes.items()
        for find_import in find_imports(path) & known
        if find_import != name.removesuffix(".py").replace("/", ".")
    ]
    assert meetings == []


def test_a_public_class_name_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for name, path in NAMES.items():
        if name.startswith(("service/standalone/", "service/development/")):
            continue
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [name for name in NAMES if FORBIDDEN_NAMES & set(Path(name).with_suffix("").parts)] == []


def test_every_module_opens_with_what_it_is_for() -> None:
    silent = []
    for name, path in NAMES.items():
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))):
            silent.append(name)
    assert silent == []


def test_the_top_level_is_as_the_users_fixed_it() -> None:
    fixed = {"service", "policies", "events", "tests", "docker-compose.yml", "pyproject.toml", "Makefile", "README.md"}
    also = {"docs", "Dockerfile", "CHANGELOG.md", "LICENSE", "SECURITY.md"}
    made = {"build", "dist"}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    # Files that a developer keeps beside the project do not count; outside a checkout everything counts.
    files = [Path(line) for line in listed if line] or [path.relative_to(ROOT) for path in ROOT.iterdir()]
    found = {path.parts[0] for path in files if not path.parts[0].startswith(".")}
    extra = {name for name in found - fixed - also - made if not name.endswith((".lock", ".egg-info"))}
    assert extra == set()
    assert fixed <= found
