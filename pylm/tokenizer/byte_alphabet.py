"""GPT-2's printable alphabet: the 256 characters that stand for the 256 bytes in vocabularies of byte-level BPE."""

from __future__ import annotations

from functools import cache

PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]


@cache
def byte_to_char() -> dict[int, str]:
    """Return the character of each byte, in the order that gives the first 256 ids of a trained vocabulary."""
    table = {byte: chr(byte) for byte in PRINTABLE}
    others = [byte for byte in range(256) if byte not in table]
    return {**table, **{byte: chr(256 + index) for index, byte in enumerate(others)}}


@cache
def char_to_byte() -> dict[str, int]:
    """Return the byte of each character."""
    return {char: byte for byte, char in byte_to_char().items()}


def spell(data: bytes) -> str:
    """Return bytes written in the alphabet."""
    table = byte_to_char()
    return "".join(table[byte] for byte in data)


def unspell(token: str) -> bytes | None:
    """Return the bytes that a token of the alphabet stands for, None where a character is none of it."""
    table = char_to_byte()
    try:
        return bytes(map(table.__getitem__, token))
    except KeyError:
        return None
