"""The verifier against a served log over HTTP: rollbacks, forks, missing tiles and hidden records."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from service.log import merkle, tiles
from service.standalone.verify.command import main
from tests.bundle_forge import STRANGER, VKEY, sign_checkpoint, uid_at
from tests.local_http import Answering, http_server
from tests.unit.test_verifier import LOG, record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from service.log.record import Record

OLD = "0198c0de-0000-7000-8000-000000000000"
LEAVES = [*(record.leaf for record in LOG), *(merkle.leaf_hash(str(number).encode()) for number in range(700))]


class LogServer:
    """A server with a response for each path."""

    def __init__(self) -> None:
        self.paths: dict[str, bytes] = {}
        # How often a path is refused first, and with which response.
        self.refusals: list[tuple[int, str | None]] = []
        self.asked = 0
        # The token for entry bundles.
        self.token = "auditor"
        self.url = ""

    def records(self, records: Sequence[Record]) -> None:
        """Serve the log of these records, and for auditors the records of its last tile."""
        self.log([record.leaf for record in records])
        last = (len(records) - 1) // 256
        tile = tiles.Tile(0, last, len(records) - last * 256)
        path = tile.path.removeprefix("0/")
        self.paths[f"/tile/entries/{path}"] = tiles.encode_bundle(record.body for record in records[last * 256 :])

    def log(self, leaves: Sequence[bytes], note: str | None = None) -> None:
        """Serve this log as C2SP tiles."""
        self.paths = {"/checkpoint": (note or sign_checkpoint(leaves)).encode()}
        edges: dict[int, list[bytes]] = {}
        for tile in tiles.append_leaves(0, edges, leaves):
            self.paths[f"/tile/{tile.path}"] = b"".join(edges[tile.level])
        for level, items in edges.items():
            if items:
                tile = tiles.Tile(level, (len(leaves) >> (8 * level)) // 256, len(items))
                self.paths[f"/tile/{tile.path}"] = b"".join(items)


@pytest.fixture
def log_server() -> Iterator[LogServer]:
    found = LogServer()

    class Handler(Answering):
        def respond(self) -> None:
            found.asked += 1
            more: dict[str, str] = {}
            body, status = found.paths.get(self.path), 200
            if found.refusals:
                status, pause = found.refusals.pop()
                body, more = b'{"title":"Too many requests"}', {"Retry_After": pause} if pause else {}
            elif body is None:
                status = 404
            elif "entries" in self.path and self.headers.get("Authorization") != f"Bearer {found.token}":
                body, status = b'{"title":"Unauthenticated"}', 401
            self.answer(body or b"", status, **more)

    with http_server(Handler) as address:
        found.url = f"{address}/"
        yield found


def run_verifier(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--key", VKEY, "--json"])
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_a_growing_log_extends_the_state(
    log_server: LogServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ("--state", str(tmp_path / "seen"))
    for size in (1, 2, 255, 256, 300, 300, 512, 723):
        log_server.log(LEAVES[:size])
        code, report = run_verifier(capsys, "live", log_server.url, *state)
        assert (code, report["checkpoint"]["size"]) == (0, size)
        assert json.loads((tmp_path / "seen").read_text())["checkpoint"] == sign_checkpoint(LEAVES, size)


@pytest.mark.parametrize("size", [10, 256, 299, 300, 600])
def test_a_rollback_or_fork_is_caught_and_the_state_kept(
    log_server: LogServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    seen = tmp_path / "seen"
    seen.write_text(sign_checkpoint(LEAVES, 300))
    log_server.log([merkle.leaf_hash(b"other"), *LEAVES[1:size]])
    code, report = run_verifier(capsys, "live", log_server.url, "--state", str(seen))
    wanted = "rolled back" if size < 300 else "fork"
    assert (code, wanted in report["findings"][0]["what"]) == (1, True)
    assert seen.read_text() == sign_checkpoint(LEAVES, 300)


def test_altered_and_lost_tiles_are_named(log_server: LogServer, capsys: pytest.CaptureFixture[str]) -> None:
    log_server.log(LEAVES)
    path = "/tile/1/000.p/2"
    kept = log_server.paths.pop(path)
    code, report = run_verifier(capsys, "live", log_server.url)
    assert (code, "tile/1/000.p/2 of the signed tree is not served" in report["findings"][0]["what"]) == (1, True)
    log_server.paths[path] = kept[::-1]
    code, report = run_verifier(capsys, "live", log_server.url)
    assert (code, "do not lead to the root" in report["findings"][0]["what"]) == (1, True)
    # The full tile may replace a partial one.
    log_server.paths |= {path: b"", "/tile/1/000": kept + bytes(32)}
    del log_server.paths[path]
    assert run_verifier(capsys, "live", log_server.url)[0] == 0


def test_unreachable_empty_and_untrusted_logs(log_server: LogServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verifier(capsys, "live", log_server.url)[0] == 2
    log_server.log(LEAVES, sign_checkpoint(LEAVES, signer=STRANGER))
    assert run_verifier(capsys, "live", log_server.url)[0] == 3
    assert run_verifier(capsys, "live", "http://127.0.0.1:1")[0] == 2
    assert run_verifier(capsys, "live", "file:///etc/passwd")[0] == 4


@pytest.mark.parametrize("position", [722, 512, 511, 3, 0])
def test_an_answer_is_found_in_the_tiles(
    log_server: LogServer, capsys: pytest.CaptureFixture[str], position: int
) -> None:
    log_server.log(LEAVES)
    answer = ("answer", "--decision-id", OLD, "--live", log_server.url, "--leaf")
    code, report = run_verifier(capsys, *answer, LEAVES[position].hex())
    assert (code, report["checked"]["position"]) == (0, position)
    for path in [item for item in log_server.paths if item.startswith("/tile/0/")]:
        log_server.paths[path] = log_server.paths[path][:-32] + bytes(32)
    assert run_verifier(capsys, *answer, LEAVES[1].hex())[0] == 1


def test_an_answer_without_a_record_was_left_out_or_is_not_sealed_yet(
    log_server: LogServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_server.log(LEAVES)
    code, report = run_verifier(capsys, "answer", "--decision-id", OLD, "--live", log_server.url, "--leaf", "00" * 32)
    assert (code, "left out" in report["findings"][0]["what"], report["checked"]["leaves"]) == (1, True, 723)
    # The keeper may be stopped: without the time of the newest record, a recent answer may just not be sealed yet.
    now = datetime.now(UTC)
    for age in (timedelta(0), timedelta(hours=2), timedelta(days=20)):
        young = ("answer", "--decision-id", uid_at(now - age), "--live", log_server.url, "--leaf", "00" * 32)
        code, report = run_verifier(capsys, *young)
        assert (code, "not sealed yet, or left out" in report["findings"][0]["what"]) == (2, True)
    (tmp_path / "token").write_text("auditor\n")
    young = ("answer", "--decision-id", uid_at(now - timedelta(hours=2)), "--live", log_server.url, "--leaf", "00" * 32)
    with_token = (*young, "--token-file", str(tmp_path / "token"))
    log_server.records([*LOG, record(1, at=now - timedelta(hours=3))])
    code, report = run_verifier(capsys, *with_token)
    assert (code, "not sealed yet" in report["findings"][0]["what"]) == (2, True)
    log_server.records([*LOG, *(record(number, at=now - timedelta(hours=1)) for number in (1, 2))])
    code, report = run_verifier(capsys, *with_token)
    assert (code, "left out of the log, whose newest" in report["findings"][0]["what"]) == (1, True)
    log_server.token = "another"
    code, report = run_verifier(capsys, *with_token)
    assert (code, "answers 401" in report["findings"][0]["what"]) == (2, True)
    random = ("answer", "--decision-id", str(uuid4()), "--live", log_server.url, "--leaf", "00" * 32)
    assert run_verifier(capsys, *random)[0] == 4


def test_a_backdated_last_record_does_not_hide_that_an_answer_was_left_out(
    log_server: LogServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("auditor\n")
    now = datetime.now(UTC)
    log_server.records([*LOG, *(record(hours, at=now - timedelta(hours=hours)) for hours in (1, 1, 3))])
    answer = ("answer", "--decision-id", uid_at(now - timedelta(hours=2)), "--leaf", "00" * 32)
    code, report = run_verifier(capsys, *answer, "--live", log_server.url, "--token-file", str(tmp_path / "token"))
    assert (code, "left out of the log, whose newest" in report["findings"][0]["what"]) == (1, True)


@pytest.mark.parametrize(
    ("hours", "what"),
    [
        ((3, -24, 3), "the times are not in order"),
        ((3, -24), "only one record was decided more than ten minutes after the answer"),
    ],
)
def test_one_record_from_a_clock_that_is_ahead_does_not_show_that_an_answer_was_left_out(
    log_server: LogServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], hours: tuple[int, ...], what: str
) -> None:
    (tmp_path / "token").write_text("auditor\n")
    now = datetime.now(UTC)
    log_server.records([*LOG, *(record(number, at=now - timedelta(hours=ago)) for number, ago in enumerate(hours))])
    answer = ("answer", "--decision-id", uid_at(now - timedelta(hours=2)), "--leaf", "00" * 32)
    code, report = run_verifier(capsys, *answer, "--live", log_server.url, "--token-file", str(tmp_path / "token"))
    assert (code, what in report["findings"][0]["what"]) == (2, True)


def test_an_auditors_token_shows_whether_the_record_is_that_of_the_answer(
    log_server: LogServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("auditor\n")
    records = [record(number) for number in range(300)]
    log_server.records(records)
    log_server.paths["/tile/entries/000"] = tiles.encode_bundle(item.body for item in records[:256])
    token, unknown = ("--token-file", str(tmp_path / "token")), "that this record has the Decision-Id"
    for position in (3, 299):
        leaf = ("--live", log_server.url, "--leaf", records[position].leaf.hex(), "--decision-id")
        for uid in (str(records[position].uid), OLD):
            code, report = run_verifier(capsys, "answer", *leaf, uid)
            assert (code, report["checked"]["position"]) == (0, position)
            assert any(unknown in sentence for sentence in report["not_shown"])
            assert f"a record with the Decision-Leaf of the answer was sealed at position {position}" in report["shown"]
        code, report = run_verifier(capsys, "answer", *leaf, str(records[position].uid), *token)
        assert (code, f"the record of the answer was sealed at position {position}" in report["shown"]) == (0, True)
        assert not any(unknown in sentence for sentence in report["not_shown"])
        code, report = run_verifier(capsys, "answer", *leaf, OLD, *token)
        (finding,) = report["findings"]
        assert (code, finding["position"], finding["uid"]) == (1, position, str(records[position].uid))
        assert f"is not the record of the answer {OLD}" in finding["what"]
    # The server does not give the record, or gives another.
    answer = ("answer", "--live", log_server.url, "--leaf", records[3].leaf.hex(), "--decision-id", OLD, *token)
    log_server.paths["/tile/entries/000"] = tiles.encode_bundle(item.body for item in records[1:257])
    code, report = run_verifier(capsys, *answer)
    assert (code, "do not have the hashes that were sealed" in report["findings"][0]["what"]) == (1, True)
    del log_server.paths["/tile/entries/000"]
    code, report = run_verifier(capsys, *answer)
    assert (code, "tile/entries/000 answers 404" in report["findings"][0]["what"]) == (2, True)


class Wavering(dict[str, bytes]):
    """Paths of which one has another content from the second request on."""

    def __init__(self, paths: dict[str, bytes], path: str, later: bytes) -> None:
        super().__init__(paths)
        self._path, self._later = path, later

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        if key == self._path:
            self[key] = self._later
        return found


def test_the_newest_record_is_checked_although_the_server_changes_its_hashes(
    log_server: LogServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("auditor\n")
    forged = [*LOG[:-1], record(1, at=datetime.now(UTC))]
    log_server.records(LOG)
    honest, path = log_server.paths, f"/tile/0/000.p/{len(LOG)}"
    log_server.records(forged)
    log_server.paths = Wavering(
        log_server.paths | {name: honest[name] for name in ("/checkpoint", path)}, path, log_server.paths[path]
    )
    code, report = run_verifier(capsys, "live", log_server.url, "--token-file", str(tmp_path / "token"))
    assert (code, "do not lead to the root" in report["findings"][0]["what"]) == (1, True)


def test_a_log_without_records_is_incomplete_where_a_record_is_needed(
    log_server: LogServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("auditor\n")
    log_server.log([])
    live = ("live", log_server.url)
    answer = ("answer", "--live", log_server.url, "--leaf", "00" * 32, "--decision-id", uid_at(datetime.now(UTC)))
    for command in (live, answer):
        code, report = run_verifier(capsys, *command, "--token-file", str(tmp_path / "token"))
        assert (code, report["findings"]) == (2, [{"verdict": "incomplete", "what": "the log has no records"}])
    state = ("--state", str(tmp_path / "seen"))
    assert run_verifier(capsys, *live, *state)[0] == 0
    log_server.records(LOG)
    code, report = run_verifier(capsys, *live, *state)
    assert (code, report["checked"]["extends"]) == (0, 0)


def test_retry_after_is_obeyed(log_server: LogServer, capsys: pytest.CaptureFixture[str]) -> None:
    log_server.log(LEAVES)
    log_server.refusals = [(429, "0"), (503, "0"), (429, "Fri, 31 Dec 1999 23:59:59 GMT")]
    assert run_verifier(capsys, "live", log_server.url)[0] == 0
    assert log_server.refusals == []


@pytest.mark.parametrize("pause", ["86400", None, "soon", "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_waiting_is_bounded(log_server: LogServer, capsys: pytest.CaptureFixture[str], pause: str | None) -> None:
    log_server.log(LEAVES)
    log_server.refusals = [(429, pause)]
    code, report = run_verifier(capsys, "live", log_server.url)
    assert (code, "checkpoint answers 429" in report["findings"][0]["what"]) == (2, True)
    assert log_server.asked == 1


def test_live_stores_a_time_that_two_records_have_reached(
    log_server: LogServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("auditor\n")
    state = tmp_path / "seen"
    log_server.records(LOG)
    code, report = run_verifier(
        capsys, "live", log_server.url, "--state", str(state), "--token-file", str(tmp_path / "token")
    )
    assert (code, report["checked"]["newest"]) == (0, "2026-03-02T09:22:00.000000Z")
    assert json.loads(state.read_text())["beyond"] == [[23, "2026-03-02T08:21:00.000000Z"]]


@pytest.mark.parametrize("arguments", [[], ["bundle"], ["live", "x"], ["answer", "--key", VKEY], ["prove"]])
def test_a_usage_error_has_its_own_exit_code(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 4
    assert "usage" in capsys.readouterr().err
