"""CEL's own runtime: parses, checks and evaluates. The only module that imports `cel_expr_python`.

The library is young, so what it is trusted with is small: the checked tree is read again by `tree`, and an evaluation
that does not end in true or false is unknown.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from cel_expr_python import cel

from service.policy.expressions.source import PRESENCE
from service.policy.expressions.term import TermType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

Types: TypeAlias = "frozenset[tuple[str, TermType]]"
Input: TypeAlias = "bool | int | str | datetime | list[str] | list[int] | list[bool]"


class NotCelError(Exception):
    """CEL's own complaint about a text, in its own words."""


class Program:
    """A checked expression that can be evaluated. `checked`: its serialized CheckedExpr."""

    __slots__ = ("_compiled", "checked")

    def __init__(self, text: str, types: Types) -> None:
        try:
            self._compiled = _environment(types).compile(text)
            self.checked = self._compiled.serialize()
        except RuntimeError as error:
            raise NotCelError(str(error)) from error

    def evaluate(self, values: Mapping[str, Input]) -> bool | None:
        """True or false, or None if a value that decides is missing."""
        value = self._compiled.eval(data=values).value()
        return value if isinstance(value, bool) else None


@lru_cache(maxsize=64)
def _environment(types: Types) -> cel.Env:
    """The attributes as variables, with a second variable for `has()` of each."""
    variables = {name: cel.Type(_NAMES[kind]) for name, kind in types}
    return cel.NewEnv(variables=variables | {PRESENCE + name: cel.Type.BOOL for name, _ in types})


_NAMES = {kind: kind.value for kind in TermType} | {TermType.TIMESTAMP: "timestamp"}
