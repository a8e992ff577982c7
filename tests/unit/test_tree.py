"""Laws of the tree: the iterative algorithms of RFC 9162 accept exactly what the recursive definitions generate."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from service.log import checkpoint, merkle, tiles
from service.log.checkpoint import BadNote, Checkpoint, Note, Signer, Verifier
from service.log.tiles import Tile
from tests.conformance.rfc9162_verifier import consistency_holds, inclusion_holds
from tests.example_count import example_count

MOST = 130
LEAVES = [merkle.leaf_hash(bytes([n])) for n in range(MOST)]
ROOTS = [merkle.root_hash(LEAVES[:size]) for size in range(MOST + 1)]
SUBTREES = {
    (level, index): merkle.root_hash(LEAVES[index << level : (index + 1) << level])
    for level in range(8)
    for index in range(MOST >> level)
}
SEEDS = some.binary(min_size=32, max_size=32)
CHECKPOINT = Checkpoint("timesheets.example.com/audit", 7, hashlib.sha256(b"").digest())


def hash_at(level: int, index: int) -> bytes:
    return SUBTREES[level, index]


def test_every_inclusion_path_verifies_up_to_130_leaves() -> None:
    for size in range(1, MOST + 1):
        for index in range(size):
            path = merkle.inclusion_path(index, size, hash_at)
            assert inclusion_holds(LEAVES[index], index, size, path, ROOTS[size])


def test_every_consistency_path_verifies_up_to_130_leaves() -> None:
    for size in range(1, MOST + 1):
        for old in range(1, size + 1):
            path = merkle.consistency_path(old, size, hash_at)
            assert consistency_holds(old, ROOTS[old], size, ROOTS[size], path)
            assert merkle.verify_consistency(old, ROOTS[old], size, ROOTS[size], path)


@settings(max_examples=example_count(50))
@given(some.data())
def test_a_wrong_leaf_position_or_root_does_not_verify(data: some.DataObject) -> None:
    size = data.draw(some.integers(2, MOST))
    index, other = data.draw(some.permutations(range(size)))[:2]
    path = merkle.inclusion_path(index, size, hash_at)
    assert not inclusion_holds(LEAVES[other], index, size, path, ROOTS[size])
    assert not inclusion_holds(LEAVES[index], index, size, path, ROOTS[size - 1])
    forged = merkle.consistency_path(index + 1, size, hash_at)
    if index + 1 < size:
        assert not consistency_holds(index + 1, ROOTS[index], size, ROOTS[size], forged)
        assert not merkle.verify_consistency(index + 1, ROOTS[index], size, ROOTS[size], forged)
        assert not merkle.verify_consistency(index + 1, ROOTS[index + 1], size, ROOTS[size - 1], forged)
        assert not merkle.verify_consistency(index + 1, ROOTS[index + 1], size, ROOTS[size], [*forged, ROOTS[0]])


def test_the_edge_is_the_compact_range_at_every_size() -> None:
    edge = merkle.Edge()
    for size in range(1, MOST + 1):
        edge.append(LEAVES[size - 1])
        assert edge.hashes == [hash_at(*subtree) for subtree in merkle.subtrees(size)]
        assert edge.root() == merkle.root_at(size, hash_at) == ROOTS[size]


@pytest.mark.parametrize(("size", "hashes"), [(3, [LEAVES[0]]), (0, [LEAVES[0]]), (1, [b"short"])])
def test_an_edge_with_a_wrong_number_of_hashes_is_refused(size: int, hashes: list[bytes]) -> None:
    with pytest.raises(ValueError, match="edge"):
        merkle.Edge(size, hashes)


def test_paths_outside_the_tree_are_refused() -> None:
    for index, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(ValueError, match="no leaf"):
            merkle.inclusion_path(index, size, hash_at)
    for old, size in ((0, 5), (6, 5)):
        with pytest.raises(ValueError, match="no prefix"):
            merkle.consistency_path(old, size, hash_at)


@given(some.integers(-1, 63), some.integers(0, tiles.MAX_INDEX), some.integers(1, 256))
def test_a_tile_path_parses_back(level: int, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert tiles.parse_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "", "0", "0/", "0/1", "0/01", "0/0001", "00/001", "64/001", "-1/001", "0/x000/001", "0/x01/001", "0/001/002",
        "0/001.p/0", "0/001.p/256", "0/001.p/007", "0/001.p/", "0/001.p", "entries/x000/001", "data/001", "0/001/",
        "0/../001", "0/\u0660\u0660\u0661", "²/001", "0/001.p/²", "0/" + "x999/" * 9 + "999",
        "0/" + "x999/" * 2000 + "999",
    ],
)  # fmt: skip
def test_a_tile_path_has_one_spelling(path: str) -> None:
    assert tiles.parse_path(path) is None


@settings(max_examples=example_count(25))
@given(some.integers(0, 600), some.integers(0, 70_000), some.integers(0, 3), some.integers(0, 300))
def test_a_tile_is_covered_once_the_tree_has_its_last_item(size: int, more: int, level: int, index: int) -> None:
    width = tiles.width_at(level, index, size + more)
    assert all(
        tiles.is_covered(Tile(level, index, number), size + more) for number in (1, width) if 0 < number <= width
    )
    assert width == tiles.WIDTH or not tiles.is_covered(Tile(level, index, width + 1), size + more)


@settings(max_examples=example_count(25))
@given(some.lists(some.integers(0, 700), min_size=1, max_size=5))
def test_tiles_appended_in_any_steps_hold_every_subtree(steps: list[int]) -> None:
    leaves = [merkle.leaf_hash(n.to_bytes(4, "big")) for n in range(sum(steps))]
    edges: dict[int, list[bytes]] = {}
    full: dict[tuple[int, int], list[bytes]] = {}
    size = 0
    for step in steps:
        for tile in tiles.append_leaves(size, edges, leaves[size : size + step]):
            full[tile.level, tile.index] = list(edges[tile.level])
        size += step
    for level, items in edges.items():
        full[level, (size >> (8 * level)) // 256] = items
        assert len(items) == (size >> (8 * level)) % 256

    def at(level: int, index: int) -> bytes:
        tile_level, tile, first, count = tiles.locate(level, index)
        return tiles.subtree_root(full[tile_level, tile][first : first + count])

    assert merkle.root_at(size, at) == merkle.root_hash(leaves)


def test_an_entry_bundle_prefixes_entries_with_two_byte_lengths() -> None:
    assert tiles.encode_bundle([b"ab", b"", b"c" * 258]) == b"\0\2ab\0\0\1\2" + b"c" * 258
    assert len(tiles.encode_bundle([b"x" * 65_535])) == 65_537
    with pytest.raises(ValueError, match="65535"):
        tiles.encode_bundle([b"x" * 65_536])


@settings(max_examples=example_count(20))
@given(SEEDS, SEEDS)
def test_a_note_of_two_keys_verifies_with_either(old: bytes, new: bytes) -> None:
    signers = [Signer(CHECKPOINT.origin, seed) for seed in (old, new)]
    note = checkpoint.sign(CHECKPOINT.text, signers)
    assert checkpoint.sign(CHECKPOINT.text, signers) == note
    for signer in signers:
        read = checkpoint.verify(note, [Verifier.parse(signer.verifier.vkey)])
        assert Checkpoint.parse(read.text) == CHECKPOINT
    with pytest.raises(BadNote, match="No known key"):
        checkpoint.verify(note, [Signer("somebody.example", old).verifier])


def test_a_wrong_signature_of_a_known_key_refuses_the_note() -> None:
    good, bad = Signer(CHECKPOINT.origin, b"g" * 32), Signer(CHECKPOINT.origin, b"b" * 32)
    forged = Note(CHECKPOINT.text, (good.sign(CHECKPOINT.text), bad.sign("another text\n")))
    with pytest.raises(BadNote, match="is wrong"):
        checkpoint.verify(str(forged), [good.verifier, bad.verifier])
    assert checkpoint.verify(str(forged), [good.verifier]) == forged


@pytest.mark.parametrize(
    "text",
    [
        "", "o\n", "o\n7\n", "o\n07\nAAAA\n", "o\n-1\nAAAA\n", "o\n7\nAAAA\n", "\n7\nAAAA\n", "o\n\u0667\nAAAA\n",
        CHECKPOINT.text + "\n", CHECKPOINT.text[:-1], CHECKPOINT.text.replace("=", ""),
    ],
)  # fmt: skip
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        Checkpoint.parse(text)


def test_extension_lines_of_a_checkpoint_are_allowed() -> None:
    assert Checkpoint.parse(CHECKPOINT.text + "more\n") == CHECKPOINT


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\nb", "a\x00b"])
def test_key_names_that_notes_cannot_hold_are_refused(name: str) -> None:
    with pytest.raises(BadNote):
        Signer(name, b"s" * 32)


@pytest.mark.parametrize("key", ["", "PRIVATE+KEY+a", "PUBLIC+KEY+a+00000000+AAAA", "PRIVATE+KEY+a+00000000+AAAA"])
def test_a_malformed_key_file_is_refused_and_never_quoted(key: str) -> None:
    with pytest.raises(BadNote) as caught:
        Signer.parse(key + "secret")
    assert "secret" not in str(caught.value)
