"""The output and exit codes of `timewarden policy`, with an API that gives prepared answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from service.__main__ import timewarden
from service.commands import api_client
from service.commands.tables import print_rows
from service.errors import Misconfigured, PolicyRejected
from service.policy.policy_file import PolicyText
from tests.local_http import Answering, http_server
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

ROOT = Path(__file__).resolve().parents[2]
VERSION = {
    "number": 2, "digest": "d", "parent": 1, "message": "why", "author": None, "author_client": "pipeline",
    "proposed_at": "2026-11-01T00:00:00Z", "state": "proposed", "active": False, "activated_at": None,
    "activated_by": None, "activated_by_client": None, "warnings": [], "untried": [],
}  # fmt: skip
NASTY = "[red]x[/] \x1b[31mred\u202e:smile:"
SHOWN = r"[red]x[/] \x1b[31mred\u202e:smile:"
DIFF = {
    "number": 2, "against": 1, "same": False, "rows": [], "words": [], "files": ["policy.csv"], "verdicts": [],
    "cut_short": ["read of the kind log"],
    "cases": [{"change": "removed", "name": "owners read", "file": "cases/a.yaml", "line": 3}],
}  # fmt: skip
REFUSED = {
    "detail": "This policy cannot become active: x", "complaints": [
        {"file": "policy.csv", "line": 3, "column": 10, "message": "'ownr' is not a known relation",
         "suggestion": "did you mean 'owner'?"},
    ],
    "warnings": [{"file": "cases", "line": 0, "column": 0, "message": "There are fewer", "suggestion": None}],
}  # fmt: skip


@dataclass
class Api:
    """Answers by `METHOD path`, in turn if there are several. `seen` holds the requests."""

    answers: dict[str, Any]
    seen: list[str] = field(default_factory=list)
    slow: Event | None = None
    address: str = ""

    def answer(self, asked: str) -> tuple[int, Any]:
        self.seen.append(asked)
        if self.slow is not None:
            self.slow.wait(30)
        found = self.answers.get(asked.partition("?")[0], (404, {"detail": "There is no such thing"}))
        found = found.pop(0) if isinstance(found, list) else found
        return found if isinstance(found, tuple) else (200, found)


@contextmanager
def serve(answers: dict[str, Any], slow: Event | None = None) -> Iterator[Api]:
    """An API with these answers."""
    api = Api(answers, slow=slow)

    class Routes(Answering):
        def respond(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, told = api.answer(f"{self.command} {self.path}")
            self.answer(json.dumps(told).encode(), status)

    with http_server(Routes) as api.address:
        yield api


def run(api: Api, *words: str, **more: str) -> Result:
    """`timewarden policy WORDS`, in this process."""
    environment = {"TIMEWARDEN_API": api.address, "TIMEWARDEN_TOKEN": "x", "COLUMNS": "300", "NO_COLOR": "1"}
    return CliRunner(env=environment | more).invoke(timewarden, ["policy", *words])


def test_text_of_others_cannot_control_the_terminal() -> None:
    nasty = {**VERSION, "message": NASTY}
    page = {"items": [nasty], "next_cursor": None}
    active = {**nasty, "activated_at": "2026-11-01T00:00:00Z"}
    answers = {"GET /v1/policies/versions": page, "GET /v1/policies/active": active}
    with serve({**answers, "GET /v1/policies/replicas": {"items": []}}) as api:
        for words in (["list"], ["status", "--directory", "nowhere"]):
            told = run(api, *words)
            assert (told.exit_code, SHOWN in told.output) == (0, True), told.output
            assert "\x1b" not in told.output
    with serve({"POST /v1/policies/versions": (422, {"detail": NASTY})}) as api:
        assert SHOWN in run(api, "propose", "-m", "why").output


def test_a_proposal_shows_warnings_and_a_refused_one_shows_suggestions() -> None:
    odd = {"file": "cases", "line": 0, "column": 0, "message": "There are fewer", "suggestion": None}
    proposed = (201, {**VERSION, "warnings": [odd], "untried": [odd]})
    with serve({"POST /v1/policies/versions": proposed}) as api:
        told = run(api, "propose", "-m", "why")
    assert (told.exit_code, told.output.splitlines()[:2]) == (
        0, ["untried: policies/cases: There are fewer", "warning: policies/cases: There are fewer"],
    )  # fmt: skip
    assert "Proposed as version 2" in told.output
    # With any message: a pipeline that runs again proposes nothing.
    with serve({"POST /v1/policies/versions": VERSION}) as api:
        assert "These files are already proposed as version 2" in run(api, "propose", "-m", "why").output
    with serve({"POST /v1/policies/versions": (422, REFUSED)}) as api:
        told = run(api, "propose", "-m", "why")
    assert told.exit_code == 2
    # Whole lines even on a narrow terminal, so that tools find them.
    assert told.stderr.splitlines() == [
        "timewarden: 422: This policy cannot become active",
        "  policy.csv:3:10: 'ownr' is not a known relation (did you mean 'owner'?)",
        "  warning: cases: There are fewer",
    ]


@pytest.mark.parametrize("words", [["1", "2"], ["2", "--against", "1"], ["1", "latest"]], ids=" ".join)
def test_two_versions_are_compared_from_the_first_to_the_second(words: list[str]) -> None:
    latest = {"items": [VERSION], "next_cursor": None}
    with serve({"GET /v1/policies/versions/2/diff": DIFF, "GET /v1/policies/versions": latest}) as api:
        told = run(api, "diff", *words)
    assert (told.exit_code, api.seen[-1]) == (0, "GET /v1/policies/versions/2/diff?against=1")
    assert told.output.startswith("From version 1 to version 2:")


def test_two_versions_and_another_to_compare_with_are_refused() -> None:
    with serve({}) as api:
        told = run(api, "diff", "1", "2", "--against", "3")
    assert (told.exit_code, api.seen) == (2, [])
    assert "Give two versions, or one and --against" in told.stderr


def test_exit_code_1_means_a_difference_and_2_an_error() -> None:
    with serve(
        {"GET /v1/policies/versions/2/diff": DIFF, "GET /v1/policies/versions/1/diff": {**DIFF, "same": True}}
    ) as api:
        assert run(api, "diff", "2", "--exit-code").exit_code == 1
        assert run(api, "diff", "2").exit_code == run(api, "diff", "1", "--exit-code").exit_code == 0
        assert run(api, "diff", "3", "--exit-code").exit_code == 2
        assert run(api, "diff", "zero", "--exit-code").exit_code == 2
    assert run(api, "diff", "2", "--exit-code").exit_code == 2


@pytest.mark.parametrize(
    ("api", "token", "says"),
    [
        ("http://a:port", "x", "is not an API address"),
        ("a.example", "x", "is not an API address"),
        ("http://ana:unquoted@127.0.0.1:1", "x", "TIMEWARDEN_API must be a URL without a user and a password"),
        ("http://ana:un@quoted/@127.0.0.1:1", "x", "TIMEWARDEN_API must be a URL without a user and a password"),
        ("http://127.0.0.1:1", "x", "does not answer"),
        ("http://127.0.0.1:1", "\u00fc", "TIMEWARDEN_TOKEN holds characters that no access token has"),
        ("http://127.0.0.1:1", "a\nb", "TIMEWARDEN_TOKEN holds characters that no access token has"),
    ],
)
def test_a_malformed_address_or_token_is_explained(api: str, token: str, says: str) -> None:
    environment = {"TIMEWARDEN_API": api, "TIMEWARDEN_TOKEN": token}
    told = CliRunner(env=environment).invoke(timewarden, ["policy", "list"])
    assert (told.exit_code, says in told.stderr) == (2, True), told.output
    assert "quoted" not in told.output


def test_an_answer_of_another_server_is_explained() -> None:
    class Html(Answering):
        def respond(self) -> None:
            self.answer(b"<html>")

    with http_server(Html) as address:
        told = run(Api({}, address=address), "list")
    assert (told.exit_code, "answers, but not like this API" in told.stderr) == (2, True), told.output


def test_files_that_cannot_be_read_are_an_error_and_not_a_difference(tmp_path: Path) -> None:
    active = {**VERSION, "model": "", "rules": "", "vocabulary": "", "cases": {}}
    with serve({"GET /v1/policies/active": active}) as api:
        done = subprocess.run(
            [sys.executable, "-m", "service", "policy", "diff", "--exit-code", "--directory", str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "TIMEWARDEN_API": api.address, "TIMEWARDEN_TOKEN": "x"},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
    assert (done.returncode, "There are no policy files" in done.stderr) == (2, True), done.stderr


def stored(text: PolicyText, digest: str = "") -> dict[str, Any]:
    """The answer about a stored version with these texts."""
    texts = {"model": text.model, "rules": text.rules, "vocabulary": text.vocabulary, "cases": dict(text.cases)}
    return {**VERSION, **texts, "digest": digest or text.digest()}


def test_a_version_is_pulled_into_the_policy_files_and_replaces_others_only_by_force(tmp_path: Path) -> None:
    text = PolicyText.read(ROOT / "policies")
    other = replace(text, rules=text.rules + "# more\r\n", cases={"other.yaml": "[]\n"})
    place = ["--directory", str(tmp_path)]
    (tmp_path / "README.md").write_text("ours", encoding="utf-8")
    with serve({"GET /v1/policies/versions/1": stored(text), "GET /v1/policies/versions/2": stored(other)}) as api:
        assert run(api, "pull", "1", *place).stdout == f"Version 1 is in {tmp_path}/.\n"
        assert PolicyText.read(tmp_path) == text
        refused = run(api, "pull", "2", *place)
        assert (refused.exit_code, "cases/agents.yaml" in refused.stderr, "policy.csv" in refused.stderr) == (
            2,
            True,
            True,
        )
        assert PolicyText.read(tmp_path) == text
        assert run(api, "pull", "2", "--force", *place).exit_code == 0
        assert PolicyText.read(tmp_path) == other
        assert run(api, "pull", "2", *place).exit_code == 0
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "ours"


@pytest.mark.parametrize("name", ["../outside.yaml", "/tmp/outside.yaml", "a/b.yaml"])
def test_a_version_that_is_not_what_it_says_is_not_pulled(tmp_path: Path, name: str) -> None:
    text = PolicyText.read(ROOT / "policies")
    outside = replace(text, cases={name: "[]"})
    place = ["--directory", str(tmp_path / "inside")]
    with serve(
        {"GET /v1/policies/versions/1": stored(outside), "GET /v1/policies/versions/2": stored(text, "d")}
    ) as api:
        assert isinstance(run(api, "pull", "1", *place).exception, PolicyRejected)
        assert "not those of its digest" in run(api, "pull", "2", *place).output
    assert list(tmp_path.iterdir()) == []


def test_a_diff_shows_cases_and_what_was_not_compared_to_the_end() -> None:
    with serve({"GET /v1/policies/versions/2/diff": DIFF}) as api:
        told = run(api, "diff", "2").output
    assert "case removed: owners read (cases/a.yaml:3)" in told
    assert "No change of verdicts was found so far." in told
    assert "Not compared to the end, there is too much, so more may change: read of the kind log" in told


def test_numbers_between_colons_are_no_emoji(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {**DIFF, "words": ["a:100:b"], "verdicts": [{"sentence": "who has a:100: may read"}]}
    with serve({
        "GET /v1/policies/versions/2/diff": found,
        "POST /v1/policies/simulate": {**SIMULATED, "told": ["a:100:b"]},
    }) as api:  # fmt: skip
        told = run(api, "diff", "2").output
        assert ("words: a:100:b" in told, "who has a:100: may read" in told) == (True, True), told
        assert "sentence for the caller: a:100:b" in run(api, "simulate", "read").output
    monkeypatch.delenv("NO_COLOR", raising=False)
    for variable, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "80")):
        monkeypatch.setenv(variable, value)
    print_rows(("what",), [("a:100:b",)], {})
    assert "a:100:b" in capsys.readouterr().out


def test_a_client_without_a_person_activates_and_rolls_back() -> None:
    """`/v1/me` is for people. The active version comes from the list of versions."""
    with serve({
        "GET /v1/policies/active": VERSION,
        "POST /v1/policies/versions/7/activate": {**VERSION, "number": 7},
        "POST /v1/policies/rollback": {**VERSION, "number": 1},
    }) as api:  # fmt: skip
        assert run(api, "activate", "7").output == "Version 7 decides now; before it was 2.\n"
        assert json.loads(run(api, "activate", "7", "--json").output)["number"] == 7
        assert run(api, "rollback").output == "Version 1 decides again; before it was 2.\n"
    assert not any("/v1/me" in request for request in api.seen)


PAULA = "0198c0de-0000-7000-8000-0000000000aa"
FILES = PolicyText.read(ROOT / "policies").digest()
MINE = {**VERSION, "number": 7, "author": PAULA, "parent": 2, "digest": FILES}
ME = {"person": PAULA, "client": "cli"}


def activating(newest: dict[str, Any], me: object = None) -> dict[str, Any]:
    return {
        "GET /v1/policies/active": VERSION,
        "GET /v1/policies/versions": {"items": [newest], "next_cursor": None},
        "GET /v1/me": me or ME,
        "POST /v1/policies/versions/7/activate": {**VERSION, "number": 7},
    }


def test_latest_is_the_newest_proposal_of_the_caller_and_is_shown_first() -> None:
    with serve(activating(MINE)) as api:
        told = run(api, "activate", "latest")
        assert told.exit_code == 0
        assert told.output.startswith("Version 7, proposed by you at 2026-11-01 00:00:00Z: why\n")
        assert told.output.endswith("Version 7 decides now; before it was 2.\n")
        machine = run(api, "activate", "latest", "--json")
        assert json.loads(machine.stdout)["number"] == 7


@pytest.mark.parametrize(
    ("newest", "me", "says"),
    [
        ({**MINE, "author": "0198c0de-0000-7000-8000-0000000000bb"}, ME, "It is not your own proposal."),
        ({**MINE, "author": None, "author_client": "pipeline"}, ME, "proposed by the client pipeline"),
        (MINE, (403, {"detail": "No"}), "It is not your own proposal."),
        ({**MINE, "parent": 1}, ME, "proposed while version 1 decided, and version 2 decides now"),
    ],
)
def test_a_latest_version_of_another_author_is_not_activated_without_confirmation(
    newest: dict[str, Any], me: object, says: str
) -> None:
    with serve(activating(newest, me)) as api:
        told = run(api, "activate", "latest")
        assert (told.exit_code, says in told.output) == (2, True), told.output
        assert "Nothing was activated; use --yes, or give the number: policy activate 7" in told.output
        assert not any(request.startswith("POST") for request in api.seen)
        assert run(api, "activate", "latest", "--yes").exit_code == 0
        assert "POST /v1/policies/versions/7/activate" in api.seen


def test_a_latest_version_that_differs_from_the_files_is_not_activated_without_confirmation(tmp_path: Path) -> None:
    """The proposal of the files was refused, so that the newest proposal is an older draft."""
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    rules = tmp_path / "policies" / "policy.csv"
    rules.write_text(rules.read_text(encoding="utf-8") + "p, allow\n", encoding="utf-8")
    files = ("--directory", str(rules.parent))
    with serve(activating(MINE)) as api:
        told = run(api, "activate", "latest", *files)
        assert told.exit_code == 2
        assert f"It differs from the files in {rules.parent}/, so it may be an older proposal" in told.output
        assert "Nothing was activated; use --yes, or give the number: policy activate 7" in told.output
        assert not any(request.startswith("POST") for request in api.seen)
        rules.unlink()
        assert "It differs from the files" in run(api, "activate", "latest", *files).output
        for sure in (["latest", "--yes"], ["7"]):
            assert run(api, "activate", *sure, *files).output.endswith("Version 7 decides now; before it was 2.\n")


@pytest.mark.parametrize("words", [["test"], ["propose", "-m", "why"], ["diff"], ["bootstrap"]], ids=" ".join)
@pytest.mark.parametrize("place", ["nowhere", "empty", "file"])
def test_a_directory_without_policy_files_is_named_with_its_setting_in_one_sentence(
    words: list[str], place: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    named = str(tmp_path / place)
    given = {"TIMEWARDEN_POLICIES_DIRECTORY": named, "TIMEWARDEN_DATABASE_URL": "postgresql://localhost:1/none"}
    with serve({"GET /v1/policies/active": VERSION}) as api:
        told = run(api, *words, **given)
    assert isinstance(told.exception, Misconfigured)
    absent = f"There are no policy files (model.conf, policy.csv, vocabulary.toml) in {named}"
    named_by = "name their directory by --directory or TIMEWARDEN_POLICIES_DIRECTORY"
    assert told.exception.public == f"{absent}: {named_by}"


def test_where_the_files_are_not_at_hand_the_latest_version_is_not_compared_with_them() -> None:
    with serve(activating({**MINE, "digest": "of other files"})) as api:
        assert run(api, "activate", "latest", "--directory", "nowhere").exit_code == 0
        assert run(api, "activate", "latest").exit_code == 2


def test_a_number_without_a_version_is_named() -> None:
    missing = {"type": "urn:timewarden:problem:not-found", "detail": "No such resource, or you may not see it"}
    with serve({
        "GET /v1/policies/active": VERSION,
        "POST /v1/policies/versions/99/activate": (404, missing),
        "POST /v1/policies/versions/98/activate": (404, {"detail": "Not Found"}),
    }) as api:  # fmt: skip
        told = run(api, "activate", "99")
        assert told.exit_code == 2
        expected = "timewarden: There is no version 99 that you may read; `timewarden policy list` shows the versions\n"
        assert told.stderr == expected
        assert run(api, "activate", "98", "--expected", "2").stderr == "timewarden: 404: Not Found\n"


@pytest.mark.parametrize(
    ("command", "asked", "missing"),
    [
        ("activate 99", "POST /v1/policies/versions/99/activate", "99"),
        ("pull 99", "GET /v1/policies/versions/99", "99"),
        ("diff --against 99", "GET /v1/policies/versions/99", "99"),
        ("diff 99", "GET /v1/policies/versions/99/diff", "99"),
        ("diff 2 --against 99", "GET /v1/policies/versions/2/diff", "99"),
        ("diff 98 --against 99", "GET /v1/policies/versions/98/diff", "98 or 99"),
        ("diff 3 --against 4", "GET /v1/policies/versions/3/diff", "3 or 4"),
        ("replay 99", "POST /v1/replays", "99"),
        ("simulate read --version 99", "POST /v1/policies/simulate", "99"),
    ],
)
def test_every_command_names_the_version_that_is_missing_and_the_newest(command: str, asked: str, missing: str) -> None:
    refused: tuple[int, Any] = (404, {"type": "urn:timewarden:problem:not-found", "detail": "No such resource"})
    if command.startswith("simulate"):
        field_ = {"field": "version", "message": "there is no such policy version"}
        refused = (422, {"detail": "version: there is no such policy version", "fields": [field_]})
    active = {"GET /v1/policies/active": VERSION, asked: refused}
    sentence = f"timewarden: There is no version {missing} that you may read; "
    with serve({**active, "GET /v1/policies/versions": {"items": [MINE], "next_cursor": None}}) as api:
        told = run(api, *command.split())
        assert told.exit_code == 2
        assert told.stderr == f"{sentence}the newest is 7, and `timewarden policy list` shows the versions\n"
    with serve({**active, "GET /v1/policies/versions": (403, {"detail": "no"})}) as api:
        told = run(api, *command.split())
        assert told.stderr.startswith("timewarden: There is no version ")
        assert told.stderr.endswith(" that you may read; `timewarden policy list` shows the versions\n")


def test_a_refusal_for_another_field_is_shown_as_it_is() -> None:
    field_ = {"field": "action", "message": "is unknown to this version"}
    refused = (422, {"detail": "action: is unknown to this version", "fields": [field_]})
    with serve({"POST /v1/policies/simulate": refused}) as api:
        told = run(api, "simulate", "reed", "--version", "99")
    assert told.stderr == "timewarden: 422: action: is unknown to this version\n"


@pytest.mark.parametrize(
    ("newest", "says"),
    [
        ({**MINE, "state": "retired"}, "The newest version, 7, decided before and was left (why)"),
        ({**MINE, "state": "active", "active": True}, "The newest version, 7, decides already (why)"),
    ],
)
def test_a_version_that_was_active_is_not_the_latest_proposal(newest: dict[str, Any], says: str) -> None:
    with serve(activating(newest)) as api:
        told = run(api, "activate", "latest", "--yes")
        assert (told.exit_code, says in told.output) == (2, True), told.output
        assert not any(request.startswith("POST") for request in api.seen)


def test_a_client_that_proposed_for_itself_activates_its_own() -> None:
    newest = {**MINE, "author": None, "author_client": "pipeline"}
    with serve(activating(newest, {"person": None, "client": "pipeline"})) as api:
        assert run(api, "activate", "latest").output.startswith("Version 7, proposed by you at ")


def test_a_malformed_version_is_explained() -> None:
    with serve({}) as api:
        told = run(api, "activate", "newest")
    assert told.exit_code == 2
    assert "'newest' is no version: give its number, or latest" in " ".join(told.output.split())


def test_the_latest_version_can_be_compared_and_simulated() -> None:
    with serve({
        **activating(MINE), "GET /v1/policies/versions/7/diff": DIFF, "POST /v1/policies/simulate": SIMULATED,
    }) as api:  # fmt: skip
        assert run(api, "diff", "latest").exit_code == 0
        assert run(api, "simulate", "read", "--version", "latest").exit_code == 0
        assert run(api, "diff", "newest").exit_code == 2
    assert "GET /v1/policies/versions/7/diff" in api.seen


def test_all_versions_are_listed_page_by_page() -> None:
    pages = [{"items": [{**VERSION, "number": n}], "next_cursor": c} for n, c in ((3, "more"), (2, None), (3, "more"))]
    with serve({"GET /v1/policies/versions": pages}) as api:
        assert [version["number"] for version in json.loads(run(api, "list", "--all", "--json").output)] == [3, 2]
        assert [version["number"] for version in json.loads(run(api, "list", "--json").output)] == [3]
    assert api.seen[1].endswith("cursor=more")


@pytest.mark.parametrize(
    ("since", "says"),
    [
        ("999999999d", "further away than any time can be"),
        ("0001-01-01T00:00:00+14:00", "further away than any time can be"),
        ("9999999999999d", "is neither like 30d"),
        ("x", "is neither"),
    ],
)
def test_a_malformed_time_is_explained(since: str, says: str) -> None:
    told = run(Api({}), "replay", "2", "--since", since)
    assert (told.exit_code, says in told.output.replace("\n", " ")) == (2, True), told.output


def test_a_slow_request_shows_that_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release = Event()

    def say_at_once(_seconds: float, say: Any) -> Any:
        def at_once() -> None:
            say()
            release.set()

        return Thread(target=at_once)

    monkeypatch.setattr(api_client, "Timer", lambda seconds, say: Announced(say_at_once(seconds, say)))
    with serve({"POST /v1/policies/versions": VERSION}, release) as api:
        told = run(api, "propose", "-m", "why")
    assert told.exit_code == 0
    assert "Waiting: the policy is checked. This may take some minutes." in told.output


@dataclass
class Announced:
    """A timer that fires at once."""

    thread: Thread
    daemon: bool = False

    def start(self) -> None:
        self.thread.start()

    def cancel(self) -> None:
        self.thread.join()


NEEDED = [["who", "manager"], ["who", "role:payroll"], ["scope", "approve:timesheets"]]
SIMULATED = {
    "verdict": "deny", "reason": "deny-rule", "rules": ["never"], "version": 1, "told": [], "assumed": [],
    "denied_because": [{"rule": "never", "conditions": []}, {"rule": "own", "conditions": [["who", "owner"]]}],
    "near_misses": [{"rule": "approve-team", "conditions": NEEDED}], "more_near_misses": 0,
}  # fmt: skip


def test_a_simulation_shows_no_near_miss_when_a_rule_denies() -> None:
    with serve({"POST /v1/policies/simulate": SIMULATED}) as api:
        denied = run(api, "simulate", "approve").output
    assert "never denies it to everybody" in denied
    assert "own denies it: the caller is owner" in denied
    needs = "approve-team would need: relation manager; role:payroll; scope approve:timesheets"
    assert f"without that denial, still no rule would allow it:\n  {needs}" in denied
    with serve({"POST /v1/policies/simulate": {**SIMULATED, "denied_because": [], "rules": []}}) as api:
        assert needs in run(api, "simulate", "approve").output


def test_a_long_sentence_of_a_simulation_stays_on_its_line() -> None:
    sentence = "the resource is as described; relations that are not named do not hold " + "and so on " * 30 + "and on"
    with serve({"POST /v1/policies/simulate": {**SIMULATED, "assumed": [sentence]}}) as api:
        assert f"  assumed: {sentence}\n" in run(api, "simulate", "approve").output


COUNTS = ("same", "allow_to_deny", "deny_to_allow", "other_reason", "other_rules", "other_approvals", "undecidable")
JOB = {
    "id": "0198c0de-0000-7000-8000-0000000000aa", "version": 2, "state": "done", "progress": 1.0, "problem": None,
    "filters": {"since": None, "until": None, "action": "approve", "kind": None}, "asked_by": None,
    "asked_by_client": "pipeline", "asked_at": "2026-11-01T00:00:00Z", "ended_at": None,
    "result": {**dict.fromkeys(COUNTS, 0), "decided": 7, "allow_to_deny": 1, "groups": [], "examples": []},
}  # fmt: skip
WHERE = f"/v1/replays/{JOB['id']}"


def test_a_replay_fails_on_the_outcomes_that_it_was_given() -> None:
    with serve({"POST /v1/replays": JOB}) as api:
        assert run(api, "replay", "2").exit_code == 0
        assert run(api, "replay", "2", "--fail-on", "deny_to_allow").exit_code == 0
        assert run(api, "replay", "2", "--fail-on", "deny_to_allow", "--fail-on", "allow_to_deny").exit_code == 1
        assert run(api, "replay", "2", "--fail-on", "same").exit_code == 2


def test_a_replay_can_be_waited_for_again_by_its_id() -> None:
    with serve({f"GET {WHERE}": [{**JOB, "state": "running"}, JOB]}) as api:
        told = run(api, "replay", "--attach", str(JOB["id"]))
        assert (told.exit_code, "again under version 2" in told.output) == (0, True), told.output
        assert api.seen == [f"GET {WHERE}"] * 2
        assert "waiting for a keeper" not in told.output
        for wrong in ([], ["2", "--attach", str(JOB["id"])], ["--attach", str(JOB["id"]), "--action", "read"]):
            assert run(api, "replay", *wrong).exit_code == 2


def test_a_wait_that_times_out_says_how_to_continue() -> None:
    refused = (401, {"detail": "The access token has expired"})
    with serve({"POST /v1/replays": {**JOB, "state": "queued"}, f"GET {WHERE}": refused}) as api:
        told = run(api, "replay", "2")
    assert told.exit_code == 2
    assert "401: The access token has expired" in told.output
    assert f"`timewarden policy replay --attach {JOB['id']}` waits for it" in told.output


def test_a_replay_that_another_caller_cancelled_says_so() -> None:
    with serve({f"GET {WHERE}": {**JOB, "state": "cancelled"}}) as api:
        told = run(api, "replay", "--attach", str(JOB["id"]))
    assert (told.exit_code, "The replay was cancelled after 7 decisions" in told.output) == (2, True), told.output


@pytest.mark.parametrize("terminal", [True, False])
def test_the_id_of_a_replay_is_whole_in_80_columns(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR" if terminal else "TERM", "1" if terminal else "dumb")
    uid = "0198c0de-4f2a-7000-8000-00000000002a"
    job = {**JOB, "id": uid}
    with serve({"GET /v1/replays": {"items": [job], "next_cursor": None}}) as api:
        environment = {"TIMEWARDEN_API": api.address, "TIMEWARDEN_TOKEN": "x", "COLUMNS": "80"}
        assert uid in CliRunner(env=environment).invoke(timewarden, ["policy", "replays"]).output


def test_replays_are_listed_with_their_subjects() -> None:
    with serve({"GET /v1/replays": {"items": [JOB], "next_cursor": None}}) as api:
        told = run(api, "replays").output
        assert str(JOB["id"]) in told
        assert "action approve" in told
        assert json.loads(run(api, "replays", "--json").output) == [JOB]
