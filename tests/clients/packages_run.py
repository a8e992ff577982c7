"""The packages in dist/, installed and tried against the running service, and the OpenAPI document before linters and a
compiler. Run by `make clients`, which builds them; no part of `make test`. What needs Node.js is left out without it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from service import VERSION
from service.development.authorization_server import token_endpoint
from service.standalone.client.dpop import DpopKey
from service.standalone.client.proofs import make_proof
from service.standalone.client.tokens import client_credentials
from tests.acceptance.running_service import RunningService
from tests.acceptance.test_client_page import APPS, SHOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
WORK, DIST, HERE = ROOT / ".local" / "clients", ROOT / "dist", Path(__file__).parent
BUILT = (WORK / "typescript" / "dist").is_dir()
needs_node = pytest.mark.skipif(not BUILT, reason="it needs Node.js 20 or newer, with npm")
COMPILE = ("node_modules/.bin/tsc", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2023,dom")
WHEELS = {
    "client": {"httpx2>=2.16", "msgspec>=0.22", 'cryptography>=50; extra == "dpop"'},
    "verify": {"cryptography>=50"},
}


def run(*command: str | Path, cwd: Path = WORK, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TIMEWARDEN_", "PYTHON"))}
    return subprocess.run(
        command, cwd=cwd, env={**environment, **variables}, capture_output=True, text=True, check=False, timeout=240
    )


def run_app(program: str, *, cwd: Path, state: Path, api: str, **variables: str) -> str:
    """Run a program of the page for Ana; returns what it prints."""
    ended = run(*program.split(), cwd=cwd, API=api, TOKEN=token_of("ana", state), **variables)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def token_of(name: str, state: Path) -> str:
    signed_in = run(sys.executable, "-m", "service", "token", "get", name, cwd=ROOT, TIMEWARDEN_STATE=str(state))
    return signed_in.stdout.strip()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels, unpacked; their libraries are those of this environment."""
    folder = tmp_path_factory.mktemp("site")
    wheels = [DIST / f"timewarden_{name}-{VERSION}-py3-none-any.whl" for name in WHEELS]
    done = run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, *wheels, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    # A challenge for whoever sends a proof, at the first request.
    running = RunningService(tmp_path_factory.mktemp("clients") / "state", {"TIMEWARDEN_DPOP_NONCE": "required"})
    running.start()
    yield running
    running.stop()


@pytest.mark.parametrize("name", WHEELS)
def test_a_wheel_holds_its_package_and_names_its_libraries(site: Path, name: str) -> None:
    (about,) = site.glob(f"timewarden_{name}-*.dist-info/METADATA")
    metadata = HeaderParser().parsestr(about.read_text(encoding="utf-8"))
    assert (metadata["Name"], metadata["Version"]) == (f"timewarden-{name}", VERSION)
    assert set(metadata.get_all("Requires-Dist", ())) == WHEELS[name]
    assert (site / f"timewarden_{name}" / "py.typed").is_file()
    assert {path.name for path in site.iterdir() if path.is_dir() and "dist-info" not in path.name} <= {
        "bin",
        *(f"timewarden_{name}" for name in WHEELS),
    }


def test_the_python_client_is_typed(site: Path) -> None:
    checked = run(sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11", "timewarden_client", cwd=site)
    assert checked.returncode == 0, checked.stdout


def test_a_state_that_does_not_exist_is_refused_by_mypy(site: Path, tmp_path: Path) -> None:
    program = """\
from timewarden_client.sync import Timesheet, Timewarden


def find(api: Timewarden) -> list[Timesheet]:
    return [week for week in api.timesheets(state="waiting") if week.state == "submited"]
"""
    (tmp_path / "wrong.py").write_text(program, encoding="utf-8")
    checked = run(sys.executable, "-m", "mypy", "--strict", "wrong.py", cwd=tmp_path, MYPYPATH=str(site))
    assert re.findall(r"\[([\w-]+)\]$", checked.stdout, re.MULTILINE) == ["arg-type", "comparison-overlap"], (
        checked.stdout
    )


@pytest.mark.parametrize("form", ["async", "sync"])
def test_the_app_in_python(service: RunningService, site: Path, tmp_path: Path, form: str) -> None:
    program = APPS["python"]
    if form == "sync":
        program = re.sub(r"\b(async|await) ", "", program.replace("timewarden_client", "timewarden_client.sync"))
        program = program.replace("asyncio.run(my_week())", "my_week()")
        assert "await" not in program
    (tmp_path / "my_week.py").write_text(program, encoding="utf-8")
    printed = run_app(
        f"{sys.executable} my_week.py",
        cwd=tmp_path,
        state=service.state,
        api=service.addresses.api,
        PYTHONPATH=str(site),
    )
    assert printed == SHOWN


async def test_the_service_of_these_tests_demands_a_nonce(service: RunningService) -> None:
    key, url = DpopKey(), f"{service.addresses.api}/v1/me"
    tokens = client_credentials(addresses(service)["ENDPOINT"], "payroll-import", "payroll-import-demo", dpop=key)
    token = await tokens()
    headers = {"Authorization": f"DPoP {token}", "DPoP": make_proof(key, "GET", url, token)}
    async with httpx2.AsyncClient(headers=headers, trust_env=False) as http:
        answer = await http.get(url)
    assert answer.json()["type"] == "urn:timewarden:problem:use-dpop-nonce"


BOUND_JOB = """\
import os

from timewarden_client.dpop import DpopKey
from timewarden_client.sync import Timewarden, Unauthenticated, client_credentials

tokens = client_credentials(os.environ["ENDPOINT"], "payroll-import", "payroll-import-demo", dpop=DpopKey())
with Timewarden(os.environ["API"], tokens) as job:
    print(job.me().client)
try:
    Timewarden(os.environ["API"], tokens(), dpop=DpopKey()).me()
except Unauthenticated as refused:
    print(refused.slug)
"""


def test_a_bound_token_in_python(service: RunningService, site: Path, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(BOUND_JOB, encoding="utf-8")
    checked = run(sys.executable, "-m", "mypy", "--strict", "job.py", cwd=tmp_path, MYPYPATH=str(site))
    assert checked.returncode == 0, checked.stdout
    ended = run(sys.executable, "job.py", cwd=tmp_path, PYTHONPATH=str(site), **addresses(service))
    assert ended.stdout == "payroll-import\ninvalid-token\n", ended.stderr


def addresses(service: RunningService) -> dict[str, str]:
    """Of the API and the token endpoint."""
    return {"API": service.addresses.api, "ENDPOINT": service.addresses.issuer.rstrip("/") + token_endpoint.PATH}


def test_the_verifier_checks_an_export(service: RunningService, site: Path, tmp_path: Path) -> None:
    state = {"TIMEWARDEN_STATE": str(service.state)}
    timewarden = (sys.executable, "-m", "service", "audit")
    log = tmp_path / "log.jsonl"
    exported = run(*timewarden, "export", "--bundle", "--output", log, "--as", "audrey", cwd=ROOT, **state)
    assert exported.returncode == 0, exported.stderr
    key = run(*timewarden, "key", "show", cwd=ROOT, **state).stdout.strip()
    verify = (sys.executable, "-m", "timewarden_verify", "bundle", log, "--key", key)
    checked = run(*verify, cwd=tmp_path, PYTHONPATH=str(site))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "intact" in checked.stdout


@pytest.fixture(scope="module")
def node() -> Path:
    """A folder in which Node.js finds the TypeScript client, unpacked as npm would."""
    package = WORK / "node_modules" / "@timewarden" / "client"
    shutil.rmtree(package, ignore_errors=True)
    with tarfile.open(DIST / f"timewarden-client-{VERSION}.tgz") as packed:
        packed.extractall(package.parent, filter="data")
    (package.parent / "package").rename(package)
    for name in ("programs", "app"):
        shutil.rmtree(WORK / name, ignore_errors=True)
    shutil.copytree(HERE / "programs", WORK / "programs")
    (WORK / "app").mkdir()
    (WORK / "app" / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    return WORK


@needs_node
def test_the_app_in_typescript(service: RunningService, node: Path) -> None:
    (node / "app" / "my-week.ts").write_text(APPS["typescript"], encoding="utf-8")
    compiled = run(*COMPILE, "--types", "node", "--noUncheckedIndexedAccess", "app/my-week.ts")
    assert compiled.returncode == 0, compiled.stdout
    printed = run_app("node my-week.js", cwd=node / "app", state=service.state, api=service.addresses.api)
    # Node.js prints a list in its own way.
    assert printed == SHOWN.replace("['approve:timesheets']", "[ 'approve:timesheets' ]")


BOUND_JOB_IN_TYPESCRIPT = """\
import { clientCredentials, DpopKey, ProblemError, Timewarden } from "@timewarden/client";

const { API, ENDPOINT } = process.env;
const dpop = await DpopKey.create();
const tokens = clientCredentials(ENDPOINT!, "payroll-import", "payroll-import-demo", { dpop });
console.log((await new Timewarden(API!, tokens).me()).client);
const thief = new Timewarden(API!, await tokens(), { dpop: await DpopKey.create() });
await thief.me().catch((error) => console.log((error as ProblemError).problem?.type));
"""


@needs_node
# With the types of a browser, and with those of Node.js alone.
@pytest.mark.parametrize("types", ["es2023,dom", "es2023"])
def test_a_bound_token_in_typescript(service: RunningService, node: Path, types: str) -> None:
    (node / "app" / "job.ts").write_text(BOUND_JOB_IN_TYPESCRIPT, encoding="utf-8")
    compiled = run(*COMPILE, "--types", "node", "--lib", types, "app/job.ts")
    assert compiled.returncode == 0, compiled.stdout
    ended = run("node", "job.js", cwd=node / "app", **addresses(service))
    assert ended.stdout == "payroll-import\nurn:timewarden:problem:invalid-token\n", ended.stderr


ACCESS_IN_TYPESCRIPT = """\
import { ProblemError, Timewarden } from "@timewarden/client";

const api = (token: string): Timewarden => new Timewarden(process.env.API!, token);
const max = api(process.env.MAX!), mia = api(process.env.MIA!);
const until = new Date(Date.now() + 3_600_000).toISOString();
const hidden = { params: { path: { timesheet_id: "0198c0de-0000-7000-8000-000000000000" } } };
const { error } = await max.http.GET("/v1/timesheets/{timesheet_id}", hidden);
if (error?.type === "urn:timewarden:problem:not-found") console.log(error.request_access?.relation);
const [way] = (await max.me()).requestable;
console.log(way!.on, way!.may.map((given) => given.action));
const wanted = { relation: way!.relation, team: "Atlas", until, reason: "Mia is away" };
const asked = await max.requestAccess(wanted);
await max.grantAccess(asked.id).catch((error) => console.log((error as ProblemError).problem?.type));
for await (const request of mia.pages("/v1/access-requests", { to_decide: true })) {
  const granted = await mia.grantAccess(request.id, { reason: "Until tonight" });
  console.log(granted.state, granted.relation);
}
console.log((await max.me()).access.map((access) => access.state));
"""


@needs_node
def test_access_is_asked_for_and_granted_in_typescript(service: RunningService, node: Path) -> None:
    (node / "app" / "access.ts").write_text(ACCESS_IN_TYPESCRIPT, encoding="utf-8")
    compiled = run(*COMPILE, "--types", "node", "app/access.ts")
    assert compiled.returncode == 0, compiled.stdout
    tokens = {name.upper(): token_of(name, service.state) for name in ("max", "mia")}
    ended = run("node", "access.js", cwd=node / "app", API=service.addresses.api, **tokens)
    forbidden = "urn:timewarden:problem:forbidden"
    offered = "temporary_approver\n[ 'team' ] [ 'approve', 'read', 'reject' ]\n"
    assert ended.stdout == f"{offered}{forbidden}\ngranted temporary_approver\n[ 'granted' ]\n", ended.stderr


REPLAY_IN_TYPESCRIPT = """\
import { result, Timewarden } from "@timewarden/client";

const { http } = new Timewarden(process.env.API!, process.env.AUDREY!);
const started = await result(http.POST("/v1/replays", { body: { kind: "timesheet" } }));
console.log(started.state);
const { response } = await http.POST("/v1/replays/{replay_id}/cancel", { params: { path: { replay_id: started.id } } });
// The keeper may have finished it.
console.log([200, 409].includes(response.status));
"""


@needs_node
def test_a_replay_is_started_and_cancelled_in_typescript(service: RunningService, node: Path) -> None:
    (node / "app" / "replay.ts").write_text(REPLAY_IN_TYPESCRIPT, encoding="utf-8")
    compiled = run(*COMPILE, "--types", "node", "app/replay.ts")
    assert compiled.returncode == 0, compiled.stdout
    audrey = token_of("audrey", service.state)
    ended = run("node", "replay.js", cwd=node / "app", API=service.addresses.api, AUDREY=audrey)
    assert ended.stdout == "queued\ntrue\n", ended.stderr


@needs_node
def test_the_typescript_client_meets_a_server_that_is_busy_breaks_off_or_refuses_tokens(node: Path) -> None:
    shutil.copy(HERE / "transport.test.mjs", node / "app")
    tested = run("node", "--test", "app/transport.test.mjs")
    assert tested.returncode == 0, tested.stdout


@needs_node
def test_wrong_programs_do_not_compile(node: Path) -> None:
    programs = sorted((HERE / "programs").glob("*.ts"))
    wrong = {path.name: path.read_text(encoding="utf-8")[3:9] for path in programs if path.name.startswith("bad-")}
    compiled = run(*COMPILE, "--noEmit", *(f"programs/{path.name}" for path in programs), cwd=node)
    found = re.findall(r"^programs/([\w-]+\.ts)\(\d+,\d+\): error (TS\d+)", compiled.stdout, re.MULTILINE)
    assert dict(found) == wrong, compiled.stdout
    assert len(found) == len(wrong) == 4
    assert "good.ts" in {path.name for path in programs}


@needs_node
def test_linters_report_nothing(node: Path) -> None:
    redocly = run(
        "node_modules/.bin/redocly", "lint", "openapi.json", "--extends=recommended-strict", REDOCLY_TELEMETRY="off"
    )
    assert redocly.returncode == 0, redocly.stdout + redocly.stderr
    (node / "spectral.yaml").write_text("extends: spectral:oas\n", encoding="utf-8")
    spectral = run(
        "node_modules/.bin/spectral", "lint", "openapi.json", "--ruleset", "spectral.yaml", "--fail-severity=hint"
    )
    assert spectral.returncode == 0, spectral.stdout
