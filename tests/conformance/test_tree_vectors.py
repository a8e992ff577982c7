"""Published trees, notes and paths: RFC 6962's test tree, RFC 9162 §2.1.5, C2SP signed notes, tiles and checkpoints."""

from __future__ import annotations

import base64

import pytest

from service.log import checkpoint, merkle, tiles
from service.log.checkpoint import BadNote, Checkpoint, Note, Signer, Verifier
from tests.conformance.rfc9162_verifier import consistency_holds, inclusion_holds

# The test tree of Certificate Transparency: eight leaves and the roots of its prefixes.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [merkle.leaf_hash(bytes.fromhex(text)) for text in INPUTS]

# C2SP signed-note.md, and the examples of Go's sumdb/note.
NOTES = [
    (
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        (
            "This is an example message.\n\n\u2014 example.com/foo"
            " Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
        ),
    ),
    (
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        (
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
            "\u2014 PeterNeumann"
            " x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        ),
    ),
]
PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"


def hash_at(level: int, index: int) -> bytes:
    return merkle.root_hash(LEAVES[index << level : (index + 1) << level])


@pytest.mark.parametrize("size", range(9))
def test_roots_of_the_published_tree(size: int) -> None:
    """RFC 6962's reference tree, by definition, by the edge and by complete subtrees."""
    edge = merkle.Edge()
    for leaf in LEAVES[:size]:
        edge.append(leaf)
    for found in (merkle.root_hash(LEAVES[:size]), edge.root(), merkle.root_at(size, hash_at)):
        assert found.hex() == ROOTS[size]


def test_the_paths_of_the_example_of_rfc_9162() -> None:
    """§2.1.5: a tree of seven leaves d0..d6 with nodes a..j for its leaves and g, h, i, k, l above."""
    a, b, c, d, e, f, j = LEAVES[:7]
    g, h, i = merkle.node_hash(a, b), merkle.node_hash(c, d), merkle.node_hash(e, f)
    k, l7 = merkle.node_hash(g, h), merkle.node_hash(i, j)
    assert merkle.inclusion_path(0, 7, hash_at) == [b, h, l7]
    assert merkle.inclusion_path(3, 7, hash_at) == [c, g, l7]
    assert merkle.inclusion_path(4, 7, hash_at) == [f, j, k]
    assert merkle.inclusion_path(6, 7, hash_at) == [i, k]
    assert merkle.consistency_path(3, 7, hash_at) == [c, d, g, l7]
    assert merkle.consistency_path(4, 7, hash_at) == [l7]
    assert merkle.consistency_path(6, 7, hash_at) == [i, j, k]


def test_every_proof_of_the_published_tree_verifies() -> None:
    for size in range(1, 9):
        root = bytes.fromhex(ROOTS[size])
        for index in range(size):
            path = merkle.inclusion_path(index, size, hash_at)
            assert inclusion_holds(LEAVES[index], index, size, path, root)
            assert not inclusion_holds(LEAVES[index], index, size, [*path, root], root)
        for old in range(1, size + 1):
            path = merkle.consistency_path(old, size, hash_at)
            assert consistency_holds(old, bytes.fromhex(ROOTS[old]), size, root, path)


@pytest.mark.parametrize(("vkey", "note"), NOTES)
def test_published_notes_verify_and_every_changed_one_does_not(vkey: str, note: str) -> None:
    verifier = Verifier.parse(vkey)
    assert verifier.vkey == vkey
    assert str(checkpoint.verify(note, [verifier])) == note
    for changed in (note.replace("e", "E", 1), "x" + note, note[:-1], note + "\n", note.replace("\n\n", "\n")):
        with pytest.raises(BadNote):
            checkpoint.verify(changed, [verifier])


def test_the_key_file_is_the_one_of_go_and_signing_gives_the_published_note() -> None:
    """golang.org/x/mod/sumdb/note: the private key of its examples."""
    signer = Signer.parse(PRIVATE + "\n")
    assert (signer.private, signer.verifier.vkey) == (PRIVATE, NOTES[1][0])
    assert checkpoint.sign(Note.parse(NOTES[1][1]).text, [signer]) == NOTES[1][1]


def test_the_key_of_gos_checksum_database_is_read() -> None:
    key = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    assert Verifier.parse(key).vkey == key


def test_a_checkpoint_has_the_three_lines_of_c2sp() -> None:
    """tlog-checkpoint.md: its example's text, origin, size and root."""
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    read = Checkpoint.parse(text)
    root = base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    assert (read, read.text) == (Checkpoint("example.com/behind-the-sofa", 20852163, root), text)


def test_the_tree_of_seventy_thousand_has_the_tiles_of_the_specification() -> None:
    """tlog-tiles.md: 273 full tiles and a partial of 112, then one full and a partial of 17, then a partial of 1."""
    widths = [[tiles.width_at(level, index, 70_000) for index in (0, 1, 272, 273, 274)] for level in range(4)]
    assert widths == [[256, 256, 256, 112, 0], [256, 17, 0, 0, 0], [1, 0, 0, 0, 0], [0] * 5]


def test_tile_paths_are_those_of_the_specification() -> None:
    """tlog-tiles.md: x001/x234/067."""
    assert tiles.path_of_index(1234067) == "x001/x234/067"
    assert tiles.parse_path("0/x001/x234/067.p/8") == tiles.Tile(0, 1234067, 8)
    assert tiles.parse_path("entries/005") == tiles.Tile(-1, 5)
