"""The table of attributes in policies/README.md, as the code names them."""

from __future__ import annotations

import re
from pathlib import Path

from service.policy.attributes import CONTEXT, PRINCIPAL, RESOURCE

PAGE = Path(__file__).resolve().parents[2] / "policies" / "README.md"
_TABLE = re.compile(r"(\| attribute \| type \| value \|\n\| --- \| --- \| --- \|\n)(?:\|.*\n|@ATTRIBUTES@\n)*")


def rewrite_table(text: str) -> str:
    """The page, its table being what the code says now."""
    rows = [(name, "", attribute) for names in (PRINCIPAL, CONTEXT) for name, attribute in names.items()]
    rows += [
        (name, f" of {_with_article(kind)}", attribute)
        for kind, names in RESOURCE.items()
        for name, attribute in names.items()
    ]
    lines = [f"| `{name}`{of} | `{attribute.type}` | {attribute.description} |\n" for name, of, attribute in rows]
    return _TABLE.sub(lambda found: found[1] + "".join(lines), text, count=1)


def _with_article(kind: str) -> str:
    words = kind.replace("_", " ")
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
