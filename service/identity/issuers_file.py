"""Reads a TOML file of issuers: strict, every complaint with its line, so that no misspelt key is silently a default.

Pure but for reading the file and the secrets that it names; nothing is kept.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from service.errors import Misconfigured
from service.identity.issuer import Introspection, Issuer
from service.identity.profiles import PROFILES
from service.places import Complaint, hidden_characters

if TYPE_CHECKING:
    from pathlib import Path

_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)$")
_MAX_BYTES = 256 * 1024
# Key of the file to the kind of its value, and the field of Issuer or Introspection that it fills.
_ISSUER = {
    "name": ("text", "name"),
    "issuer": ("url", "issuer"),
    "audience": ("text", "audience"),
    "jwks_url": ("url", "jwks_url"),
    "discovery_url": ("url", "discovery_url"),
    "algorithms": ("set", "algorithms"),
    "types": ("set", "accepted_types"),
    "prefix": ("text", "prefix"),
    "scope_claim": ("text", "scope_claim"),
    "scope_prefix": ("text", "scope_prefix"),
    "permissions_claim": ("text", "permissions_claim"),
    "machine_scope_claim": ("text", "machine_scope_claim"),
    "roles_claim": ("path", "roles_claim"),
    "groups_claim": ("path", "groups_claim"),
    "groups": ("groups", "groups"),
    "client_claims": ("words", "client_claims"),
    "subject_claim": ("text", "subject_claim"),
    "token_id_claim": ("text", "token_id_claim"),
    "machine": ("text", "machine"),
    "machine_claim": ("pair", "machine_claim"),
    "clients_as_audience": ("set", "clients_as_audience"),
    "max_lifetime": ("number", "max_lifetime"),
    "leeway": ("number", "leeway"),
}
_INTROSPECTION = {
    "url": ("url", "url"),
    "client_id": ("text", "client_id"),
    "client_secret_file": ("file", "client_secret"),
    "private_key_file": ("file", "private_key"),
    "private_key_id": ("text", "private_key_id"),
    "private_key_algorithm": ("text", "private_key_algorithm"),
    "signed": ("flag", "signed"),
    "audience_optional": ("flag", "audience_optional"),
    "subject_optional": ("flag", "subject_optional"),
    "positive_seconds": ("number", "positive_seconds"),
    "negative_seconds": ("number", "negative_seconds"),
}
_WANTED = {
    "text": "a string",
    "url": "an https URL, or in development http on loopback",
    "set": "a list of strings",
    "words": "a list of strings",
    "path": "a claim's name, or a list of the names that lead to it",
    "groups": "a table from each group to a list of roles",
    "pair": "a list of a claim's name and its value",
    "number": "a whole number",
    "flag": "true or false",
    "file": "the name of a file that can be read",
}


def read_issuers_file(path: Path, *, https: bool = True) -> list[Issuer]:
    """The issuers of the file; with `https`, plain http is refused even on loopback.

    Raises Misconfigured with every complaint: file, line, what is wrong, a suggestion.
    """
    reader = _Reader(path, https=https)
    issuers = reader.read()
    if reader.complaints:
        told = "\n  ".join(str(complaint) for complaint in reader.complaints)
        raise Misconfigured(f"The issuers file cannot be used:\n  {told}")
    return issuers


@dataclass(slots=True)
class _Reader:
    path: Path
    https: bool
    complaints: list[Complaint] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def read(self) -> list[Issuer]:
        try:
            data = self.path.read_bytes()
            text = data.decode("utf-8") if len(data) <= _MAX_BYTES else ""
            document = tomllib.loads(text)
        except (OSError, UnicodeDecodeError) as error:
            self._complain(0, f"This cannot be read: {type(error).__name__}")
            return []
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            place = _PLACE.search(str(error))
            self._complain(int(place[1]) if place else 0, f"This is not TOML: {_PLACE.sub('', str(error)).strip()}")
            return []
        self.complaints += hidden_characters(self.path.name, text)
        # As TOML counts lines.
        self.lines = text.split("\n")
        tables = document.get("issuer")
        for key in document.keys() - {"issuer"}:
            self._complain(self._line_of(key, 0), f"'{key}' is not known here", "only [[issuer]] tables stand here")
        if not isinstance(tables, list) or not tables or not all(isinstance(one, dict) for one in tables):
            self._complain(0, "This needs an [[issuer]] table for each authorization server")
            return []
        starts = [number for number, line in enumerate(self.lines, 1) if re.match(r"\s*\[\[\s*issuer\s*\]\]", line)]
        starts += [0] * (len(tables) - len(starts))
        found = (self._issuer(table, line) for table, line in zip(tables, starts, strict=False))
        return [one for one in found if one is not None]

    def _issuer(self, table: dict[str, Any], line: int) -> Issuer | None:
        before = len(self.complaints)
        given = dict(table)
        profile = given.pop("profile", None)
        inner = given.pop("introspection", None)
        if profile is not None and (not isinstance(profile, str) or profile not in PROFILES):
            self._complain(
                self._line_of("profile", line), "There is no such profile", f"there are {', '.join(PROFILES)}"
            )
            profile = None
        values = self._values({**PROFILES.get(profile or "", {}), **given}, _ISSUER, line)
        for name in ("name", "issuer", "audience"):
            if name not in given:
                self._complain(line, f"This [[issuer]] has no {name}")
        if inner is not None:
            values["introspection"] = self._introspection(inner, self._line_of("[issuer.introspection]", line))
        if len(self.complaints) > before:
            return None
        made: Issuer | None = self._made(Issuer, values, line)
        return made

    def _introspection(self, table: object, line: int) -> Introspection | None:
        if not isinstance(table, dict):
            self._complain(line, "introspection must be a table")
            return None
        before = len(self.complaints)
        values = self._values(table, _INTROSPECTION, line)
        for name in ("url", "client_id"):
            if name not in table:
                self._complain(line, f"This [issuer.introspection] has no {name}")
        made: Introspection | None = None if len(self.complaints) > before else self._made(Introspection, values, line)
        return made

    def _made(self, kind: type, values: dict[str, Any], line: int) -> Any:
        try:
            return kind(**values)
        except Misconfigured as error:
            self._complain(line, error.public)
            return None

    def _values(self, table: dict[str, Any], known: dict[str, tuple[str, str]], line: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in table.items():
            place = self._line_of(key, line)
            if key not in known:
                near = get_close_matches(key, known, n=1)
                self._complain(place, f"'{key}' is not known here", f"did you mean '{near[0]}'?" if near else None)
                continue
            kind, name = known[key]
            try:
                values[name] = self._value(kind, value)
            except (ValueError, OSError):
                self._complain(place, f"{key} must be {_WANTED[kind]}")
        return values

    def _value(self, kind: str, value: Any) -> Any:  # noqa: PLR0911 — a table
        """The value as the field wants it. Raises ValueError or OSError."""
        match kind, value:
            case ("url", str()) if value.startswith("https://" if self.https else "http"):
                return value
            case ("text" | "path", str()) if value:
                return value
            case ("set", list()) if _strings(value):
                return frozenset(value)
            case ("words" | "path", list()) if value and _strings(value) and all(value):
                return tuple(value)
            case ("pair", [str(), str()]) if all(value):
                return tuple(value)
            case ("groups", dict()) if all(isinstance(one, list) and _strings(one) for one in value.values()):
                return {group: tuple(roles) for group, roles in value.items()}
            case ("number", int()) if not isinstance(value, bool):
                return value
            case ("flag", bool()):
                return value
            case ("file", str()) if value:
                return (self.path.parent / value).read_text(encoding="utf-8").strip()
            case _:
                raise ValueError(kind)

    def _line_of(self, key: str, after: int) -> int:
        """The first line at or after `after` that begins with the key; `after` itself where a profile set it."""
        for number, text in enumerate(self.lines[max(after - 1, 0) :], max(after, 1)):
            if number > after and re.match(r"\s*\[\[", text):
                break
            if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*(=|$|#)", text):
                return number
        return after

    def _complain(self, line: int, message: str, suggestion: str | None = None) -> None:
        self.complaints.append(Complaint(self.path.name, line, 1 if line else 0, message, suggestion))


def _strings(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
