"""What contracts answer in words of fixed size, read in a seventh of the time eth_abi takes.

`decode` knows values of a word each, structs of them, and one array of either; it says nothing to all else, nor to data
that is not exactly as the ABI has it: eth_abi then reads it, or says what is wrong. A test holds the two together.
Layout: https://docs.soliditylang.org/en/latest/abi-spec.html#formal-specification-of-the-encoding
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

WORD = 32

_Read = Callable[[bytes], Any]
_UINT = re.compile(r"uint(\d+)")
_BYTES = re.compile(r"bytes(\d+)")
_STRUCT = re.compile(r"\(([^()\[\]]*)\)")


class _UnfitError(Exception):
    """The data, or the type, is left to eth_abi."""


def decode(types: Sequence[str], data: bytes) -> tuple[Any, ...] | None:
    """Values as `eth_abi` gives them, or None if they are not for this module.

    Args:
        types: The ABI's, with structs spelled out, such as `(uint8,address)[]`.
        data: What a contract answered, or what an event holds.
    """
    layout = _layout(tuple(types))
    if layout is None:
        return None
    try:
        return layout(data)
    except _UnfitError:
        return None


@cache
def _layout(types: tuple[str, ...]) -> Callable[[bytes], tuple[Any, ...]] | None:
    try:
        if len(types) == 1 and types[0].endswith("[]"):
            return _array(*_value(types[0][:-2]))
        readers = [_value(kind) for kind in types]
    except _UnfitError:
        return None
    return _row(readers)


def _row(readers: Sequence[tuple[_Read, int]]) -> Callable[[bytes], tuple[Any, ...]]:
    """Reads values one after the other."""
    parts, start = [], 0
    for read, size in readers:
        parts.append((read, start, start + size))
        start += size

    def values(data: bytes) -> tuple[Any, ...]:
        if len(data) < start:
            raise _UnfitError
        return tuple([read(data[first:last]) for read, first, last in parts])

    return values


def _array(read: _Read, size: int) -> Callable[[bytes], tuple[Any, ...]]:
    """Reads an only value that is an array: where it begins, how many it has, and those."""
    begin = 2 * WORD

    def values(data: bytes) -> tuple[Any, ...]:
        count = int.from_bytes(data[WORD:begin], "big")
        if int.from_bytes(data[:WORD], "big") != WORD or len(data) != begin + count * size:
            raise _UnfitError
        return (tuple([read(data[start : start + size]) for start in range(begin, len(data), size)]),)

    return values


def _value(kind: str) -> tuple[_Read, int]:
    """How a word or a struct of words is read, and how many bytes it has."""
    struct = _STRUCT.fullmatch(kind)
    if struct is None:
        return _word(kind), WORD
    parts = [(_word(part), WORD) for part in struct[1].split(",")]
    return _row(parts), len(parts) * WORD


def _word(kind: str) -> _Read:
    if uint := _UINT.fullmatch(kind):
        return _below(1 << int(uint[1]))
    if fixed := _BYTES.fullmatch(kind):
        return _left(int(fixed[1]))
    if kind == "bool":
        return _bool
    if kind == "address":
        return _address
    raise _UnfitError


def _below(bound: int) -> _Read:
    def number(word: bytes) -> int:
        value = int.from_bytes(word, "big")
        if value >= bound:
            raise _UnfitError
        return value

    return number


def _left(size: int) -> _Read:
    empty = bytes(WORD - size)

    def start(word: bytes) -> bytes:
        if word[size:] != empty:
            raise _UnfitError
        return word[:size]

    return start


_TRUTH = {bytes(WORD): False, bytes(WORD - 1) + b"\1": True}
_NO_BYTES = bytes(12)


def _bool(word: bytes) -> bool:
    truth = _TRUTH.get(word)
    if truth is None:
        raise _UnfitError
    return truth


def _address(word: bytes) -> str:
    if word[:12] != _NO_BYTES:
        raise _UnfitError
    return f"0x{word[12:].hex()}"
