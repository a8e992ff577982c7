"""`timewarden doctor` on an installation that is as it should be, and on ones that were spoiled in one place."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from events.stream import open_redis
from service.commands import doctor_checks
from service.commands.doctor import doctor
from service.commands.doctor_checks import Grade, check_installation
from service.commands.serve import look_at_database
from service.keeper import keep
from service.log.anchor import Anchor
from service.log.key_files import make_key
from service.settings import load
from tests.integration.api import AUDIENCE
from tests.integration.house import activate_unread, alter_rules
from tests.integration.log_trees import ORIGIN
from tests.integration.served import ROOT
from tests.policy_forge import read_shipped
from tests.ports import unused_port
from tests.standby import MANY_CONNECTIONS, copy_server, start_server
from tests.until import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.commands.doctor_checks import Finding
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


@pytest.fixture
def set_environment(
    house: House, issuer: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Sets the environment of an API and its keeper on one host, with changes."""
    make_key(tmp_path / "log.key", ORIGIN)
    good = {
        "ENVIRONMENT": "development",
        "DATABASE_URL": house.log_database.url("app"),
        "REDIS_URL": redis_url,
        "PUBLIC_URL": "http://localhost:8080",
        "ISSUER": issuer,
        "JWKS_URL": f"{issuer}/jwks",
        "AUDIENCE": AUDIENCE,
        "CURSOR_KEY": "0" * 32,
        "ERASURE_KEYS": "1" * 32,
        "TRUSTED_PROXIES": "10.0.0.0/8",
        "POLICIES_DIRECTORY": str(ROOT / "policies"),
        "LOG_ORIGIN": ORIGIN,
        "LOG_KEY_FILE": str(tmp_path / "log.key"),
        "LOG_ANCHOR_FILE": str(tmp_path / "anchor"),
    }

    def set_variables(**changes: str) -> None:
        for name, value in {**good, **changes}.items():
            monkeypatch.setenv(f"TIMEWARDEN_{name}", value)

    return set_variables


async def examine() -> list[Finding]:
    return [finding async for finding in check_installation()]


def named(findings: list[Finding], part: str) -> Finding:
    return next(finding for finding in findings if finding.part == part)


async def test_nothing_but_what_is_wrong_is_bad(
    house: House, issuer: str, set_environment: Callable[..., None], tmp_path: Path
) -> None:
    await house.owner.execute("UPDATE person_link SET issuer = $1", issuer)
    await house.owner.execute("ANALYZE")
    set_environment(DATABASE_URL=house.log_database.url("keeper"))
    stop = asyncio.Event()
    keeping = asyncio.create_task(keep(load(), stop))

    findings: list[Finding] = []

    async def has_signed_and_reported() -> bool:
        if Anchor(tmp_path / "anchor").last() is None:
            return False
        # The signer reports after it has flushed the anchor to disk.
        findings[:] = await examine()
        return any(finding.part == "keeper: signer" for finding in findings)

    set_environment()
    await until(has_signed_and_reported)
    stop.set()
    await keeping
    # The tests' Postgres runs without fsync, and the doctor must see it.
    assert [finding.part for finding in findings if finding.grade is Grade.BAD] == ["durability"]
    assert {finding.part for finding in findings if finding.grade is Grade.WARNING} == {"settings"}
    assert {"database", "clock", "role", "schema", "statistics", "policy"} <= {
        finding.part for finding in findings if finding.grade is Grade.GOOD
    }
    assert {"proxies", "log key", "anchor"} <= {finding.part for finding in findings}
    assert named(findings, "proxies").found == "1 address or network is believed"
    assert named(findings, "log key").found == f"1 key signs as {ORIGIN}"


@pytest.mark.parametrize(
    ("role", "found"),
    [("app", "`serve`"), ("keeper", "`keep`"), ("auditor", "only read"), ("owner", "owns the tables")],
)
async def test_every_role_of_the_database_can_be_examined(
    house: House, set_environment: Callable[..., None], role: str, found: str
) -> None:
    set_environment(DATABASE_URL=house.log_database.url(role))
    findings = await examine()
    assert found in named(findings, "role").found
    assert any(finding.part == "policy" for finding in findings) is (role != "keeper")


@pytest.mark.parametrize("place", ["nowhere", "empty"])
async def test_a_directory_without_policy_files_is_named_by_doctor_and_serve(
    set_environment: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    (tmp_path / "empty").mkdir()
    set_environment(POLICIES_DIRECTORY=str(tmp_path / place))
    absent = f"There are no policy files (model.conf, policy.csv, vocabulary.toml) in {tmp_path / place}"
    assert absent in [finding.found for finding in await examine() if finding.grade is Grade.WARNING]
    await look_at_database(load())
    assert capsys.readouterr().err == f"{absent}: correct TIMEWARDEN_POLICIES_DIRECTORY, or leave it out\n"


async def test_people_and_machines_read_the_same_and_the_exit_code_tells(
    set_environment: Callable[..., None],
) -> None:
    set_environment(TRUSTED_PROXIES="0.0.0.0/0", JWKS_URL="http://127.0.0.1:1/jwks")
    result = await asyncio.to_thread(CliRunner().invoke, doctor, ["--json"])
    assert result.exit_code == 1
    found = {finding["part"]: finding for finding in json.loads(result.output)}
    assert found["proxies"]["grade"] == "bad"
    assert "TIMEWARDEN_TRUSTED_PROXIES" in found["proxies"]["remedy"]
    result = await asyncio.to_thread(CliRunner().invoke, doctor, [])
    assert result.exit_code == 1
    assert "every address may claim" in result.output.replace("\n", " ")


async def test_a_variable_that_is_no_setting_is_a_finding(
    set_environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment()
    monkeypatch.setenv("TIMEWARDEN_REDISURL", "redis://:secret-word@127.0.0.1/0")
    [finding] = await examine()
    assert finding.grade is Grade.BAD
    assert "did you mean TIMEWARDEN_REDIS_URL" in finding.found
    assert "secret-word" not in str(finding)


SPOILED = [
    pytest.param({"DATABASE_URL": "postgresql://timewarden_app:secret-word@127.0.0.1:1/x"}, "database", id="database"),
    pytest.param({"REDIS_URL": "redis://:secret-word@127.0.0.1:1/0"}, "Redis", id="Redis"),
    pytest.param({"JWKS_URL": "http://127.0.0.1:1/jwks"}, "keys of main", id="issuer"),
    pytest.param({"LOG_ORIGIN": "another.example/log"}, "log key", id="key of another log"),
    pytest.param({"LOG_KEY_FILE": "/nowhere/log.key"}, "log key", id="missing key"),
    pytest.param({"LOG_ANCHOR_FILE": "/nowhere/anchor"}, "anchor", id="missing folder"),
    pytest.param({"DPOP_REQUIRED": "true", "PUBLIC_URL": ""}, "settings", id="contradiction"),
    pytest.param({"CURSOR_KEY": "short"}, "settings", id="weak key"),
]


@pytest.mark.parametrize(("changes", "part"), SPOILED)
async def test_a_part_that_is_wrong_is_bad_with_what_to_do(
    set_environment: Callable[..., None], changes: dict[str, str], part: str
) -> None:
    set_environment(**changes)
    finding = next(finding for finding in await examine() if finding.part == part)
    assert finding.grade is Grade.BAD
    assert finding.remedy
    assert "secret-word" not in str(finding)


async def test_a_key_file_that_others_may_read_is_bad(set_environment: Callable[..., None], tmp_path: Path) -> None:
    set_environment()
    (tmp_path / "log.key").chmod(0o644)
    assert "chmod 600" in named(await examine(), "log key").found


async def test_the_database_tells_what_is_wrong_in_it(house: House, set_environment: Callable[..., None]) -> None:
    set_environment(DATABASE_URL=house.log_database.url("owner"))
    assert named(await examine(), "role").grade is Grade.WARNING
    set_environment()
    await house.owner.execute("GRANT DELETE ON audit_record TO timewarden_app")
    assert "DELETE on audit_record" in named(await examine(), "role").found
    await house.owner.execute("REVOKE DELETE ON audit_record FROM timewarden_app")
    await house.owner.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "newer than this release" in named(await examine(), "schema").found
    await house.owner.execute("UPDATE alembic_version SET version_num = '0001'")
    assert named(await examine(), "schema").remedy == "run `timewarden migrate` as the owner"
    shipped = read_shipped()
    await activate_unread(house, replace(shipped, rules=shipped.rules.replace("approve,", "aprove,")))
    assert "cannot read the active version 2" in named(await examine(), "policy").found
    await alter_rules(house, 2, "\n# changed\n")
    assert "version 2 were changed in the database" in named(await examine(), "policy").found


async def test_links_to_an_issuer_that_is_not_configured_are_told(
    house: House, issuer: str, set_environment: Callable[..., None]
) -> None:
    add = "INSERT INTO person_link (issuer, subject, person_id) SELECT $1, $2, id FROM person LIMIT 1"
    set_environment()
    await house.owner.execute("UPDATE person_link SET issuer = $1", issuer)
    assert not [finding for finding in await examine() if finding.part == "directory"]
    for subject in ("auth0|a", "auth0|b"):
        await house.owner.execute(add, f"{issuer}/", subject)
    finding = named(await examine(), "directory")
    assert finding.grade is Grade.WARNING
    assert f"2 links of people name the issuer {issuer}/, which is not configured" in finding.found
    assert finding.found.endswith(f"; {issuer} is")


async def test_settings_of_an_issuer_that_is_not_set_are_told(
    issuer: str, set_environment: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "issuers.toml").write_text(f'[[issuer]]\nname = "a"\nissuer = "{issuer}"\naudience = "urn:api"\n')
    set_environment(ISSUER="", ISSUERS_FILE=str(tmp_path / "issuers.toml"), ROLES_CLAIM="groups")
    found = [finding.found for finding in await examine() if finding.part == "issuers"]
    assert [words.partition(" ")[0] for words in found[:2]] == ["TIMEWARDEN_JWKS_URL", "TIMEWARDEN_ROLES_CLAIM"]
    assert found[2:] == [f"the metadata names the audience {AUDIENCE}, which no issuer has"]
    set_environment(ISSUER="", JWKS_URL="", AUDIENCE="urn:api", ROLES_CLAIM="roles")
    assert not [finding for finding in await examine() if finding.part == "issuers"]


async def test_rules_on_clients_that_no_token_can_have_are_told(
    house: House, issuer: str, set_environment: Callable[..., None], tmp_path: Path
) -> None:
    def with_prefixes(*prefixes: str) -> str:
        tables = (
            f'[[issuer]]\nname = "i{number}"\nissuer = "{issuer}/{number}"\naudience = "urn:a"\nprefix = "{prefix}"\n'
            for number, prefix in enumerate(prefixes)
        )
        (tmp_path / "issuers.toml").write_text("".join(tables))
        return str(tmp_path / "issuers.toml")

    shipped, who = read_shipped(), ["client:keycloak:payroll", "client:keycloack:a", "via:portal", "actor:entra:bot"]
    rows = [f"p, deny, {word}, upload, any, timesheet, any, always, no-{place}" for place, word in enumerate(who)]
    await activate_unread(house, replace(shipped, rules="\n".join([shipped.rules, *rows, ""]), cases={}))

    async def found_with(*prefixes: str) -> list[str]:
        set_environment(ISSUER="", JWKS_URL="", AUDIENCE="urn:a", ISSUERS_FILE=with_prefixes(*prefixes))
        return [finding.found for finding in await examine() if "no token matches" in finding.found]

    [found] = await found_with("keycloak", "okta")
    assert found.startswith("no token matches actor:entra:bot, client:keycloack:a, via:portal: every client")
    assert found.endswith("has a prefix of an issuer, keycloak:, okta:")
    [found] = await found_with("okta")
    assert "client:keycloak:payroll and 1 more" in found
    # Clients of an issuer without prefix may have any id.
    assert await found_with("keycloak", "") == []


async def test_a_redis_that_evicts_is_bad_where_proofs_are_remembered(
    set_environment: Callable[..., None], redis_url: str
) -> None:
    set_environment()
    redis = open_redis(redis_url)
    try:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        assert named(await examine(), "Redis").grade is Grade.BAD
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.aclose()
    assert named(await examine(), "Redis").grade is Grade.GOOD


async def test_standbys_that_no_commit_waits_for_are_told(
    house: House, set_environment: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A standby of a busy machine may be later than a service waits.
    monkeypatch.setattr("service.database.MAX_REPLAY_SECONDS", PATIENCE_SECONDS)
    postgres = house.log_database.postgres
    copy_server(postgres, tmp_path / "standby")
    with start_server(tmp_path / "standby", unused_port(), MANY_CONNECTIONS) as standby:
        set_environment(REPLICA_URL=house.log_database.url("app").replace(f":{postgres.port}/", f":{standby.port}/"))
        await until(partial(finding_of, "standbys"))
        found = await finding_of("standbys")
        replica = await finding_of("replica")
        assert replica is not None
        assert (replica.grade, "a standby shows what the primary has" in replica.found) == (Grade.GOOD, True)
    absent = await finding_of("replica")
    assert absent is not None
    assert (absent.grade, "the primary is read instead" in absent.found) == (Grade.WARNING, True)
    assert found is not None
    assert (found.grade, "commits do not wait" in found.found) == (Grade.WARNING, True)


@pytest.mark.parametrize(
    ("names", "commit", "standbys", "grade"),
    [
        ("ANY 1 (*)", "on", 2, "good"),
        ("ANY 1 (*)", "on", 0, "bad"),
        ("ANY 1 (*)", "local", 1, "bad"),
        ("", "on", 0, None),
    ],
)
def test_standbys_are_graded(names: str, commit: str, standbys: int, grade: str | None) -> None:
    server = {"synchronous_standbys": names, "synchronous_commit": commit, "standbys": standbys}
    found = doctor_checks._check_standbys(server)
    assert (found and found.grade) == grade


async def finding_of(part: str) -> Finding | None:
    """The finding about one part of the installation."""
    return next((found for found in [found async for found in check_installation()] if found.part == part), None)


async def test_a_witness_that_cannot_be_asked_is_bad(set_environment: Callable[..., None]) -> None:
    set_environment(LOG_WITNESSES="witness.example http://witness.example")
    found = await finding_of("witnesses")
    assert found is not None
    assert (found.grade, "a vkey, a space and an https URL" in found.found) == (Grade.BAD, True)
