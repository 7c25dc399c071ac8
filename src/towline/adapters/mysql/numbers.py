"""Numbers as the server's text protocol writes them. Pure.

Exactness: a DOUBLE is written with the fewest digits that read back as the same value, as the server does.  A FLOAT
is written as the DOUBLE of the same value: the server itself writes a FLOAT with six digits only, which loses
some, so whoever reads FLOAT by SQL asks for the DOUBLE of it (see `text_form`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# From this many digits before the point on, and from as many zeros after it on, the server writes an exponent.
_MAX_PLAIN_DIGITS: Final = 15
_DIGITS_PER_WORD: Final = 9
_BYTES_OF_DIGITS: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def render_double(value: float) -> bytes:
    """The shortest text that reads back as `value`."""
    text = repr(value)
    if "e" not in text:
        if text.endswith(".0"):
            text = text[:-2]
            if len(text) <= _MAX_PLAIN_DIGITS:
                return text.encode()
        else:
            return text.encode()
    return _render_wide(text)


def render_double_unsigned_zero(value: float) -> bytes:
    """As MariaDB writes it, which keeps -0 but shows it as 0."""
    return render_double(value) if value else b"0"


def _render_wide(text: str) -> bytes:
    """Numbers for which the server and Python may differ in where an exponent begins."""
    sign = "-" if text.startswith("-") else ""
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading_zeros = len(whole + fraction) - len(digits)
    # The value is 0.DIGITS times ten to the power of `point`.
    point = len(whole) - leading_zeros + int(exponent or "0")
    digits = digits.rstrip("0")
    if not digits:
        return f"{sign}0".encode()
    if not (-_MAX_PLAIN_DIGITS < point <= _MAX_PLAIN_DIGITS or 0 < point < len(digits)):
        rest = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{rest}e{point - 1}".encode()
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}".encode()
    if len(digits) <= point:
        return f"{sign}{digits.ljust(point, '0')}".encode()
    return f"{sign}{digits[:point]}.{digits[point:]}".encode()


def decimal_size(precision: int, scale: int) -> int:
    """How many bytes a DECIMAL(precision, scale) takes in its binary form."""
    whole = precision - scale
    return (
        whole // _DIGITS_PER_WORD * 4
        + _BYTES_OF_DIGITS[whole % _DIGITS_PER_WORD]
        + scale // _DIGITS_PER_WORD * 4
        + _BYTES_OF_DIGITS[scale % _DIGITS_PER_WORD]
    )


def decimal_renderer(precision: int, scale: int, *, width: int = 0) -> Callable[[bytes], bytes]:
    """A function from the binary form of a DECIMAL to its text; `width` > 0 fills with zeros up to it.

    The binary form is big-endian, nine digits in four bytes, the odd digits at both ends in as few as hold them; the
    highest bit is set for positive values, and every bit of a negative one is inverted.
    """
    size = decimal_size(precision, scale)
    sign_bit = 1 << (8 * size - 1)
    inverted = (1 << (8 * size)) - 1
    words = _word_layout(precision - scale, scale, size)
    whole_words = words[0]
    fraction_words = words[1]
    if len(whole_words) == 1 and len(fraction_words) <= 1 and not width:
        return _small_renderer(sign_bit, inverted, whole_words[0], fraction_words)

    def render(raw: bytes) -> bytes:
        bits = int.from_bytes(raw, "big") ^ sign_bit
        is_negative = bits & sign_bit
        if is_negative:
            bits ^= inverted
        whole = 0
        for shift, mask, digits in whole_words:
            whole = whole * 10**digits + (bits >> shift & mask)
        text = b"%d" % whole
        if fraction_words:
            text += b"."
            for shift, mask, digits in fraction_words:
                text += b"%0*d" % (digits, bits >> shift & mask)
        if is_negative:
            return b"-" + text
        return text.zfill(width) if width else text

    return render


_Word = tuple[int, int, int]  # shift, mask, digits


def _word_layout(whole_digits: int, fraction_digits: int, size: int) -> tuple[list[_Word], list[_Word]]:
    whole = [whole_digits % _DIGITS_PER_WORD] + [_DIGITS_PER_WORD] * (whole_digits // _DIGITS_PER_WORD)
    fraction = [_DIGITS_PER_WORD] * (fraction_digits // _DIGITS_PER_WORD) + [fraction_digits % _DIGITS_PER_WORD]
    shift = 8 * size
    layouts: list[list[_Word]] = []
    for group in (whole, fraction):
        layout = []
        for digits in group:
            if digits:
                word_bits = 8 * _BYTES_OF_DIGITS[digits]
                shift -= word_bits
                layout.append((shift, (1 << word_bits) - 1, digits))
        layouts.append(layout)
    return layouts[0], layouts[1]


def _small_renderer(sign_bit: int, inverted: int, whole: _Word, fractions: list[_Word]) -> Callable[[bytes], bytes]:
    whole_shift, whole_mask, _ = whole
    if not fractions:

        def render_whole(raw: bytes) -> bytes:
            bits = int.from_bytes(raw, "big") ^ sign_bit
            if bits & sign_bit:
                return b"-%d" % ((bits ^ inverted) >> whole_shift & whole_mask)
            return b"%d" % (bits >> whole_shift & whole_mask)

        return render_whole
    _, fraction_mask, digits = fractions[0]
    positive, negative = b"%%d.%%0%dd" % digits, b"-%%d.%%0%dd" % digits

    def render_small(raw: bytes) -> bytes:
        bits = int.from_bytes(raw, "big") ^ sign_bit
        if bits & sign_bit:
            bits ^= inverted
            return negative % (bits >> whole_shift, bits & fraction_mask)
        return positive % (bits >> whole_shift, bits & fraction_mask)

    return render_small
