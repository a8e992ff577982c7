"""The golden files: what was reviewed, and how to write it anew."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent


def read_stored(name: str) -> str:
    """The reviewed text."""
    return (HERE / name).read_text(encoding="utf-8")


def store(name: str, text: str) -> None:
    """Write the text, to be read in the diff."""
    (HERE / name).parent.mkdir(exist_ok=True)
    (HERE / name).write_text(text, encoding="utf-8")
