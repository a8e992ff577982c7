"""The proxies whose headers are trusted, by address or network. Pure: owns no state."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from service.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Sequence


class TrustedProxies:
    """`proxies`: addresses or networks, such as 10.0.0.0/8. Raises Misconfigured if one of them is neither."""

    def __init__(self, proxies: Sequence[str]) -> None:
        try:
            self._networks = tuple(ip_network(proxy) for proxy in proxies)
        except ValueError as error:
            raise Misconfigured("A trusted proxy must be an address or a network, such as 10.0.0.0/8") from error

    def __contains__(self, address: str | None) -> bool:
        """Whether this is a proxy's address. An IPv4 address that a listener shows as IPv6 counts as IPv4."""
        if not self._networks:
            return False
        try:
            parsed = ip_address(address or "")
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)
