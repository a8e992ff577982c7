"""Counts habits of writing that make code and prose hard to read. `tests/unit/test_habits.py` holds the ceilings.

`python -m tests.habits PATH...` lists what it finds there; without a path it prints the counts of the whole project.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[1]
PLACES = (
    "service",
    "events",
    "tests",
    "docs",
    "policies",
    "README.md",
)
# Its own words, and decisions: they are history.
LEFT_OUT = ("tests/habits.py", "tests/unit/test_habits.py", "docs/decisions/")

NAME, PRONOUN, PARTICIPLE, NOBODY, INVERTED, CLAUSE = (
    "`one` as a name",
    "`one` as a pronoun",
    "a participle as a function",
    "`whoever`, `somebody`, `whatever`",
    "an inverted condition",
    "a clause as the subject",
)
IRREGULAR = (
    "begun|bound|bought|brought|built|caught|chosen|done|drawn|driven|fallen|felt|forgotten|found|given|gone|grown"
    "|heard|held|hidden|kept|known|laid|left|lent|lost|made|meant|met|paid|proven|said|seen|sent|shown|spent"
    "|spoken|stood|sworn|taken|taught|thought|thrown|told|torn|understood|won|worn|written"
)
VERBS = "embed|exceed|feed|need|proceed|seed|shed|speed"
PARTICIPLES = re.compile(rf"_*(?!(?:{VERBS})$)(?:[a-z]+ed|{IRREGULAR})$")
# The number is fine: "in one transaction", "one of these scopes".
PRONOUNS = re.compile(
    r"\b(?:the|this|that|each|every|other|an?|any|no|first|last|next|only|good|new|old|bad|real|own"
    r"|(?:new|old|larg|small|earli|lat|form|latt|short|long|broad|wid|strong|weak|an?oth)er|\w+est|\w+ed|\w+en) one\b"
    r"|\bone (?:that|which|who|whose|may|can|must|would|has|is|was|does|asks|gets)\b|\bones\b",
    re.IGNORECASE,
)
NOBODIES = re.compile(r"\b(?:whoever|whomever|whatever|somebody)\b", re.IGNORECASE)
INVERSIONS = re.compile(
    r"(?:^|[.;:]\s+)(?:Is|Are|Was|Were|Has|Have|Had|Does|Do|Did|Should)\s+(?:there|it|one|an?|the|no|that|this|they|nobody"
    r"|neither|either|any|what|both|all|some)\b[^?.]{0,160}?,\s[^?]{0,200}?\.(?:\s|$)",
    re.MULTILINE,
)
CLAUSES = re.compile(r"(?:^|[.;:]\s+)(?:What|Who)\s(?!is\b[^.?]*\?)[^?.:]{3,160}[a-z][^?.:]*\.(?:\s|$)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One habit at a line of a file."""

    habit: str
    path: str
    line: int
    text: str


def find_in_python(path: str, source: str) -> Iterator[Finding]:
    """The habits in a Python file: its names, its comments and its strings that are sentences."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        name = _name_of(node)
        if name == "one":
            yield Finding(NAME, path, getattr(node, "lineno", 0), name)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # Properties and fixtures are used as nouns.
            noun = any(re.search(r"property$|\bfixture\b", ast.unparse(mark)) for mark in node.decorator_list)
            if PARTICIPLES.match(node.name) and not noun:
                yield Finding(PARTICIPLE, path, node.lineno, node.name)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield from _find_in_prose(path, node.lineno, node.value)
    for line, comment in _comments(source):
        yield from _find_in_prose(path, line, comment)


def find_in_text(path: str, text: str) -> Iterator[Finding]:
    """The habits in a page of documentation."""
    return _find_in_prose(path, 1, text)


def find(paths: Iterable[Path]) -> Iterator[Finding]:
    """The habits in files and in folders below them."""
    for path in sorted(chain.from_iterable(path.rglob("*") if path.is_dir() else [path] for path in paths)):
        name = str(path.resolve().relative_to(ROOT))
        if name.startswith(LEFT_OUT):
            continue
        if path.suffix == ".py":
            yield from find_in_python(name, path.read_text(encoding="utf-8"))
        elif path.suffix == ".md":
            yield from find_in_text(name, path.read_text(encoding="utf-8"))


def _name_of(node: ast.AST) -> str | None:
    """The name that a node gives or uses."""
    return next(
        (
            value.strip("_")
            for part in ("id", "arg", "attr", "name")
            if isinstance(value := getattr(node, part, None), str)
        ),
        None,
    )


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """The blocks of comments, each with its first line."""
    last, first, block = -1, 0, ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        text = token.string.lstrip("# ")
        if line == last + 1:
            block += "\n" + text
        else:
            if block:
                yield first, block
            first, block = line, text
        last = line
    if block:
        yield first, block


def _find_in_prose(path: str, first: int, text: str) -> Iterator[Finding]:
    words = (
        (PRONOUN, PRONOUNS),
        (NOBODY, NOBODIES),
        (INVERTED, INVERSIONS),
        (CLAUSE, CLAUSES),
    )
    for habit, pattern in words:
        for match in pattern.finditer(text):
            start = match.start() + len(match.group()) - len(match.group().lstrip(".;: \n"))
            line = first + text.count("\n", 0, start)
            yield Finding(habit, path, line, " ".join(text[max(0, start - 20) : start + 70].split()))


def main() -> None:
    """Print what stands in the paths that the command line names, or count the whole project."""
    paths = [Path(argument) for argument in sys.argv[1:]]
    findings = list(find(paths or [ROOT / place for place in PLACES if (ROOT / place).exists()]))
    if paths:
        for finding in findings:
            print(f"{finding.path}:{finding.line}: {finding.habit}: {finding.text}")
    for habit, count in Counter(finding.habit for finding in findings).most_common():
        print(f"{count:6}  {habit}")


if __name__ == "__main__":
    main()
