"""JSON that two readers cannot understand differently: UTF-8 only, no repeated members, no NaN. Pure: owns no state."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

# Far more than a hundred keys need, and few enough that no Python version runs out of stack while reading.
_MAX_OPENED = 600


def read_object(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`.

    Raises ValueError for anything that is not one: another encoding than UTF-8 or a byte order mark (RFC 8259 section
    8.1), repeated member names at any depth (RFC 7515 section 4), NaN, Infinity and numbers beyond a double, lone
    surrogates, and nesting too deep to read.
    """
    text = data.decode("utf-8")
    if text.count("[") + text.count("{") > _MAX_OPENED:
        raise ValueError("nested too deeply")
    try:
        value = _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 — one error for every reason
    # Only an escape can bring a lone surrogate: strict UTF-8 holds none.
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is repeated")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_float=_finite, parse_constant=_no_constant)
