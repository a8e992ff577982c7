"""Makes terms of the syntax tree that CEL has checked, and refuses what is not in the subset.

Field numbers are those of cel/expr/checked.proto and cel/expr/syntax.proto of the CEL specification. CEL has checked
names and types. This module refuses the rest: what SQL cannot say, or would read in another way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.policy.attributes import MAX_INT
from service.policy.expressions import constants, wire
from service.policy.expressions.flaw import FlawFoundError
from service.policy.expressions.other_languages import OVER_A_LIST, suggest_function
from service.policy.expressions.source import PRESENCE, ROOTS
from service.policy.expressions.term import (
    ELEMENTS,
    LISTS,
    ORDERED,
    Element,
    Literal,
    Operation,
    Operator,
    Presence,
    Quantifier,
    Reference,
    TermType,
    is_constant,
    is_measured,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.policy.expressions.term import Term

# Every function. `exists`, `all` and `has` are macros: they are gone from the tree, or have another shape there.
FUNCTIONS: Final = ("size", "startsWith", "endsWith", "contains", "exists", "all", "has", "timestamp", "duration")

_ANY_VALUE, _EXPRESSION, _SOURCE, _POSITIONS = 2, 4, 5, 4
_ID, _CONSTANT, _NAME, _CALL, _LIST, _COMPREHENSION = 2, 3, 4, 6, 7, 9
_NULL, _BOOL, _INT, _STRING = 1, 2, 3, 6
_TARGET, _FUNCTION, _ARGUMENTS = 1, 2, 3
_VARIABLE, _RANGE, _ACCUMULATOR, _START, _STEP, _END = 1, 2, 3, 4, 6, 7

_COMPARISONS: Final = {
    "_==_": Operator.EQUAL,
    "_!=_": Operator.UNEQUAL,
    "_<_": Operator.LESS,
    "_<=_": Operator.AT_MOST,
    "_>_": Operator.GREATER,
    "_>=_": Operator.AT_LEAST,
}
_TRUTHS: Final = {
    "_&&_": Operator.AND,
    "_||_": Operator.OR,
    "!_": Operator.NOT,
    "startsWith": Operator.STARTS_WITH,
    "endsWith": Operator.ENDS_WITH,
    "contains": Operator.CONTAINS,
}
_ARITHMETIC: Final = {
    "_+_": Operator.ADD,
    "_-_": Operator.SUBTRACT,
    "_*_": Operator.MULTIPLY,
    "-_": Operator.NEGATE,
}
_CONSTANTS: Final = {"timestamp": constants.parse_timestamp, "duration": constants.parse_duration}
_NO_DIVISION: Final = ("Expressions cannot divide", "multiply the other side of the comparison")
_WITH_REMEDY: Final = {
    "_/_": _NO_DIVISION,
    "_%_": _NO_DIVISION,
    "_[_]": ("An element of a list has no place", "use in, exists() or all()"),
    "_?_:_": ("?: chooses between two values of one type, and not between lists", None),
    "matches": ("matches() cannot be used here", "use startsWith(), endsWith() or contains()"),
}
# The type of a sum or difference by the types of its operands.
_NUMBER, _TEXT, _TIME, _SPAN = TermType.INT, TermType.STRING, TermType.TIMESTAMP, TermType.DURATION
_SUMS: Final = {(_NUMBER, _NUMBER): _NUMBER, (_TEXT, _TEXT): _TEXT, (_TIME, _SPAN): _TIME, (_SPAN, _TIME): _TIME,
                (_SPAN, _SPAN): _SPAN}  # fmt: skip
_DIFFERENCES: Final = {(_NUMBER, _NUMBER): _NUMBER, (_TIME, _TIME): _SPAN, (_TIME, _SPAN): _TIME, (_SPAN, _SPAN): _SPAN}


def read(checked: bytes, text: str, types: Mapping[str, TermType]) -> Term:
    """The term of a serialized CheckedExpr of `text`. `types`: those of the attributes. Raises FlawFoundError."""
    document = wire.parse(checked).message(_ANY_VALUE)
    places = {entry.number(1): entry.number(2) for entry in document.message(_SOURCE).messages(_POSITIONS)}
    return _Reader(text, types, places).read(document.message(_EXPRESSION))


@dataclass(slots=True)
class _Reader:
    """`variable`: the variable of the quantifier that is being read, and the type of its elements."""

    text: str
    types: Mapping[str, TermType]
    places: Mapping[int, int]
    variable: tuple[str, TermType] | None = None

    def read(self, node: wire.Message) -> Term:
        place = self.places.get(node.number(_ID), 0)
        if _CONSTANT in node:
            return self._read_constant(node.message(_CONSTANT), place)
        if _NAME in node:
            return self._read_name(node.message(_NAME).text(1).removeprefix("."), place)
        if _CALL in node:
            return self._read_call(node.message(_CALL), place)
        if _LIST in node:
            return self._read_list(node.message(_LIST), place)
        if _COMPREHENSION in node:
            return self._read_quantifier(node.message(_COMPREHENSION), place)
        raise FlawFoundError("Maps and messages cannot be written here", place, 'write a list: ["DE", "AT"]')

    def _read_constant(self, node: wire.Message, place: int) -> Literal:
        if _BOOL in node:
            return Literal(TermType.BOOL, bool(node.number(_BOOL)), place)
        if _INT in node:
            number = node.number(_INT)
            if abs(number) > MAX_INT:
                raise FlawFoundError(f"A number must be from -{MAX_INT} to {MAX_INT}", place)
            return Literal(TermType.INT, number, place)
        if _STRING in node:
            text = node.text(_STRING)
            if "\x00" in text:
                raise FlawFoundError("A string cannot hold the character U+0000", place)
            return Literal(TermType.STRING, text, place)
        if _NULL in node:
            raise FlawFoundError("There is no null", place, "has(NAME) says whether an attribute has a value")
        raise FlawFoundError("Constants are strings, whole numbers, true and false", place, "write 40, not 40.0 or 40u")

    def _read_name(self, name: str, place: int) -> Term:
        if self.variable is not None and name == self.variable[0]:
            return Element(self.variable[1], name, place)
        if name.startswith(PRESENCE):
            return Presence(TermType.BOOL, name.removeprefix(PRESENCE), place)
        if name in self.types:
            return Reference(self.types[name], name, self._find_start(name.partition(".")[0], place))
        raise FlawFoundError(f"'{name}' is not a value here", place)

    def _read_list(self, node: wire.Message, place: int) -> Literal:
        values = [self.read(element) for element in node.messages(1)]
        literals = [value for value in values if isinstance(value, Literal)]
        kinds = {value.type for value in values}
        if len(literals) < len(values) or len(kinds) != 1 or not kinds <= LISTS.keys():
            message = "A list must hold one or more constants of one type: strings, numbers, true or false"
            remedy = (
                'write ["DE", "AT"], and compare with attributes by == and ||' if values else "write size(LIST) == 0"
            )
            raise FlawFoundError(message, place, remedy)
        listed = LISTS[kinds.pop()]
        return Literal(listed, tuple(literal.value for literal in literals), place)  # type: ignore[arg-type]  # one type

    def _read_call(self, node: wire.Message, place: int) -> Term:
        function = node.text(_FUNCTION)
        if function in _CONSTANTS:
            return self._read_time(function, node, place)
        nodes = [*node.messages(_TARGET), *node.messages(_ARGUMENTS)]
        operands = tuple(self.read(operand) for operand in nodes)
        if function in _TRUTHS:
            return Operation(TermType.BOOL, _TRUTHS[function], operands, place)
        if function in _COMPARISONS:
            return self._compare(_COMPARISONS[function], operands, place)
        if function in _ARITHMETIC:
            return self._calculate(_ARITHMETIC[function], operands, place)
        return self._read_other_call(function, operands, place)

    def _read_other_call(self, function: str, operands: tuple[Term, ...], place: int) -> Term:
        kinds = tuple(operand.type for operand in operands)
        if function == "@in" and kinds[1] in ELEMENTS:
            return self._look_in_list(operands, place)
        if function == "_?_:_" and kinds[1] is kinds[2] and kinds[1] not in ELEMENTS:
            return Operation(kinds[1], Operator.IF, operands, place)
        if function == "size" and (kinds[0] in ELEMENTS or kinds[0] is TermType.STRING):
            return Operation(TermType.INT, Operator.SIZE, operands, place)
        raise self._refuse_call(function, place)

    def _read_time(self, function: str, node: wire.Message, place: int) -> Literal:
        start = self._find_start(function, place)
        arguments = node.messages(_ARGUMENTS)
        constant = self.read(arguments[0]) if len(arguments) == 1 else None
        if not isinstance(constant, Literal) or not isinstance(constant.value, str):
            raise FlawFoundError(f"{function}() takes a string constant", start, constants.EXAMPLES[function])
        value = _CONSTANTS[function](constant.value)
        if value is None:
            raise FlawFoundError(f"'{constant.value}' is not a {function}", start, constants.EXAMPLES[function])
        return Literal(TermType(function), value, start)

    def _compare(self, operator: Operator, operands: tuple[Term, ...], place: int) -> Operation:
        kinds = {operand.type for operand in operands}
        kind = kinds.pop()
        if kinds:
            raise FlawFoundError(f"{operator} compares values of one type", place)
        if kind in ELEMENTS:
            raise FlawFoundError(f"{operator} does not compare lists", place, "use in, size(), exists() or all()")
        if kind not in ORDERED and operator not in {Operator.EQUAL, Operator.UNEQUAL}:
            raise FlawFoundError(f"{operator} does not compare true and false", place, "use ==, != or !")
        return Operation(TermType.BOOL, operator, operands, place)

    def _calculate(self, operator: Operator, operands: tuple[Term, ...], place: int) -> Operation:
        kinds = tuple(operand.type for operand in operands)
        kind: TermType | None
        if operator is Operator.ADD:
            kind = _SUMS.get((kinds[0], kinds[1]))
        elif operator is Operator.SUBTRACT:
            kind = _DIFFERENCES.get((kinds[0], kinds[1]))
        else:
            kind = TermType.INT if set(kinds) == {TermType.INT} else None
        if kind is None:
            raise FlawFoundError(f"{operator} does not take {' and '.join(kinds)}", place)
        if operator is Operator.MULTIPLY and not any(map(is_constant, operands)):
            raise FlawFoundError("* multiplies by a constant only", place)
        if kind is TermType.TIMESTAMP and any(map(is_measured, operands)):
            raise FlawFoundError(f"{operator} shifts a timestamp by a constant duration only", place)
        return Operation(kind, operator, operands, place)

    def _look_in_list(self, operands: tuple[Term, ...], place: int) -> Operation:
        item, items = operands
        if ELEMENTS[items.type] is not item.type:
            raise FlawFoundError(f"{items.type} holds no {item.type}", place)
        if _decides(item):
            raise FlawFoundError(
                "The left side of `in` must not hold a condition", place, "write c ? a in list : b in list"
            )
        return Operation(TermType.BOOL, Operator.IN, operands, place)

    def _read_quantifier(self, node: wire.Message, place: int) -> Quantifier:
        step, start = node.message(_STEP), node.message(_START)
        function = step.message(_CALL).text(_FUNCTION) if _CALL in step else ""
        is_macro = (
            function in {"_||_", "_&&_"}
            and _CONSTANT in start
            and _BOOL in start.message(_CONSTANT)
            and node.message(_END).message(_NAME).text(1) == node.text(_ACCUMULATOR)
        )
        if not is_macro:
            raise FlawFoundError("Of the macros over lists only exists and all can be used", place, OVER_A_LIST)
        if self.variable is not None:
            raise FlawFoundError("exists and all cannot be nested", place, "write the inner one as `x in list`")
        items = self.read(node.message(_RANGE))
        name = node.text(_VARIABLE)
        if items.type not in ELEMENTS:
            raise FlawFoundError("exists and all look at a list", place)
        if name in ROOTS or name.startswith(PRESENCE):
            raise FlawFoundError(
                f"'{name}' cannot be the name of a list's element", place, "write a short name, such as x"
            )
        self.variable = (name, ELEMENTS[items.type])
        condition = self.read(step.message(_CALL).messages(_ARGUMENTS)[1])
        self.variable = None
        return Quantifier(TermType.BOOL, function == "_&&_", items, name, condition, place)

    def _refuse_call(self, function: str, place: int) -> FlawFoundError:
        if function in _WITH_REMEDY:
            return FlawFoundError(_WITH_REMEDY[function][0], place, _WITH_REMEDY[function][1])
        name = "in" if function == "@in" else function
        return FlawFoundError(
            f"{name}() cannot be used here", self._find_start(name, place), suggest_function(name, FUNCTIONS)
        )

    def _find_start(self, word: str, place: int) -> int:
        """Where a word begins whose place is its end, as CEL counts the places of names and calls."""
        start = self.text.rfind(word, 0, place + len(word))
        return place if start < 0 else start


def _decides(term: Term) -> bool:
    """Whether a term holds a condition. It would have to stand twice in the SQL, and so could grow without bound."""
    return isinstance(term, Operation) and (
        term.operator is Operator.IF or any(_decides(operand) for operand in term.operands)
    )
