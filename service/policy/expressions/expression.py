"""An expression of a policy: a text that is compiled once, and then evaluated or written as SQL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.policy.attributes import AttributeType, fits
from service.policy.expressions.bounds import check_overflow, possible_truths
from service.policy.expressions.flaw import Flaw, FlawFoundError, flaw_at
from service.policy.expressions.listed import find_prefixed, find_unlisted
from service.policy.expressions.messages import complain_of_comment, explain_complaint, mention_comment
from service.policy.expressions.requirements import exclude_each_other
from service.policy.expressions.runtime import NotCelError, Program
from service.policy.expressions.source import PRESENCE, find_comment, prepare
from service.policy.expressions.sql import write_sql
from service.policy.expressions.term import Presence, Reference, TermType, parts_of
from service.policy.expressions.tree import read
from service.policy.expressions.unknowns import possible_answers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from service.policy.attributes import Attribute, Value
    from service.policy.expressions.bounds import Interval
    from service.policy.expressions.runtime import Input
    from service.policy.expressions.term import Term

__all__ = ["Expression", "Flaw", "can_hold_together", "compile_expression"]


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression of type bool. Equal to another with the same text over attributes of the same types.

    `types`: the attributes that it reads, sorted by name. `attributes`: their names.
    """

    text: str
    types: tuple[tuple[str, AttributeType], ...]
    attributes: frozenset[str] = field(repr=False, compare=False)
    _term: Term = field(repr=False, compare=False)
    _program: Program = field(repr=False, compare=False)
    _present: frozenset[str] = field(repr=False, compare=False)

    @property
    def asked_for_presence(self) -> frozenset[str]:
        """The attributes of which it asks with `has()` whether there is a value."""
        return self._present

    def evaluate(self, values: Mapping[str, Value], absent: Collection[str] = ()) -> bool | None:
        """True, false, or None for unknown. A value that is not there, None or of another type is missing.

        `absent`: attributes of which it is not known whether they are missing, so that `has()` of them is unknown too.
        True and false then hold whatever they are.
        """
        known: dict[str, Input] = {}
        for name, kind in self.types:
            value = values.get(name)
            if value is not None and fits(value, kind):
                known[name] = list(value) if isinstance(value, tuple) else value  # type: ignore[assignment]  # it fits
        for name in self._present.difference(absent):
            known[PRESENCE + name] = name in known
        return self._program.evaluate(known)

    def sql(self, columns: Mapping[str, str]) -> str:
        """One SQL expression of type boolean; NULL for unknown.

        `columns` maps each attribute to SQL of its type: text, bigint, boolean, timestamptz, or an array of these
        without NULL elements. Values beyond the limits of `attributes` must be NULL.
        """
        return write_sql(self._term, columns)

    def bounds(self, known: Mapping[str, Interval | None]) -> frozenset[bool]:
        """The truth values that it can have, and perhaps more. `known`: the least and greatest value of int attributes,
        and the least and greatest size of lists and strings; None for an attribute that is always missing."""
        return possible_truths(self._term, known)

    def answers_without(self, name: str) -> frozenset[bool | None]:
        """The answers that it can give, and perhaps more, while this attribute alone has no value. None is unknown."""
        return possible_answers(self._term, name)

    def find_unlisted(self, listed: Mapping[str, Sequence[str]]) -> list[Flaw]:
        """A flaw for each comparison of an attribute of `listed` with constants that fit none of its values there."""
        return [flaw_at(self.text, found) for found in find_unlisted(self._term, listed)]

    def find_prefixed(self, lists: Collection[str]) -> list[Flaw]:
        """A flaw for each constant such as `role:payroll` that is looked up in `lists`, whose names have no prefix."""
        return [flaw_at(self.text, found) for found in find_prefixed(self._term, lists)]

    def find_comments(self) -> list[Flaw]:
        """A flaw for the first comment. CEL skips it, and its author may have meant a division."""
        place = find_comment(self.text)
        return [] if place is None else [flaw_at(self.text, complain_of_comment(place))]


def can_hold_together(wanted: Iterable[tuple[Expression, bool]]) -> bool:
    """Whether expressions may have these truth values at once. False is certain, true is not."""
    terms = [(expression._term, truth) for expression, truth in wanted]  # noqa: SLF001 — of this module
    return all(truth in possible_truths(term, {}) for term, truth in terms) and not exclude_each_other(terms)


def compile_expression(text: str, known: Mapping[str, Attribute]) -> Expression | Flaw:
    """The expression, or why the text is none that a policy can use. `known`: the attributes by their dotted names."""
    types = {name: TermType(attribute.type.value) for name, attribute in known.items()}
    try:
        prepared = prepare(text)
        try:
            program = Program(prepared, frozenset(types.items()))
        except NotCelError as error:
            raise explain_complaint(str(error), prepared, known) from None
        term = read(program.checked, prepared, types)
        if term.type is not TermType.BOOL:
            raise FlawFoundError(f"The expression must be true or false, not of the type {term.type}", 0, "compare it")
        check_overflow(term)
    except FlawFoundError as found:
        return flaw_at(text, found if find_comment(text) is None else mention_comment(found))
    parts = list(_walk(term))
    present = frozenset(part.name for part in parts if isinstance(part, Presence))
    names = present.union(part.name for part in parts if isinstance(part, Reference))
    types_read = tuple((name, known[name].type) for name in sorted(names))
    return Expression(text, types_read, names, term, program, present)


def _walk(term: Term) -> Iterator[Term]:
    yield term
    for part in parts_of(term):
        yield from _walk(part)
