"""Reads the wire format of protocol buffers, as far as a checked expression needs it: varints and byte strings."""

from __future__ import annotations

from dataclasses import dataclass, field

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_SIGN = 1 << 63


@dataclass(frozen=True, slots=True)
class Message:
    """The fields of a message by number, each with its values in order. A nested message is still bytes."""

    fields: dict[int, list[int | bytes]] = field(default_factory=dict)

    def __contains__(self, number: int) -> bool:
        return number in self.fields

    def number(self, number: int) -> int:
        """A whole number, with its sign; 0 if the message leaves it out."""
        value = self.fields.get(number, [0])[-1]
        if not isinstance(value, int):
            raise TypeError(f"field {number} is no number")
        return value - 2 * _SIGN if value >= _SIGN else value

    def text(self, number: int) -> str:
        return self._bytes(number).decode()

    def message(self, number: int) -> Message:
        return parse(self._bytes(number))

    def messages(self, number: int) -> list[Message]:
        return [parse(value) for value in self.fields.get(number, []) if isinstance(value, bytes)]

    def _bytes(self, number: int) -> bytes:
        value = self.fields.get(number, [b""])[-1]
        if not isinstance(value, bytes):
            raise TypeError(f"field {number} holds no bytes")
        return value


def parse(data: bytes) -> Message:
    """The fields of a message. Raises ValueError for bytes that are none."""
    message, place = Message(), 0
    while place < len(data):
        key, place = _read_varint(data, place)
        value: int | bytes
        if key & 7 == _VARINT:
            value, place = _read_varint(data, place)
        elif key & 7 == _BYTES:
            size, place = _read_varint(data, place)
            value, place = data[place : place + size], place + size
        elif key & 7 in {_FIXED_64, _FIXED_32}:
            size = 8 if key & 7 == _FIXED_64 else 4
            value, place = data[place : place + size], place + size
        else:
            raise ValueError(f"wire type {key & 7} is not known")
        message.fields.setdefault(key >> 3, []).append(value)
    if place != len(data):
        raise ValueError("the message is cut off")
    return message


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    if place < len(data) and data[place] < 0x80:  # noqa: PLR2004 — the continuation bit
        return data[place], place + 1
    value = shift = 0
    while place < len(data):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 — the continuation bit
            return value, place
    raise ValueError("the message is cut off")
