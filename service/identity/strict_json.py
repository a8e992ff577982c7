"""Strict JSON, which every reader understands alike: UTF-8 only, no repeated members, no NaN. Pure: owns no state."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

# More than a set of a hundred keys needs, and few enough that no Python version exhausts its stack.
_MAX_BRACKETS = 600


def read_object(data: bytes) -> dict[str, Any]:
    """Parse the JSON object in `data`.

    Raises ValueError for anything else: another encoding than UTF-8 or a byte order mark (RFC 8259 section 8.1),
    repeated member names at any depth (RFC 7515 section 4), NaN, Infinity and numbers beyond a double, lone surrogates,
    and nesting too deep to read.
    """
    text = data.decode("utf-8")
    if text.count("[") + text.count("{") > _MAX_BRACKETS:
        raise ValueError("nested too deeply")
    try:
        value = _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 — one error for every reason
    # Only an escape can hold a lone surrogate; strict UTF-8 cannot.
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _check_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is repeated")
    return found


def _parse_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_check_members, parse_float=_parse_float, parse_constant=_refuse_constant)
