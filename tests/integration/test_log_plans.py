"""Every query of an auditor uses an index and reads few pages, however rare the value is."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest

from service.audit import known_values
from service.audit.search import SETTINGS, page_statement, search_records
from service.audit.summary import summary_statement
from service.log.keeper_status import BEHIND
from service.log.record_query import DECISIONS, RecordFilters, RecordQuery
from tests.generated_log import generate
from tests.integration.log_database import copy_database
from tests.log_queries import ExampleQuery, example_queries, id_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.development.local_servers import LocalPostgres

pytest_plugins = ["tests.integration.log_fixtures"]
TOTAL = 100_000


@pytest.fixture(scope="module")
async def year(
    postgres: LocalPostgres, superuser: asyncpg.Connection[asyncpg.Record], log_template: str
) -> AsyncIterator[str]:
    async with copy_database(postgres, superuser, log_template) as database:
        await generate(await database.connect("owner"), TOTAL)
        yield database.url("app")


@pytest.mark.parametrize("asked", example_queries(), ids=lambda query: query.words)
async def test_a_query_reads_an_index_and_few_pages(year: str, asked: ExampleQuery) -> None:
    connection = await asyncpg.connect(year)
    try:
        first = await search_records(connection, asked.filters, kinds=asked.kinds, limit=50)
        for after in [None, *([first[-1].place] if len(first) == 50 else [])]:
            statement, values = page_statement(asked.filters, asked.kinds, after, 50)
            plan = json.loads(
                await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *values)
            )
            text = json.dumps(plan)
            used = {index for index in re.findall(r'"Index Name": "(\w+)"', text) if "rest" not in index}
            assert [index for index in used if index.endswith(asked.indexes)], used
            assert not [node for node in nodes(plan[0]["Plan"]) if sequential(node)], text
            assert blocks(plan[0]["Plan"]) < asked.blocks
    finally:
        await connection.close()


@pytest.mark.parametrize("filters", [RecordFilters(resource=str(id_of("sheet7"))), RecordFilters(rule="read-own")])
async def test_rare_lists_are_found_by_their_index_even_if_postgres_expects_many(
    year: str, filters: RecordFilters
) -> None:
    # As in a log of ten million, the order of the page looks cheaper than to sort.
    connection = await asyncpg.connect(year, server_settings={"enable_sort": "off"})
    try:
        statement, values = page_statement(filters, DECISIONS, None, 50)
        plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *values))
        assert blocks(plan[0]["Plan"]) < 1_500
    finally:
        await connection.close()


async def test_postgres_expects_few_changes_that_were_not_applied(year: str) -> None:
    connection = await asyncpg.connect(year)
    try:
        statement, values = page_statement(RecordFilters(outcome="allow", applied=False), DECISIONS, None, 50)
        plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *values))[0]["Plan"]
        expected = [node["Plan Rows"] for node in nodes(plan) if node.get("Relation Name") == "audit_record_0"]
        assert expected
        assert max(expected) < TOTAL / 10
    finally:
        await connection.close()


FREQUENT = (
    RecordFilters(),
    RecordFilters(outcome="allow"),
    RecordFilters(client="web"),
    RecordFilters(rule="read-own"),
    RecordFilters(policy_version=7),
)


@pytest.mark.parametrize("filters", FREQUENT, ids=str)
async def test_counting_reads_the_newest_decisions_only(year: str, filters: RecordFilters) -> None:
    connection = await asyncpg.connect(year)
    try:
        query = RecordQuery(filters, DECISIONS)
        statement = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {summary_statement(query, 2_000)}"
        plan = json.loads(await connection.fetchval(statement, *query.values))[0]["Plan"]
        assert not [node for node in nodes(plan) if sequential(node)], plan
        # A quarter of a million blocks would be read for all of them in a log of ten million.
        assert blocks(plan) < 4_000
    finally:
        await connection.close()


@pytest.mark.parametrize("after", [None, ("2026-07-01 12:00:00+00", 60_000)])
async def test_newest_records_are_read_by_indexes_whatever_the_statistics_say(
    year: str, after: tuple[str, int] | None
) -> None:
    connection = await asyncpg.connect(year, server_settings=SETTINGS)
    try:
        statement, values = page_statement(RecordFilters(), DECISIONS, after, 50)
        types = {str: "text", int: "bigint"}
        declared = f"({', '.join(types[type(value)] for value in values)})" if values else ""
        given = f"({', '.join(repr(value) for value in values)})" if values else ""
        await connection.execute(f"PREPARE page {declared} AS {statement}")
        plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE page{given}"))
        assert not [node for node in nodes(plan[0]["Plan"]) if node["Node Type"] in {"Seq Scan", "Sort"}], plan
        assert blocks(plan[0]["Plan"]) < 1_500
    finally:
        await connection.close()


# Records of the service within a second: the ids of a record and of its request begin with the same 48 bits of time.
RECENT = """
    INSERT INTO audit_record (uid, kind, decided_at, action, outcome, request_id, body)
    SELECT overlay(md5('uid' || n) PLACING lpad(to_hex(1790000000000 + n / 5), 12, '0') FROM 1)::uuid, 'decision',
           to_timestamp(1790000000 + n / 5000.0), 'read', 'allow',
           overlay(md5('request' || n) PLACING lpad(to_hex(1790000000000 + n / 5), 12, '0') FROM 1)::uuid::text, '{}'
    FROM generate_series(1, 5000) AS n RETURNING uid, request_id
"""


async def test_a_request_is_found_by_the_ids_of_records_of_its_time(year: str) -> None:
    connection = await asyncpg.connect(year)
    transaction = connection.transaction()
    await transaction.start()
    try:
        made = (await connection.fetch(RECENT))[4_711]
        filters = RecordFilters(request_id=made["request_id"])
        assert [record.uid for record in await search_records(connection, filters)] == [made["uid"]]
        statement, values = page_statement(filters, (), None, 50)
        text = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *values)
        used = {index for index in re.findall(r'"Index Name": "(\w+)"', text) if "rest" not in index}
        assert used - {"audit_position_record_id_key"} == {"audit_record_0_uid_idx", "audit_record_0_request_id_idx"}
        # A quarter of a second, in which a quarter of them were made.
        assert blocks(json.loads(text)[0]["Plan"]) < 1_500
    finally:
        await transaction.rollback()
        await connection.close()


async def test_the_keepers_lag_reads_few_pages(year: str) -> None:
    connection = await asyncpg.connect(year)
    try:
        plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {BEHIND}", -1))
        assert not [node for node in nodes(plan[0]["Plan"]) if sequential(node)], plan
        assert blocks(plan[0]["Plan"]) < 100
    finally:
        await connection.close()


UNKNOWN: dict[str, tuple[str, list[UUID | str | int]]] = {
    "a person": (known_values.PERSON, [UUID(int=7)]),
    "a client": (known_values.CLIENTS, ["rare-jobs", known_values.MAX_NEIGHBOURS]),
    "a rule": (known_values.RULES, ["aprove-team", known_values.MAX_NEIGHBOURS]),
}


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("what", UNKNOWN)
async def test_known_values_are_found_in_a_few_index_entries(year: str, what: str, mode: str) -> None:
    statement, values = UNKNOWN[what]
    types = {UUID: "uuid", str: "text", int: "integer"}
    declared, given = ", ".join(types[type(value)] for value in values), ", ".join(f"'{value}'" for value in values)
    connection = await asyncpg.connect(year)
    try:
        await connection.execute(f"SET plan_cache_mode = {mode}")
        await connection.execute(f"PREPARE asked ({declared}) AS {statement}")
        explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE asked ({given})")
        plan = json.loads(explained)[0]["Plan"]
        assert not [node for node in nodes(plan) if sequential(node)], explained
        assert blocks(plan) < 150
    finally:
        await connection.close()


# A text for every record, and a read of the log.
TEXTS = """
    INSERT INTO audit_text SELECT uid, 'reason', decode(repeat('00', 16), 'hex'), 'Friday is missing' FROM audit_record
"""
SEARCH = """
    INSERT INTO audit_record (uid, kind, decided_at, person_id, client_id, action, resource_kind, outcome, body)
    VALUES (gen_random_uuid(), 'access', now(), $1, 'web', 'read', 'log', 'allow', '{}') RETURNING uid
"""


async def test_an_erasure_finds_the_texts_of_a_person_in_a_few_index_entries(year: str) -> None:
    connection, person = await asyncpg.connect(year), id_of("person10")
    try:
        await connection.execute("BEGIN")
        await connection.execute(TEXTS)
        search = await connection.fetchval(SEARCH, person)
        await connection.execute(
            "INSERT INTO audit_text VALUES ($1, 'client', decode(repeat('00', 16), 'hex'), 'Ana Lima')", search
        )
        asked = "SELECT record_uid, field FROM attribute_texts_about($1)"
        assert [tuple(row) for row in await connection.fetch(asked, person)] == [(search, "client")]
        plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {asked}", person))
        assert blocks(plan[0]["Plan"]) < 1_000, plan
    finally:
        await connection.close()


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(found for child in plan.get("Plans", []) for found in nodes(child))]


def sequential(node: dict[str, Any]) -> bool:
    return (node["Node Type"], node.get("Relation Name")) == ("Seq Scan", "audit_record_0")


def blocks(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
