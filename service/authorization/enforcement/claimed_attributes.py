"""Attributes of the caller that a token claims. They take the place of those in the directory.

A claim of another type than the vocabulary declares gives a missing value, and a line in the log without the value.
Owns when it last told of each, in memory.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from service.authorization.enforcement.attribute_values import read_json
from service.policy.attributes import AttributeType, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.identity.principal import ClaimedValue, Principal
    from service.policy.attributes import Attribute, Value

_log = structlog.get_logger(__name__)
_OF_PRINCIPAL: Final = "principal."
SECONDS_BETWEEN_LINES: Final = 60.0


class ClaimReader:
    """Reads the claims of callers. It tells once a minute of each issuer and attribute that do not fit."""

    def __init__(self) -> None:
        # As many as issuers and attributes are configured.
        self._told: dict[tuple[str, str], float] = {}

    def read(self, principal: Principal, wanted: Mapping[str, Attribute]) -> Mapping[str, Value]:
        """The claimed values of these attributes, by their dotted names; None for a claim of another type."""
        if not principal.attributes or not wanted:
            return {}
        found: dict[str, Value] = {}
        for name, claimed in principal.attributes.items():
            attribute = wanted.get(_OF_PRINCIPAL + name)
            if attribute is not None:
                found[_OF_PRINCIPAL + name] = value = read_claim(claimed, attribute.type)
                if value is None:
                    self._tell(principal.issuer_name, name, attribute.type)
        return found

    def _tell(self, issuer: str, name: str, wanted: AttributeType) -> None:
        now = time.monotonic()
        if now - self._told.get((issuer, name), -SECONDS_BETWEEN_LINES) >= SECONDS_BETWEEN_LINES:
            self._told[issuer, name] = now
            _log.warning("claim_of_wrong_type", issuer=issuer, attribute=name, declared=str(wanted))


def read_claim(claimed: ClaimedValue, wanted: AttributeType) -> Value:
    """The value of a claim; None if it is of another type. A time may have any offset."""
    if wanted is AttributeType.TIMESTAMP:
        return parse_time(claimed) if isinstance(claimed, str) else None
    return read_json(list(claimed) if isinstance(claimed, tuple) else claimed, wanted)


def put_over(directory: Mapping[str, Value], claimed: Mapping[str, Value]) -> Mapping[str, Value]:
    """The values of the directory with claimed ones in their place. A missing value is not there."""
    if not claimed:
        return directory
    return {name: value for name, value in {**directory, **claimed}.items() if value is not None}
