"""Where input is wrong: a field of a request, or a place in a policy file. Pure: owns no state.

They travel in errors.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: `field` is a path such as `rows[3].minutes` or `query.cursor`; `message` says what is wanted."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Complaint:
    """One reason why a policy is refused: `file` as in policies/, `line` and `column` from 1, 0 for a whole file."""

    file: str
    line: int
    column: int
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: "
        return place + self.message + (f" ({self.suggestion})" if self.suggestion else "")
