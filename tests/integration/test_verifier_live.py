"""The log as it is served: real HTTP, tiles of a forged log, and what a server does that forgets, forks or hides."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from uuid_utils.compat import uuid7

from service.audit import merkle, tiles
from service.standalone.verify.command import main
from tests.bundle_forge import STRANGER, VKEY, signed
from tests.unit.test_verifier import LOG

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LEAVES = [*(one.leaf for one in LOG), *(merkle.leaf(str(one).encode()) for one in range(700))]


class Served:
    """What the server answers, by path."""

    def __init__(self) -> None:
        self.paths: dict[str, bytes] = {}
        self.url = ""

    def log(self, leaves: Sequence[bytes], note: str | None = None) -> None:
        """Serve this log as C2SP tiles."""
        self.paths = {"/checkpoint": (note or signed(leaves)).encode()}
        edges: dict[int, list[bytes]] = {}
        for tile in tiles.grown(0, edges, leaves):
            self.paths[f"/tile/{tile.path}"] = b"".join(edges[tile.level])
        for level, items in edges.items():
            if items:
                tile = tiles.Tile(level, (len(leaves) >> (8 * level)) // 256, len(items))
                self.paths[f"/tile/{tile.path}"] = b"".join(items)


@pytest.fixture
def served() -> Iterator[Served]:
    found = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = found.paths.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--key", VKEY, "--json"])
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_a_log_that_grows_extends_what_was_seen(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ("--state", str(tmp_path / "seen"))
    for size in (1, 2, 255, 256, 300, 300, 512, 723):
        served.log(LEAVES[:size])
        code, report = told(capsys, "live", served.url, *state)
        assert (code, report["checkpoint"]["size"]) == (0, size)
        assert (tmp_path / "seen").read_text() == signed(LEAVES, size)


@pytest.mark.parametrize("size", [10, 256, 299, 300, 600])
def test_a_log_that_forgets_or_forks_is_caught_and_the_state_kept(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    seen = tmp_path / "seen"
    seen.write_text(signed(LEAVES, 300))
    served.log([merkle.leaf(b"other"), *LEAVES[1:size]])
    code, report = told(capsys, "live", served.url, "--state", str(seen))
    wanted = "rolled back" if size < 300 else "fork"
    assert (code, wanted in report["findings"][0]["what"]) == (1, True)
    assert seen.read_text() == signed(LEAVES, 300)


def test_altered_and_lost_tiles_are_named(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.log(LEAVES)
    path = "/tile/1/000.p/2"
    kept = served.paths.pop(path)
    code, report = told(capsys, "live", served.url)
    assert (code, "tile/1/000 of the signed tree is not served" in report["findings"][0]["what"]) == (1, True)
    served.paths[path] = kept[::-1]
    code, report = told(capsys, "live", served.url)
    assert (code, "do not lead to the root" in report["findings"][0]["what"]) == (1, True)
    # A partial tile may be replaced by the full one once there is one.
    served.paths |= {path: b"", "/tile/1/000": kept + bytes(32)}
    del served.paths[path]
    assert told(capsys, "live", served.url)[0] == 0


def test_nobody_nothing_and_strangers(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "live", served.url)[0] == 2
    served.log(LEAVES, signed(LEAVES, signer=STRANGER))
    assert told(capsys, "live", served.url)[0] == 3
    assert told(capsys, "live", "http://127.0.0.1:1")[0] == 2
    assert told(capsys, "live", "file:///etc/passwd")[0] == 4


def test_an_answer_is_found_in_the_tiles_or_was_left_out(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.log(LEAVES)
    answer = ("answer", "--decision-id", "0198c0de-0000-7000-8000-000000000000", "--live", served.url, "--leaf")
    code, report = told(capsys, *answer, LEAVES[700].hex())
    assert (code, report["checked"]["position"]) == (0, 700)
    code, report = told(capsys, *answer, "00" * 32)
    assert (code, "left out" in report["findings"][0]["what"]) == (1, True)
    young = ("answer", "--decision-id", str(uuid7()), "--live", served.url, "--leaf", "00" * 32)
    assert told(capsys, *young)[0] == 2


@pytest.mark.parametrize("arguments", [[], ["bundle"], ["live", "x"], ["answer", "--key", VKEY], ["prove"]])
def test_a_wrong_call_has_a_code_of_its_own(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 4
    assert "usage" in capsys.readouterr().err
