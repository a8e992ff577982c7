"""The README and the pages that it names say what the code does: settings, routes, errors, events, commands."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Collection
from itertools import chain, permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rich_click as click

from events.envelope import TYPES
from service import errors
from service.__main__ import timewarden
from service.audit.export_formats import FORMATS
from service.commands.audit_export import export
from service.commands.doctor_checks import BESIDE_POOL
from service.development.people import CLIENTS
from service.identity import issuers_file
from service.identity.issuer import Introspection, Issuer
from service.policy.access_request import Reason
from service.settings import Settings, variable
from service.standalone.verify.records import COLUMNS, OPTIONAL_COLUMNS
from service.variables import COMMAND_VARIABLES
from service.web.http.problem_documents import ELSEWHERE, UNDECIDED
from service.web.http.problems import status_of
from tests.openapi_document import document
from tests.policy_forge import read_shipped
from tests.ports import unused_port

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
# Errors that stand for a family and are not answered by themselves.
FAMILIES = {"bad-input", "unauthenticated", "denied", "not-applied"}


def rows(text: str) -> list[list[str]]:
    """The cells of every table row of a page, without separators. Fails when two rows begin alike."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    named = [row[0] for row in found if row[0].startswith("`")]
    assert len(named) == len(set(named)), "two rows have the same name"
    return found


def every_error() -> set[type[errors.TimewardenError]]:
    """Every class of errors that the service itself defines."""
    found, remaining = set(), [errors.TimewardenError]
    while remaining:
        error = remaining.pop()
        if error.__module__.startswith(("service.errors", "service.web.http.problems")):
            found.add(error)
        remaining += error.__subclasses__()
    return found


def test_every_setting_is_on_the_page_of_settings_with_its_default_and_meaning() -> None:
    documented = {row[0]: row[1:] for row in rows(PAGES["settings.md"]) if row[0].startswith("`TIMEWARDEN_")}
    expected = {}
    for name, field in Settings.model_fields.items():
        default = str(field.default)
        expected[f"`{variable(name)}`"] = [f"`{default}`" if default else "", field.description]
    assert documented == expected


@pytest.mark.parametrize(
    ("heading", "kind", "keys"),
    [
        ("## Keys of an", Issuer, {**issuers_file._ISSUER, "profile": ("text", "")}),
        ("## Opaque tokens", Introspection, issuers_file._INTROSPECTION),
    ],
    ids=["an issuer", "its introspection"],
)
def test_every_key_of_the_issuers_file_is_on_the_page_of_issuers_with_its_default(
    heading: str, kind: type, keys: Mapping[str, tuple[str, str]]
) -> None:
    section = PAGES["issuers.md"].split(heading)[1].split("\n## ")[0]
    documented: dict[str, str] = {}
    for names, default, meaning in (row[:3] for row in rows(section)[1:]):
        assert meaning
        found = re.findall(r"`(\w+)`", names)
        defaults = default.split(", ") if len(found) > 1 and ", " in default else [default] * len(found)
        documented |= dict(zip(found, defaults, strict=True))
    assert documented.keys() == keys.keys()
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key, (_, name) in keys.items():
        assert documented[key] in defaults_of(fields.get(name)), key


def defaults_of(field: dataclasses.Field[Any] | None) -> set[str]:
    """The ways in which the page may write a default."""
    if field is None:
        return {"none"}
    value = field.default
    if value is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return {"needed"}
    if value in (None, "", dataclasses.MISSING, frozenset()):
        return {"none", "found"}
    if isinstance(value, bool | int):
        return {str(value), f"`{str(value).lower()}`"}
    if isinstance(value, str):
        return {f"`{value}`"}
    assert isinstance(value, Collection)
    return {f"`{json.dumps(list(order))}`" for order in permutations(value)}


def test_every_variable_of_commands_is_on_the_page_of_settings() -> None:
    assert set(re.findall(r"`(TIMEWARDEN_\w+)`", PAGES["settings.md"])) >= COMMAND_VARIABLES


def test_every_problem_is_on_the_page_of_errors_with_its_status() -> None:
    documented = {row[0].strip("`"): int(row[1]) for row in rows(PAGES["errors.md"]) if row[0].startswith("`")}
    expected = {error.slug: status_of(error) for error in every_error()}
    alone = {slug: status for slug, status in expected.items() if slug not in FAMILIES | {"misconfigured"}}
    assert documented == alone
    assert all(f"`{slug}`" in PAGES["errors.md"] for slug in expected)


def test_every_status_without_a_decision_is_in_its_section_of_the_page_of_errors() -> None:
    assert "(docs/errors.md#without-a-decision)" in README.split("**No decision, no answer.**")[1].split("\n2. ")[0]
    section = PAGES["errors.md"].split("\n## Without a decision\n")[1].split("\n## ")[0]
    assert {int(status) for status in re.findall(r"\b\d{3}\b", section)} == UNDECIDED | ELSEWHERE | {503}


def test_every_column_of_a_bundle_is_on_its_page() -> None:
    columns = {*COLUMNS, *OPTIONAL_COLUMNS}
    assert [name for name in columns if f"`{name}`" not in PAGES["audit-bundle.md"]] == []


def test_every_event_is_on_the_page_of_events() -> None:
    assert re.findall(r"`((?:timesheet|policy|directory|token)\.[a-z-]+)`", PAGES["events.md"]) == list(TYPES)


def test_every_route_is_in_a_family_of_the_page_of_routes_with_its_scopes() -> None:
    """The OpenAPI document describes single routes; the page names each family with exactly its scopes."""
    section = PAGES["api.md"].split("\n## Scopes\n")[1].split("\n## ")[0]
    documented: dict[str, set[str]] = {}
    for families, meaning in (row for row in rows(section) if row[0].startswith("`")):
        words = set(re.findall(r"`([a-z]+:[a-z]+)`", meaning)) | set(re.findall(r"^(none|any token)\b", meaning))
        documented |= dict.fromkeys(re.findall(r"`([^`]+)`", families), words)
    expected: dict[str, set[str]] = {}
    for path, operations in document()["paths"].items():
        family = re.match(r"/v1/[^/]+|/[^/]+", path)
        assert family
        for operation in operations.values():
            scopes = [scope for needs in operation["security"] or [{"oauth": ["none"]}] for scope in needs["oauth"]]
            expected.setdefault(family[0], set()).update(scopes or ["any token"])
    assert documented == expected


def test_the_routes_that_need_a_precondition_are_those_that_the_page_of_routes_describes() -> None:
    assert "changes of an existing timesheet and every `PUT` or `PATCH` need `If-Match`" in PAGES["api.md"]
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            changes_sheet = path.startswith("/v1/timesheets/{timesheet_id}") and method != "get"
            assert ("428" in operation["responses"]) == (changes_sheet or method in {"put", "patch"}), (method, path)


@pytest.mark.parametrize("name", ["README.md", "policies/README.md", *sorted(f"docs/{name}" for name in PAGES)])
def test_every_route_that_a_page_names_exists(name: str) -> None:
    routes = {
        f"{method.upper()} {re.sub('{[^}]+}', '{}', path)}"
        for path, operations in document()["paths"].items()
        for method in operations
    }
    named = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`?\s]*)", (ROOT / name).read_text(encoding="utf-8"))
    found = {f"{method} {re.sub('{[^}]+}', '{}', path)}" for method, path in named}
    # The page of timesheets means any step by STEP.
    assert {route for route in found if not route.endswith("/STEP")} <= routes


def test_every_client_of_the_development_server_is_on_its_page_with_its_secret() -> None:
    documented = {row[0].strip("`"): row[1] for row in rows(PAGES["development-sign-in.md"]) if row[0].startswith("`")}
    assert documented.keys() == CLIENTS.keys()
    secrets = {name: re.findall(r"secret `([^`]+)`", kind) for name, kind in documented.items()}
    assert secrets == {name: [client.secret] if client.secret else [] for name, client in CLIENTS.items()}


@pytest.mark.parametrize("name", ["production.md", "sizing.md"])
def test_the_pages_count_the_connections_of_a_worker_as_the_doctor_does(name: str) -> None:
    found = re.findall(r"`TIMEWARDEN_DATABASE_POOL` \+ ([0-9]+)", PAGES[name])
    assert found == [str(BESIDE_POOL)]


def test_every_make_target_is_in_the_readme() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):.*##", makefile, re.MULTILINE)
    assert [target for target in targets if f"`{target}`" not in README] == []


def test_extras_are_installed_from_the_folder_as_the_page_says() -> None:
    section = PAGES["production.md"].split("\n## Extras\n")[1].split("\n## ")[0]
    named = {row[0].strip("`") for row in rows(section) if row[0].startswith("`")}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert named == extras.keys() - {"development", "test", "benchmarks"}
    [command] = re.findall(r"^pip (install .*)$", section, re.MULTILINE)
    assert set(re.findall(r"\w+", command.partition("[")[2])) <= named
    # Its packages are installed here, so that no index is asked.
    words = [*shlex.split(command), "--dry-run", "--no-index", "--no-build-isolation"]
    done = subprocess.run([sys.executable, "-m", "pip", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, "pip only warns of an extra that does not exist"


@pytest.mark.parametrize(
    ("command", "module"),
    [("up", "authlib"), ("demo", "authlib"), ("console", "jinja2")],
    ids=["up", "demo", "console"],
)
def test_a_command_without_its_extra_says_so_in_one_sentence(command: str, module: str) -> None:
    needed = ("ISSUER", "AUDIENCE", "PUBLIC_URL", "CONSOLE_URL")
    settings = {f"TIMEWARDEN_{name}": "https://example.com" for name in needed} | {
        "TIMEWARDEN_REDIS_URL": "redis://127.0.0.1:1/0",
        "TIMEWARDEN_CONSOLE_CLIENT": "console",
        "TIMEWARDEN_CONSOLE_KEYS": "k" * 32,
        "TIMEWARDEN_CONSOLE_ADDRESS": f"127.0.0.1:{unused_port()}",
        "TIMEWARDEN_STATE": "/nowhere",
    }
    first = f"import sys; sys.modules[{module!r}] = None; sys.argv[1:] = [{command!r}]"
    code = f"{first}; from service.__main__ import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=settings, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(f"timewarden: {module} is not installed. ")
    assert run.stderr.endswith("docs/production.md, section Extras\n")
    assert run.stderr.count("\n") == 1


def test_nobody_is_told_to_get_the_package_from_an_index() -> None:
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "service").rglob("*.py")]
    assert [str(file) for file in files if "timewarden[" in file.read_text(encoding="utf-8")] == []


def test_every_export_format_is_offered_by_the_command_and_on_the_page_of_the_log() -> None:
    section = PAGES["log.md"].split("## Export formats")[1].split("\n## ")[0]
    assert {row[0].strip("`") for row in rows(section) if row[0].startswith("`")} == set(FORMATS)
    option = next(option for option in export.params if "--format" in option.opts)
    assert isinstance(option.type, click.Choice)
    assert set(option.type.choices) == set(FORMATS)


def test_every_path_of_the_recipes_exists() -> None:
    page = PAGES["contributing.md"]
    paths = re.findall(r"`((?:service|events|policies|tests)/[^`]*)`", page)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    recipes = page.split("\n## ")[1:]
    assert len(recipes) == 6
    assert all("tests/" in recipe.split("Done when these pass")[1] for recipe in recipes)


def test_every_constant_of_the_recipes_stands_in_a_file_that_its_step_names() -> None:
    for step in re.split(r"\n\d\. ", PAGES["contributing.md"]):
        files = [ROOT / path for path in re.findall(r"`((?:service|events)/[^`]*\.py)`", step)]
        text = "".join(file.read_text(encoding="utf-8") for file in files)
        assert [name for name in re.findall(r"`([A-Z][A-Z_]+)`", step) if name not in text] == []


def test_every_reason_of_a_decision_is_on_the_page_of_the_log() -> None:
    assert [str(reason) for reason in Reason if f"`{reason}`" not in PAGES["log.md"]] == []


@pytest.mark.parametrize("name", ["README.md", *sorted(f"docs/{name}" for name in PAGES)])
def test_every_command_that_a_page_names_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`(?:\.venv/bin/)?(timewarden [^`]+)`", text)
    lines = [*spans, *chain.from_iterable(block.splitlines() for block in blocks)]
    assert [line for line in lines if not _can_be_called(line)] == []


@pytest.mark.parametrize("name", ["README.md", "policies/README.md", *sorted(f"docs/{name}" for name in PAGES)])
def test_every_link_leads_to_a_file_and_a_section_of_it(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8"))
    places = [(page.parent / link if link else page, section) for link, section in links if "://" not in link]
    assert [place for place, _ in places if not place.exists()] == []
    assert [(place, section) for place, section in places if section and section not in sections_of(place)] == []


def sections_of(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_stays_short() -> None:
    assert len(README.splitlines()) < 250


def test_the_readme_names_every_page() -> None:
    assert [name for name in PAGES if f"(docs/{name})" not in README] == []


def test_every_decision_has_a_number_of_its_own_and_stands_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = sorted(folder.glob("0*.md"))
    numbers = [int(path.name[:4]) for path in pages]
    assert len(numbers) == len(set(numbers))
    titles = [path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for path in pages]
    assert [int(title.partition(".")[0]) for title in titles] == numbers
    index = (folder / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^- \[(.+)\]\((.+)\)$", index, re.MULTILINE) == [
        (title, path.name) for title, path in zip(titles, pages, strict=True)
    ]


NUMBERED = re.compile(
    r"timewarden policy (?:activate|diff|replay) \d+\b|--(?:against|version|expected|policy-version) \d+\b|versions/\d+"
)


def test_no_page_names_the_number_of_a_version_that_a_reader_may_not_have() -> None:
    """A proposal gets version 2 in a fresh service, and 3 after `make demo`."""
    names = ["README.md", "Makefile", "policies/README.md", *(f"docs/{name}" for name in PAGES)]
    pages = {name: (ROOT / name).read_text(encoding="utf-8") for name in names}
    examples = [path for path in (ROOT / "docs" / "examples").rglob("*") if path.is_file()]
    pages |= {str(path): path.read_text(encoding="utf-8") for path in examples}
    assert {name: NUMBERED.findall(text) for name, text in pages.items() if NUMBERED.search(text)} == {}


def _can_be_called(line: str) -> bool:
    """Whether a line calls an existing command with existing options, or no command of this project."""
    found = re.search(r"(?:^|\s|/bin/|\()timewarden ([a-z].*)", line)
    words = found[1].replace(")", "").split() if found else []
    command: click.Command | None = timewarden
    while words and isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
    known = (
        {option for param in command.params for option in (*param.opts, *param.secondary_opts)} if command else set()
    )
    return command is not None and all(word in known for word in words if word.startswith("-"))


def test_the_page_of_the_log_describes_the_digest_of_a_policy_version() -> None:
    page = " ".join((ROOT / "docs" / "log.md").read_text(encoding="utf-8").split())
    first = "timewarden policy text 1"
    assert f'the line "{first}" with its line feed, then the name and the text of each file' in page
    policies = ROOT / "policies"
    cases = sorted(f"cases/{path.name}" for path in (policies / "cases").glob("*.yaml"))
    hashed = f"{first}\n".encode()
    for name in ("model.conf", "policy.csv", "vocabulary.toml", *cases):
        for part in (name.encode(), (policies / name).read_bytes()):
            hashed += str(len(part)).encode() + b":" + part
    assert hashlib.sha256(hashed).hexdigest() == read_shipped().digest()
