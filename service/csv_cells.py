"""Detects and escapes CSV cells that a spreadsheet would run as formulas. Pure.

Source: OWASP, "CSV Injection".
"""

from __future__ import annotations

import re

# Characters that begin a formula, also as full-width signs; tabs and line ends move the rest into another cell.
_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Where semicolons separate cells, as in much of Europe, a formula may follow a semicolon.
_BEHIND_SEMICOLON = re.compile(rf"(;[^\S\t\r\n]*)(?=[{re.escape(''.join(_SIGNS))}])")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would run this cell as a formula, also after blanks."""
    return text.startswith(_SIGNS) or text.lstrip().startswith(_SIGNS)


def escape_formula(text: str) -> str:
    """The text with an apostrophe before everything that would begin a formula."""
    text = _BEHIND_SEMICOLON.sub(r"\1'", text)
    return f"'{text}" if is_formula(text) else text
