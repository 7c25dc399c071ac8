"""Functions that turn the rows of one table, as the binlog has them, into packed rows. Pure.

Rows are the hot path, so each table gets functions of its own, written as Python source and compiled once: neighbouring
columns of fixed size are read by one struct, constant parts of the packed row are constants, and no loop over
columns is left.  Which columns are NULL is the same for most rows of a table; so there is one function per pattern
of NULLs for the first patterns that come, and one for all others, which looks at every bit.

The functions of a pattern, with `data` and the place behind the row's NULL bits:

- `pack(data, pos) -> (packed row, end)`,
- `scan(data, pos) -> (the key's bytes as they are in `data`, end)`, much faster, to see whether an update changed
  the key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from towline.adapters.mysql import table_map as tm
from towline.adapters.mysql.column_codec import ColumnCodec
from towline.domain.changes import NULL_CELL

RowFunction = Callable[[bytes, int], tuple[bytes, int]]

_COUNT = Struct(">H")
_LENGTH = Struct(">I")
# A table whose NULLs are scattered has one pattern per row nearly; compiling is slower than looking.
MAX_PATTERNS: Final = 24
_SHORT: Final = 512


def _cell_head(size: int) -> bytes:
    return b"t" + _LENGTH.pack(size)


_HEADS: Final = tuple(_cell_head(size) for size in range(_SHORT))
_TINY_CELLS: Final = {
    is_unsigned: tuple(
        _cell_head(len(text)) + text
        for text in (b"%d" % (byte if is_unsigned or byte < 128 else byte - 256) for byte in range(256))
    )
    for is_unsigned in (False, True)
}
_INTEGER_CODES: Final = {
    (2, False): "h",
    (2, True): "H",
    (4, False): "i",
    (4, True): "I",
    (8, False): "q",
    (8, True): "Q",
}


@dataclass(frozen=True, slots=True)
class PatternFunctions:
    pack: RowFunction
    scan: RowFunction


class RowPlan:
    """The functions of one table; `included` are the numbers of the columns that the packed row has, in order."""

    def __init__(self, codecs: Sequence[ColumnCodec], included: Sequence[int], key: Sequence[int]) -> None:
        """`key`: the numbers of the key's columns among all columns."""
        self.codecs = tuple(codecs)
        self.included = tuple(included)
        self.null_size = (len(codecs) + 7) // 8
        self._key = frozenset(key)
        self._patterns: dict[bytes, PatternFunctions] = {}
        self._any_pattern: dict[bytes, PatternFunctions] = {}

    def functions(self, nulls: bytes) -> PatternFunctions:
        """The functions for rows with these NULL bits."""
        found = self._patterns.get(nulls) or self._any_pattern.get(nulls)
        if found is None:
            bits = int.from_bytes(nulls, "little")
            if len(self._patterns) < MAX_PATTERNS:
                found = self._patterns[nulls] = self._compile(bits)
            else:
                # Remembered only to save the next look-up; the functions are the same for all of these.
                if len(self._any_pattern) >= 4096:
                    self._any_pattern.clear()
                found = self._any_pattern[nulls] = self._interpret(bits)
        return found

    def _compile(self, nulls: int) -> PatternFunctions:
        return PatternFunctions(
            _Source(self.codecs, self.included, nulls).pack_function(),
            _Source(self.codecs, self.included, nulls).scan_function(self._key),
        )

    def _interpret(self, nulls: int) -> PatternFunctions:
        codecs, included, key = self.codecs, frozenset(self.included), self._key
        head = _COUNT.pack(len(self.included))
        present = [number for number in range(len(codecs)) if not nulls >> number & 1]

        def pack(data: bytes, pos: int) -> tuple[bytes, int]:
            cells = [NULL_CELL] * len(codecs)
            for number in present:
                codec = codecs[number]
                raw, pos = codec.read_raw(data, pos)
                if number in included:
                    text = codec.text_of(raw)
                    cells[number] = _cell_head(len(text)) + text
            return head + b"".join([cells[number] for number in self.included]), pos

        def scan(data: bytes, pos: int) -> tuple[bytes, int]:
            parts = []
            for number in present:
                begin = pos
                _, pos = codecs[number].read_raw(data, pos)
                if number in key:
                    parts.append(data[begin:pos])
            return b"".join(parts), pos

        return PatternFunctions(pack, scan)


class _Source:
    """Writes the source of the functions of one pattern."""

    def __init__(self, codecs: Sequence[ColumnCodec], included: Sequence[int], nulls: int) -> None:
        self._codecs = codecs
        self._included = frozenset(included)
        self._head = _COUNT.pack(len(included))
        self._nulls = nulls
        self._lines: list[str] = []
        self._globals: dict[str, Any] = {
            "HEADS": _HEADS,
            "TINY": _TINY_CELLS[False],
            "UTINY": _TINY_CELLS[True],
            "join": b"".join,
            "head_of": _cell_head,
        }
        self._constant = b""
        self._parts: list[str] = []

    def pack_function(self) -> RowFunction:
        self._constant = self._head
        run: list[int] = []
        for number, codec in enumerate(self._codecs):
            if self._is_null(number):
                # Its place among the cells is that of its number, so the run before it has to be written first.
                if number in self._included:
                    self._write_run(run)
                    self._constant += NULL_CELL
            elif codec.length_size:
                self._write_run(run)
                self._write_variable(number)
            else:
                run.append(number)
        self._write_run(run)
        self._flush_constant()
        parts = self._parts[0] if len(self._parts) == 1 else f"join(({', '.join(self._parts)}))"
        return self._build(f"return {parts}, pos")

    def scan_function(self, key: frozenset[int]) -> RowFunction:
        offset = 0  # from `pos` to the next column; fixed sizes are only added up
        keys: list[str] = []
        for number, codec in enumerate(self._codecs):
            if self._is_null(number):
                continue
            if not codec.length_size:
                if number in key:
                    self._lines.append(f"k{number} = data[pos + {offset} : pos + {offset + codec.size}]")
                    keys.append(f"k{number}")
                offset += codec.size
                continue
            if offset:
                self._lines.append(f"pos += {offset}")
                offset = 0
            self._lines.append(f"end = pos + {codec.length_size} + {_length_source(codec.length_size)}")
            if number in key:
                self._lines.append(f"k{number} = data[pos:end]")
                keys.append(f"k{number}")
            self._lines.append("pos = end")
        found = keys[0] if len(keys) == 1 else f"join(({', '.join(keys)},))" if keys else "b''"
        return self._build(f"return {found}, pos + {offset}")

    # --- parts of a row ---------------------------------------------------------------------------

    def _is_null(self, number: int) -> bool:
        return bool(self._nulls >> number & 1)

    def _write_run(self, run: list[int]) -> None:
        """Read columns of fixed size at once, then write each; empties the run."""
        if not run:
            return
        form, names = "<", []
        for number in run:
            code, code_names = self._struct_part(number)
            form += code
            names += code_names
        struct = Struct(form)
        if names:
            name = f"unpack_{run[0]}"
            self._globals[name] = struct.unpack_from
            self._lines.append(f"{', '.join(names)}, = {name}(data, pos)")
        self._lines.append(f"pos += {struct.size}")
        for number in run:
            if number in self._included:
                self._write_fixed(number)
        run.clear()

    def _struct_part(self, number: int) -> tuple[str, list[str]]:
        codec = self._codecs[number]
        if number not in self._included:
            return f"{codec.size}x", []
        if codec.integer is not None:
            size, is_unsigned = codec.integer
            if size == 1:
                return "B", [f"v{number}"]
            if size == 3:
                return ("HB" if is_unsigned else "Hb"), [f"v{number}", f"w{number}"]
            return _INTEGER_CODES[codec.integer], [f"v{number}"]
        if codec.kind == tm.FLOAT:
            return "f", [f"v{number}"]
        if codec.kind == tm.DOUBLE:
            return "d", [f"v{number}"]
        return f"{codec.size}s", [f"v{number}"]

    def _write_fixed(self, number: int) -> None:
        codec = self._codecs[number]
        if codec.integer is not None:
            self._write_integer(number, *codec.integer)
        elif codec.render_number is not None:
            self._globals[f"number_{number}"] = codec.render_number
            self._write_text(number, f"number_{number}(v{number})")
        elif codec.labels is not None:
            # The whole cell is known in advance.
            self._globals[f"cells_{number}"] = tuple(_cell_head(len(label)) + label for label in codec.labels)
            self._write_part(f"cells_{number}[int_from_bytes(v{number}, 'little')]")
        else:
            self._write_rendered(number, f"v{number}")

    def _write_integer(self, number: int, size: int, is_unsigned: bool) -> None:
        if size == 1:
            self._write_part(f"{'UTINY' if is_unsigned else 'TINY'}[v{number}]")
        elif size == 3:
            self._write_text(number, f"b'%d' % (v{number} + (w{number} << 16))")
        else:
            self._write_text(number, f"b'%d' % v{number}")

    def _write_variable(self, number: int) -> None:
        codec = self._codecs[number]
        size = codec.length_size
        if number not in self._included:
            self._lines.append(f"pos += {size} + {_length_source(size)}")
            return
        self._lines += [
            f"n{number} = {_length_source(size)}",
            f"pos += {size}",
            f"end = pos + n{number}",
            f"v{number} = data[pos:end]",
            "pos = end",
        ]
        if codec.render is not None:
            self._write_rendered(number, f"v{number}")
        elif size == 1:
            self._write_part(f"HEADS[n{number}]")
            self._write_part(f"v{number}")
        else:
            self._write_part(f"HEADS[n{number}] if n{number} < {_SHORT} else head_of(n{number})")
            self._write_part(f"v{number}")

    def _write_rendered(self, number: int, raw: str) -> None:
        codec = self._codecs[number]
        if codec.render is not None:
            self._globals[f"render_{number}"] = codec.render
            raw = f"render_{number}({raw})"
        if codec.text_size is not None:
            self._constant += _cell_head(codec.text_size)
            self._write_part(raw)
        else:
            self._write_text(number, raw, is_short=not codec.length_size)

    def _write_text(self, number: int, expression: str, *, is_short: bool = True) -> None:
        self._lines.append(f"c{number} = {expression}")
        if is_short and self._codecs[number].kind != tm.SET:
            self._write_part(f"HEADS[len(c{number})]")
        else:
            self._write_part(f"head_of(len(c{number}))")
        self._write_part(f"c{number}")

    def _write_part(self, expression: str) -> None:
        self._flush_constant()
        self._parts.append(expression)

    def _flush_constant(self) -> None:
        if self._constant:
            self._parts.append(repr(self._constant))
            self._constant = b""

    def _build(self, result: str) -> RowFunction:
        # Nothing of the source comes from the server: names and numbers are our own, values are in the globals.
        source = "\n    ".join(["def decode(data, pos):", *self._lines, result])
        self._globals["int_from_bytes"] = int.from_bytes
        names: dict[str, Any] = {}
        exec(compile(source, "<row decoder>", "exec"), self._globals, names)
        function: RowFunction = names["decode"]
        return function


def _length_source(size: int) -> str:
    if size == 1:
        return "data[pos]"
    if size == 2:
        return "(data[pos] | data[pos + 1] << 8)"
    return f"int_from_bytes(data[pos : pos + {size}], 'little')"
