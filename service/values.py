"""`Struct`: the base of immutable values that are made for every request. Pure.

It is msgspec's, and made ten times as fast as a frozen dataclass. These values are never decoded, so their annotations
may name types that only the type checker imports. Under msgspec's own name the linter asks for real imports.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

__all__ = ["Struct", "replace"]
T = TypeVar("T")


def replace(value: T, **changes: Any) -> T:
    """A Struct or a dataclass like this one, with other values for some members."""
    replace_members: Any = msgspec.structs.replace if isinstance(value, Struct) else dataclasses.replace
    changed: T = replace_members(value, **changes)
    return changed
