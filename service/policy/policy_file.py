"""A policy as text and as checked rules. Pure but for `PolicyText.read`, which reads a directory such as policies/.

Texts are proposed, stored, compared by digest and activated. Only `parse` and `try_parse` make rules of them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.errors import PolicyRejected
from service.places import Complaint, hidden_characters
from service.policy import casbin_model, rule_rows, toml_places, vocabulary_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from service.policy.access_request import Rule, Vocabulary

LARGEST_TEXT = 1024 * 1024
MAX_CASE_FILES = 200
CASE_FILE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\.yaml")
# The names of the files beside the cases.
FIXED_FILES = (casbin_model.FILE, rule_rows.FILE, toml_places.FILE)
WHERE_CASES_STAND = "case files are named *.yaml and stand directly in cases/"
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class PolicyText:
    """The raw texts of a policy. `cases` maps the name of a file to its text."""

    model: str
    rules: str
    vocabulary: str
    cases: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 in hex over the name and text of every file, each preceded by its length, in the order of `files`."""
        state = hashlib.sha256(b"timewarden policy text 1\n")
        for name, text in self.files():
            for part in (name, text):
                encoded = part.encode("utf-8", "surrogatepass")
                state.update(b"%d:" % len(encoded) + encoded)
        return state.hexdigest()

    def files(self) -> list[tuple[str, str]]:
        """(name, text) of each file as under policies/, in a fixed order."""
        cases = [(f"cases/{name}", self.cases[name]) for name in sorted(self.cases)]
        return [*zip(FIXED_FILES, (self.model, self.rules, self.vocabulary), strict=True), *cases]

    @staticmethod
    def read(directory: Path) -> PolicyText:
        """The texts in a directory such as policies/, without byte order marks.

        Raises PolicyRejected when a file is missing, too large or not UTF-8, and when cases/ holds something else than
        case files.
        """
        complaints: list[Complaint] = []
        model, rules, vocabulary = (_read(directory, name, complaints) for name in FIXED_FILES)
        names = _list_cases(directory, complaints)
        cases = {name: _read(directory, f"cases/{name}", complaints) for name in names}
        if complaints:
            raise PolicyRejected(complaints)
        return PolicyText(model, rules, vocabulary, cases)

    def differing_files(self, directory: Path) -> list[str]:
        """The names of the policy files in a directory that these texts would replace or remove."""
        present = {f"cases/{path.name}" for path in (directory / "cases").glob("*.yaml")}
        present |= {name for name in FIXED_FILES if (directory / name).exists()}
        wanted = {name: text.encode() for name, text in self.files()}
        return sorted(name for name in present if (directory / name).read_bytes() != wanted.get(name))

    def write(self, directory: Path) -> None:
        """Make a directory hold these policy files and no others; what is none stays. Raises PolicyRejected for a name
        that no case file has, and the like."""
        if complaints := _texts(self):
            raise PolicyRejected(complaints)
        wanted = dict(self.files())
        (directory / "cases").mkdir(parents=True, exist_ok=True)
        for path in (directory / "cases").glob("*.yaml"):
            if f"cases/{path.name}" not in wanted:
                path.unlink()
        for name, text in wanted.items():
            (directory / name).write_bytes(text.encode())


@dataclass(frozen=True, slots=True)
class Policy:
    """Checked rules in the order of the file, role links (role, included role), the vocabulary and the texts."""

    rules: tuple[Rule, ...]
    role_links: tuple[tuple[str, str], ...]
    vocabulary: Vocabulary
    model: str
    text: PolicyText


def parse(text: PolicyText) -> Policy:
    """The policy that the texts state. Raises PolicyRejected with every complaint. `case_files` reads the cases."""
    policy, complaints = try_parse(text)
    if policy is None:
        raise PolicyRejected(complaints)
    return policy


def try_parse(text: PolicyText) -> tuple[Policy | None, list[Complaint]]:
    """As `parse`, but returns the complaints. The policy is None if there are any."""
    complaints = _texts(text)
    if complaints:
        return None, complaints
    complaints = casbin_model.check(text.model.removeprefix(_BOM))
    vocabulary, found = vocabulary_file.read(plain_vocabulary(text))
    complaints += found
    if vocabulary is None:
        return None, complaints
    rows = rule_rows.read(text.rules.removeprefix(_BOM), vocabulary)
    complaints += rows.complaints
    if complaints:
        return None, complaints
    return Policy(tuple(rows.rules), tuple(rows.links), vocabulary, text.model, text), []


def plain_vocabulary(text: PolicyText) -> str:
    """The text of the vocabulary as it is read, without a byte order mark and carriage returns."""
    return text.vocabulary.removeprefix(_BOM).replace("\r\n", "\n")


def find_hidden_characters(text: PolicyText) -> list[Complaint]:
    """Complaints about invisible characters, and those that look like a line end.

    A proposal must not have them. A stored version may: it can be older than this check, and replicas must start.
    """
    return [complaint for name, body in text.files() for complaint in hidden_characters(name, body)]


def _texts(text: PolicyText) -> list[Complaint]:
    """Complaints about sizes, names and characters, before anything is read."""
    complaints = [
        Complaint(f"cases/{name}", 0, 0, "The name of a case file must be like approve.yaml, in lower case")
        for name in text.cases
        if not CASE_FILE.fullmatch(name)
    ]
    if len(text.cases) > MAX_CASE_FILES:
        complaints.append(Complaint("cases", 0, 0, f"There are more than {MAX_CASE_FILES} case files"))
    if sum(len(body) for body in text.cases.values()) > LARGEST_TEXT:
        complaints.append(Complaint("cases", 0, 0, f"The case files together exceed {LARGEST_TEXT} characters"))
    for name, body in text.files():
        if len(body) > LARGEST_TEXT:
            complaints.append(Complaint(name, 0, 0, f"The file exceeds {LARGEST_TEXT} characters"))
            continue
        bad = re.search("[\x00\ud800-\udfff]", body)
        if bad:
            line = body.count("\n", 0, bad.start()) + 1
            column = bad.start() - body.rfind("\n", 0, bad.start())
            complaints.append(Complaint(name, line, column, f"The file contains the character U+{ord(bad[0]):04X}"))
    return complaints


def _list_cases(directory: Path, complaints: list[Complaint]) -> list[str]:
    """The names of the case files, sorted. A missing directory has none.

    Anything else there is complained about: the cases of a file that is ignored in silence would seem to pass.
    """
    try:
        names = sorted(path.name for path in (directory / "cases").iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        complaints.append(Complaint("cases", 0, 0, f"The case files cannot be listed: {error.strerror}"))
        return []
    # Editors leave such files beside the ones that they edit.
    names = [name for name in names if not name.startswith(".") and not name.endswith("~")]
    complaints += [
        Complaint(f"cases/{name}", 0, 0, "This is not read as a case file", WHERE_CASES_STAND)
        for name in names
        if not name.endswith(".yaml")
    ]
    return [name for name in names if name.endswith(".yaml")]


def _read(directory: Path, name: str, complaints: list[Complaint]) -> str:
    path = directory / name
    try:
        if path.stat().st_size > 4 * LARGEST_TEXT:
            complaints.append(Complaint(name, 0, 0, f"The file exceeds {LARGEST_TEXT} characters"))
            return ""
        raw = path.read_bytes()
    except OSError as error:
        complaints.append(Complaint(name, 0, 0, f"The file cannot be read: {error.strerror}"))
        return ""
    try:
        return raw.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        complaints.append(Complaint(name, line, column, "The file is not UTF-8", "save it as UTF-8"))
        return ""
