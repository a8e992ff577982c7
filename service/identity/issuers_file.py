"""Reads a TOML file of issuers strictly: a misspelt key is a complaint with its line, and never silently ignored.

Reads the file and the secrets that it names; owns no state.
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

_TOML_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)$")
_MAX_FILE_BYTES = 256 * 1024
# For each key of the file: the kind of its value, and the field of Issuer or Introspection.
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
    "attributes": ("claims", "attributes"),
    "client_claims": ("words", "client_claims"),
    "subject_claim": ("text", "subject_claim"),
    "token_id_claim": ("text", "token_id_claim"),
    "machine": ("text", "machine"),
    "machine_claim": ("pair", "machine_claim"),
    "clients_as_audience": ("set", "clients_as_audience"),
    "agents": ("set", "agents"),
    "acting_clients": ("set", "acting_clients"),
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
_KINDS = {
    "text": "a string",
    "url": "an https URL, or in development http on loopback",
    "set": "a list of strings",
    "words": "a list of strings",
    "path": "a claim's name, or a list of the names that lead to it",
    "groups": "a table from each group to a list of roles",
    "claims": "a table from each attribute to a claim's name, or to a list of the names that lead to it",
    "pair": "a list of a claim's name and its value",
    "number": "a whole number",
    "flag": "true or false",
    "file": "the name of a file that can be read",
}


def read_issuers_file(path: Path, *, https: bool = True) -> list[Issuer]:
    """Read the issuers of the file. With `https`, plain http is refused even on loopback.

    Raises Misconfigured with every complaint: file, line, what is wrong, a suggestion; also for a file that cannot be
    read.
    """
    reader = _Reader(path, https=https)
    issuers = reader.read()
    if reader.complaints:
        complaints = "\n  ".join(map(str, reader.complaints))
        raise Misconfigured(f"The issuers file is not valid:\n  {complaints}")
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
            if len(data) > _MAX_FILE_BYTES:
                self._complain(0, f"The file has {len(data)} bytes; at most {_MAX_FILE_BYTES} are allowed")
                return []
            text = data.decode("utf-8")
            document = tomllib.loads(text)
        except OSError as error:
            raise Misconfigured(f"The issuers file {self.path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            self._complain(0, "The file is not UTF-8", "save it as UTF-8")
            return []
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            place = _TOML_PLACE.search(str(error))
            self._complain(
                int(place[1]) if place else 0, f"This is not TOML: {_TOML_PLACE.sub('', str(error)).strip()}"
            )
            return []
        self.complaints += hidden_characters(self.path.name, text)
        # TOML counts only these line ends.
        self.lines = text.split("\n")
        tables = document.get("issuer")
        for key in document.keys() - {"issuer"}:
            self._complain(self._line_of(key, 0), f"Unknown key '{key}'", "only [[issuer]] tables are allowed here")
        if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
            self._complain(0, "The file needs an [[issuer]] table for each authorization server")
            return []
        starts = [number for number, line in enumerate(self.lines, 1) if re.match(r"\s*\[\[\s*issuer\s*\]\]", line)]
        starts += [0] * (len(tables) - len(starts))
        found = (self._read_issuer(table, line) for table, line in zip(tables, starts, strict=False))
        return [issuer for issuer in found if issuer is not None]

    def _read_issuer(self, table: dict[str, Any], line: int) -> Issuer | None:
        before = len(self.complaints)
        given = dict(table)
        profile = given.pop("profile", None)
        inner = given.pop("introspection", None)
        if profile is not None and (not isinstance(profile, str) or profile not in PROFILES):
            self._complain(self._line_of("profile", line), "Unknown profile", f"the profiles are {', '.join(PROFILES)}")
            profile = None
        values = self._read_values({**PROFILES.get(profile or "", {}), **given}, _ISSUER, line)
        for name in ("name", "issuer", "audience"):
            if name not in given:
                self._complain(line, f"This [[issuer]] has no {name}")
        if inner is not None:
            values["introspection"] = self._read_introspection(inner, self._line_of("[issuer.introspection]", line))
        if len(self.complaints) > before:
            return None
        issuer: Issuer | None = self._build(Issuer, values, line)
        return issuer

    def _read_introspection(self, table: object, line: int) -> Introspection | None:
        if not isinstance(table, dict):
            self._complain(line, "introspection must be a table")
            return None
        before = len(self.complaints)
        values = self._read_values(table, _INTROSPECTION, line)
        for name in ("url", "client_id"):
            if name not in table:
                self._complain(line, f"This [issuer.introspection] has no {name}")
        if len(self.complaints) > before:
            return None
        introspection: Introspection | None = self._build(Introspection, values, line)
        return introspection

    def _build(self, kind: type, values: dict[str, Any], line: int) -> Any:
        try:
            return kind(**values)
        except Misconfigured as error:
            self._complain(line, error.public)
            return None

    def _read_values(self, table: dict[str, Any], known: dict[str, tuple[str, str]], line: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in table.items():
            place = self._line_of(key, line)
            if key not in known:
                near = get_close_matches(key, known, n=1)
                self._complain(place, f"Unknown key '{key}'", f"did you mean '{near[0]}'?" if near else None)
                continue
            kind, name = known[key]
            try:
                values[name] = self._read_value(kind, value)
            except (ValueError, OSError):
                self._complain(place, f"{key} must be {_KINDS[kind]}")
        return values

    def _read_value(self, kind: str, value: Any) -> Any:  # noqa: PLR0911 — a table
        """The value in the field's type. Raises ValueError or OSError."""
        match kind, value:
            case ("url", str()) if value.startswith("https://" if self.https else "http"):
                return value
            case ("text" | "path", str()) if value:
                return value
            case ("set", list()) if _are_strings(value):
                return frozenset(value)
            case ("words" | "path", list()) if value and _are_strings(value) and all(value):
                return tuple(value)
            case ("pair", [str(), str()]) if all(value):
                return tuple(value)
            case ("groups", dict()) if all(isinstance(roles, list) and _are_strings(roles) for roles in value.values()):
                return {group: tuple(roles) for group, roles in value.items()}
            case ("claims", dict()):
                return {name: self._read_value("path", path) for name, path in value.items()}
            case ("number", int()) | ("flag", bool()) if isinstance(value, bool) is (kind == "flag"):
                return value
            case ("file", str()) if value:
                return (self.path.parent / value).read_text(encoding="utf-8").strip()
            case _:
                raise ValueError(kind)

    def _line_of(self, key: str, after: int) -> int:
        """The first line at or after `after` that begins with the key; `after` if a profile set the key."""
        for number, text in enumerate(self.lines[max(after - 1, 0) :], max(after, 1)):
            if number > after and re.match(r"\s*\[\[", text):
                break
            if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*(=|$|#)", text):
                return number
        return after

    def _complain(self, line: int, message: str, suggestion: str | None = None) -> None:
        self.complaints.append(Complaint(self.path.name, line, 1 if line else 0, message, suggestion))


def _are_strings(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
