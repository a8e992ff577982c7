"""Every request has one log line, which says what an operator looks for and nothing about a person."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from service.log.log import Log
from tests.integration.api import token_of
from tests.integration.log_database import decision
from tests.integration.log_trees import as_superuser, seal_all
from tests.integration.served import NO_TLS, serve

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


async def test_a_request_is_one_line_with_client_route_decision_and_trace_and_without_personal_data(
    house: House, issuer: str, tmp_path: Path
) -> None:
    subject, name, note = "auth0|a-very-private-subject", "Ana Privately", "she was ill again"
    async with serve(house.log_database.url("app"), issuer, tmp_path) as service:
        await service.ready()
        token = token_of(issuer, sub=subject, name=name, email="ana@private.example")
        headers = {"Authorization": f"Bearer {token}", "traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
        async with httpx2.AsyncClient(
            base_url=service.held.api, timeout=20.0, trust_env=False, verify=NO_TLS, headers=headers
        ) as http:
            body = {"period_start": "2026-03-02", "time_zone": "Europe/Berlin"}
            made = await http.post("/v1/timesheets", json=body)
            sheet = made.json()["id"]
            entry = {"day": "2026-03-02", "project": "ATLAS", "minutes": 60, "note": note}
            changes = {"If-Match": made.headers["ETag"]}
            assert (await http.post(f"/v1/timesheets/{sheet}/entries", json=entry, headers=changes)).status_code == 201
            assert (await http.get(f"/v1/timesheets/{sheet}", params={"name": name})).status_code == 422
            assert (await http.get("/v1/me", headers={"Authorization": f"Bearer {token}x"})).status_code == 401
            assert (await http.get(f"/{note}/{subject}")).status_code == 404
    text = service.log.read_text(encoding="utf-8")
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines() if '"event":"request"' in line]
    assert [(line["method"], line["route"], line["status"], line["client"]) for line in lines] == [
        ("POST", "/v1/timesheets", 201, "hours-app"),
        ("POST", "/v1/timesheets/{timesheet_id}/entries", 201, "hours-app"),
        ("GET", "/v1/timesheets/{timesheet_id}", 422, "hours-app"),
        ("GET", "/v1/me", 401, None),
        ("GET", "", 404, None),
    ]
    assert {line["trace_id"] for line in lines} == {TRACE_ID}
    assert lines[0]["decision"] == made.headers["Decision-Id"]
    assert lines[0]["request_id"] == made.headers["X-Request-Id"]
    assert all(line["milliseconds"] > 0 and line["timestamp"] for line in lines)
    private = (subject, name, note, token, token.rpartition(".")[2], "ana@private", "private-subject")
    assert [words for words in private if words in text] == []


# Reading the hashes of the second batch of an export fails.
BREAK = """
    ALTER TABLE tile ENABLE ROW LEVEL SECURITY;
    CREATE POLICY breaking ON tile USING (level > 0 OR index = 0 OR index / 0 = 0)
"""


async def test_an_answer_that_breaks_after_its_start_is_logged_with_its_request_decision_and_cause(
    house: House, issuer: str, tmp_path: Path
) -> None:
    await Log(await house.log_database.open("app")).append([decision() for _ in range(300)])
    await seal_all(await house.log_database.open("keeper"))
    await as_superuser(house.log_database, BREAK)
    token = token_of(issuer, sub="auth0|audrey", scope="read:audit", roles=["auditor"])
    async with (
        serve(house.log_database.url("app"), issuer, tmp_path) as service,
        httpx2.AsyncClient(timeout=20.0, trust_env=False, verify=NO_TLS) as http,
    ):
        await service.ready()
        exports = service.held.api + "/v1/audit/export"
        async with http.stream("GET", exports, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status_code == 200
            with pytest.raises(httpx2.RemoteProtocolError):
                await answer.aread()
    lines = [json.loads(line) for line in service.log.read_text(encoding="utf-8").splitlines()]
    (line,) = [line for line in lines if line["event"] == "answer_cut_off"]
    assert (line["level"], line["problem"]) == ("error", "DivisionByZeroError")
    assert line["request_id"] == answer.headers["X-Request-Id"]
    assert line["decision"] == answer.headers["Decision-Id"]
    assert "of which DivisionByZeroError" in line["exception"]
    assert [line["event"] for line in lines if line.get("logger", "").startswith("_granian")][-1:] == [
        "Application callable raised an exception"
    ]
