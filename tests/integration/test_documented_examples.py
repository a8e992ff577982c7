"""Every documented example of a request is one that the service takes; files are what their examples show."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from service.web.http.operations import SCOPES
from service.web.openapi.document import operations
from service.web.openapi.documentation_page import curl
from service.web.openapi.shapes import resolve
from tests.openapi_document import document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.api import InProcess
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

DOCUMENT = document()
ALL = {"scope": " ".join(SCOPES), "roles": ["administrator", "auditor", "policy-author", "payroll"], "sub": "auth0|ada"}
JOB = {"scope": "batch:upload", "sub": "payroll-import", "client_id": "payroll-import"}
# A whole policy does not fit into an example: what stands there is refused as a policy, not as a request.
NO_POLICY = "/v1/policies/versions"
UNKNOWN = "0198c0de-0000-7000-8000-00000000dead"
PLACES = {"{name}": "works-council", "{code}": "apollo", "{number}": "1"}


def examples() -> list[tuple[str, str, str, Any]]:
    """Method, path, media type and example of each body."""
    found = []
    for method, path, operation in operations(DOCUMENT):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            said = [each["value"] for each in content.get("examples", {}).values()]
            found += [
                (method, path, kind, each)
                for each in said or resolve(DOCUMENT["components"]["schemas"], content["schema"])["examples"]
            ]
    return found


def as_sent(path: str, example: Any) -> Any:
    """The example of a request that takes either of two things, with one of them, and until tomorrow."""
    if path != "/v1/access-requests":
        return example
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    left_out = {"project", "decision", "from"}
    return {name: value for name, value in example.items() if name not in left_out} | {"until": tomorrow}


def real(value: Any, house: House, name: str = "") -> Any:
    """The example with ids of people and teams that there are."""
    ids = {"team": house.teams["east"], "parent": house.teams["division"]}
    ids |= dict.fromkeys(("person", "owner", "about"), house.people["carl"])
    ids |= {"delegator": house.people["mia"], "into": house.people["ben"], "delegate": house.people["carl"]}
    if isinstance(value, dict):
        return {member: real(item, house, member) for member, item in value.items()}
    if isinstance(value, list):
        return [real(item, house, name) for item in value]
    return str(ids[name]) if name in ids and isinstance(value, str) else value


def encode_body(kind: str, example: Any, house: House) -> bytes:
    if isinstance(example, str):
        text = example.replace("0198c0de-0000-7000-8000-000000000001", str(house.people["carl"]))
        return text.replace("ATLAS", "apollo").encode()
    return json.dumps(real(example, house)).replace("ATLAS", "apollo").encode()


async def test_every_documented_request_is_one_that_the_service_takes(house: House, running: InProcess) -> None:
    taken: Mapping[str, str] = {"/v1/uploads": running.token(**JOB)}
    sent = examples()
    assert len(sent) >= 40
    for number, (method, path, kind, example) in enumerate(sent):
        # A merged person does not exist afterwards.
        who = "max" if path.endswith("/merge") else "carl"
        where = path.replace("{person_id}", str(house.people[who]))
        where = re.sub(r"\{\w+_id\}", UNKNOWN, where)
        for name, value in PLACES.items():
            where = where.replace(name, value)
        token = taken.get(path) or running.token(**ALL, jti=f"token-{number}")
        headers = {"Content-Type": kind, "If-Match": '"1"'}
        content = encode_body(kind, as_sent(path, example), house)
        answer = await running.send(method.upper(), where, token, headers=headers, content=content)
        told = answer.json() if answer.content else {}
        if path == NO_POLICY:
            assert told["type"] == "urn:timewarden:problem:policy-rejected"
        else:
            # A named thing may be missing, or exist only once; it is asked for as it should be.
            assert answer.is_success or answer.status_code in {403, 404, 409}, (path, answer.text)
        assert "insufficient-scope" not in answer.text, path


async def test_every_command_that_reads_gets_an_answer_as_it_stands_on_the_page(
    house: House, running: InProcess
) -> None:
    for number, (method, path, operation) in enumerate(operations(DOCUMENT)):
        if method == "get" and not path.startswith("/v1/log/"):
            words = shlex.split(curl(DOCUMENT, method, path, operation))
            where = words[2].removeprefix("https://timewarden.example")
            for place, value in (("$NUMBER", "1"), ("$CODE", "apollo"), ("$NAME", "works-council")):
                where = where.replace(place, value)
            where = re.sub(r"\$\w+_ID", UNKNOWN, where)
            answer = await running.send("GET", where, running.token(**ALL, jti=f"token-{number}"))
            # A log that nobody seals has no proofs.
            assert answer.status_code in {200, 404, 503}, (where, answer.text)


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet", "ocsf"])
async def test_an_export_says_of_what_media_type_it_is(running: InProcess, form: str) -> None:
    answer = await running.send("GET", f"/v1/audit/export?format={form}", running.token(**ALL))
    assert answer.status_code == 200, answer.text
    kind = answer.headers["Content-Type"].partition(";")[0]
    assert kind == {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}.get(form, "application/x-ndjson")
    said = DOCUMENT["paths"]["/v1/audit/export"]["get"]["responses"]["200"]["content"][kind]["examples"]["file"][
        "value"
    ]
    if form == "csv":
        assert answer.text.splitlines()[0] == said.splitlines()[0]


async def test_a_report_as_a_table_has_the_head_of_its_example(running: InProcess) -> None:
    path = "/v1/reports/hours?by=team&since=2026-03-02&until=2026-03-08&format=csv"
    answer = await running.send("GET", path, running.token(**ALL))
    content = DOCUMENT["paths"]["/v1/reports/hours"]["get"]["responses"]["200"]["content"]
    kind = answer.headers["Content-Type"].partition(";")[0]
    assert answer.text.splitlines()[0] == content[kind]["examples"]["file"]["value"].splitlines()[0]
