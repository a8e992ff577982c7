"""Devices that wait for a person to say yes (RFC 8628): owns their requests, in memory, bounded, for ten minutes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.development.authorization_server.expiring import ExpiringStore

if TYPE_CHECKING:
    from service.development.authorization_server.sessions import SignIn

LIFETIME_SECONDS = 600
INTERVAL_SECONDS = 1
SLOWER_BY_SECONDS = 5
_CAPACITY = 1000


@dataclass(slots=True)
class DeviceRequest:
    """One device. `scope` is what it asked for, and, once somebody said yes, what was granted."""

    client_id: str
    user_code: str
    scope: str
    expires_at: float
    interval: float = INTERVAL_SECONDS
    asked_at: float | None = None
    decided: bool = False
    sign_in: SignIn | None = None

    def get_client_id(self) -> str:
        return self.client_id

    def get_scope(self) -> str:
        return self.scope

    def get_user_code(self) -> str:
        return self.user_code

    def is_expired(self) -> bool:
        return time.monotonic() >= self.expires_at

    def asks_too_often(self) -> bool:
        """Note that the device asks; whether it waited too little. Then it must wait longer (section 3.5)."""
        now = time.monotonic()
        hasty = self.asked_at is not None and now - self.asked_at < self.interval
        self.asked_at = now
        self.interval += SLOWER_BY_SECONDS if hasty else 0
        return hasty


class DeviceRequests:
    """The requests, found by the device's code or by the person's."""

    def __init__(self) -> None:
        # Kept for longer than they live: an expired one is told apart from one that never was.
        kept = 2 * LIFETIME_SECONDS
        self._by_device: ExpiringStore[DeviceRequest] = ExpiringStore(seconds=kept, capacity=_CAPACITY)
        self._by_person: ExpiringStore[DeviceRequest] = ExpiringStore(seconds=kept, capacity=_CAPACITY)

    def add(self, client_id: str, scope: str, device_code: str, user_code: str) -> None:
        made = DeviceRequest(client_id, user_code, scope, time.monotonic() + LIFETIME_SECONDS)
        self._by_device.put(device_code, made)
        self._by_person.put(_letters(user_code), made)

    def of_device(self, device_code: str) -> DeviceRequest | None:
        return self._by_device.find(device_code)

    def of_person(self, user_code: str) -> DeviceRequest | None:
        """The request of this code, however it is spelt (section 6.1), while it waits for a decision."""
        found = self._by_person.find(_letters(user_code))
        return None if found is None or found.decided or found.is_expired() else found

    def spend(self, device_code: str) -> None:
        """The device has its tokens: its code is good once."""
        self._by_device.take(device_code)


def _letters(user_code: str) -> str:
    return "".join(filter(str.isalnum, user_code.upper()))
