"""Cells of CSV that no spreadsheet executes: what comes in is refused, what goes out is made harmless. Pure.

Source: OWASP, "CSV Injection". Owns no state.
"""

from __future__ import annotations

import re

# What makes a spreadsheet take a cell for a formula, the full-width signs too; tab and line ends move what follows into
# the next cell.
_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Where a semicolon parts cells, as in much of Europe, a formula may begin behind one.
_BEHIND_SEMICOLON = re.compile(rf"(;[^\S\t\r\n]*)(?=[{re.escape(''.join(_SIGNS))}])")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would run this cell, also behind blanks."""
    return text.startswith(_SIGNS) or text.lstrip().startswith(_SIGNS)


def harmless(text: str) -> str:
    """The text as a cell that no spreadsheet runs: an apostrophe stands before what would begin a formula."""
    text = _BEHIND_SEMICOLON.sub(r"\1'", text)
    return f"'{text}" if is_formula(text) else text
