"""Finds public keys that are known to be weak, in under a millisecond. Pure.

RSA: NIST SP 800-89 section 5.3.3 (length, exponent, small factors), the fingerprint of ROCA (CVE-2017-15361, Nemec et
al., "The Return of Coppersmith's Attack", section 5) and primes so close that Fermat's method finds them at once
(CVE-2022-26320). Ed25519: points of small order, with which anybody can sign. Points of other curves are checked when
they are read. Not detected: a prime modulus, a factor shared with another key, a poor random source, and primes that
are close but not close enough for Fermat's method.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
MIN_EXPONENT: Final = 2**16 + 1
MAX_EXPONENT_BITS: Final = 256
MAX_SMALL_FACTOR: Final = 752
MAX_ROCA_PRIME: Final = 167
FERMAT_ROUNDS: Final = 20


def find_weakness(key: PublicKeyTypes) -> str | None:
    """The weakness of the key as a slug; None if none is known."""
    if isinstance(key, RSAPublicKey):
        numbers = key.public_numbers()
        return _find_rsa_weakness(numbers.n, numbers.e)
    if isinstance(key, Ed25519PublicKey) and _y_coordinate(key) in _SMALL_ORDER:
        return "small-order"
    return None


def _find_rsa_weakness(modulus: int, exponent: int) -> str | None:
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        return "modulus-length"
    if exponent < MIN_EXPONENT or exponent.bit_length() > MAX_EXPONENT_BITS or exponent % 2 == 0:
        return "exponent"
    if math.gcd(modulus, _SMALL_PRIMES_PRODUCT) != 1:
        return "small-factor"
    if all(modulus % prime in powers for prime, powers in _POWERS.items()):
        return "roca"
    return "close-primes" if _has_close_factors(modulus) else None


def _has_close_factors(modulus: int) -> bool:
    """Fermat's method: modulus = a * a - b * b, starting at the smallest a. Finds squares of a prime too."""
    a = math.isqrt(modulus - 1) + 1
    for step in range(FERMAT_ROUNDS):
        square = (a + step) ** 2 - modulus
        if math.isqrt(square) ** 2 == square:
            return True
    return False


def _y_coordinate(key: Ed25519PublicKey) -> int:
    """The point's y (RFC 8032 section 5.1.2), reduced, since a decoder may accept a value beyond the field's prime."""
    return (int.from_bytes(key.public_bytes_raw(), "little") & (2**255 - 1)) % _FIELD


def _primes(maximum: int) -> list[int]:
    return [number for number in range(2, maximum + 1) if all(number % prime for prime in range(2, number))]


_SMALL_PRIMES_PRODUCT: Final = math.prod(_primes(MAX_SMALL_FACTOR))
# ROCA's primes are k * M + (65537 ** a mod M) for a product M of small primes, so modulo each of these primes the
# modulus is a power of 65537. One in 2 ** 27.8 other moduli is so by chance.
_POWERS: Final = {
    prime: frozenset(pow(65537, power, prime) for power in range(prime)) for prime in _primes(MAX_ROCA_PRIME)[1:]
}
_FIELD: Final = 2**255 - 19
# The y of the points whose order divides 8: of order 1, 2, 4, and the two values of order 8.
_ORDER_8: Final = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER: Final = frozenset({1, _FIELD - 1, 0, _ORDER_8, _FIELD - _ORDER_8})
