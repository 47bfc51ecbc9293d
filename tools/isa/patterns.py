"""Encodings as patterns over one word of facts, and the lists that the decoder searches.

The facts of an instruction, one bit field each (decode.c makes the same word):

    0-1 prefix: 0 none of them, 1 66, 2 F3, 3 F2      7-8  address size: 1 16, 2 32, 3 64
    2   REX.W or VEX.W                                9    modrm.mod is 3 (no modrm: REX.B)
    3   VEX.L                                         10-12 modrm.reg
    4   64-bit mode                                   13-15 modrm.rm
    5-6 operand size by prefixes: 1 16, 2 32, 3 64

A row is one or two patterns (mask, value): it matches when (facts ^ value) & mask is 0.
Among rows of one opcode that can match the same facts, the one that asks for a prefix
comes first (crc32 before movbe), else the one that asks for strictly more; everything
else is an ambiguity.
"""
from dataclasses import dataclass

from .rows import Bad

PREFIX, WIDE, LONG, MODE64, OPERAND, ADDRESS, MOD3, REG, RM = (
    (0, 2), (2, 1), (3, 1), (4, 1), (5, 2), (7, 2), (9, 1), (10, 3), (13, 3))
VEX_MAPS = 3  # VEX maps 1..3 follow the four legacy maps 0..3 as 4..6
MAPS = 7


@dataclass(frozen=True)
class Pattern:
    mask: int = 0
    value: int = 0

    def also(self, at, value, bits=None):
        """This pattern with one more condition; None: it can then never match."""
        shift, width = at
        mask = ((1 << width) - 1 if bits is None else bits) << shift
        value <<= shift
        if (self.value ^ value) & self.mask & mask:
            return None
        return Pattern(self.mask | mask, self.value | value & mask)

    def overlaps(self, other):
        return (self.value ^ other.value) & self.mask & other.mask == 0

    def implies(self, other):
        """Whatever matches this matches `other`."""
        return other.mask & ~self.mask == 0 and self.overlaps(other)


def operand_condition(row, base):
    """What O16, O32, O64 say of the prefixes, in the mode that `base` allows."""
    size = row.operand_size
    in64 = base.also(MODE64, 1)
    legacy = base.also(MODE64, 0)
    if size is None:
        return [base]
    if row.has("D64"):
        found = {1: [base.also(OPERAND, 1)], 2: [legacy and legacy.also(OPERAND, 2)],
                 3: [in64 and in64.also(OPERAND, 2, bits=2)]}[size]
    elif row.has("F64"):
        found = {1: [legacy and legacy.also(OPERAND, 1)],
                 2: [legacy and legacy.also(OPERAND, 2)], 3: [in64]}[size]
    else:
        found = [base.also(OPERAND, size)]
    return found


def names_general_register(row):
    """VEX.W chooses the width of a general register, which only 64-bit mode has."""
    return any(a.letter in ("E", "G", "R", "B") or (a.letter == "M" and a.size == "y")
               for a in row.args)


def wide_condition(row, base):
    if row.wide is None:
        return [base]
    if row.vex and names_general_register(row):
        in64 = base.also(MODE64, 1)
        in64 = in64 and in64.also(WIDE, row.wide)
        return [in64] + ([base.also(MODE64, 0)] if row.wide == 0 else [])
    return [base.also(WIDE, row.wide)]


def patterns_of(row):
    base = Pattern()
    if row.mode == "LEGACY":
        base = base.also(MODE64, 0)
    elif row.mode == "LONG":
        base = base.also(MODE64, 1)
    if row.prefix is not None:
        base = base.also(PREFIX, row.prefix)
    if row.no_repeat:
        base = base.also(PREFIX, 0, bits=2)
    if row.long is not None:
        base = base.also(LONG, row.long)
    if row.address_size is not None:
        base = base.also(ADDRESS, row.address_size)
    if row.register is not None:
        base = base.also(MOD3, int(row.register))
    if row.reg is not None:
        base = base.also(REG, row.reg)
    if row.rm is not None:
        base = base.also(RM, row.rm)
    found = [p for w in wide_condition(row, base) if w
             for p in operand_condition(row, w) if p]
    if not found:
        row.bad("mode and operand size leave no encoding")
    merged = merge(found)
    return merged


def merge(found):
    """Two patterns that differ in the mode only are one."""
    if len(found) == 2:
        a, b = found
        if a.mask == b.mask and a.value ^ b.value == 1 << MODE64[0]:
            bit = 1 << MODE64[0]
            return [Pattern(a.mask & ~bit, a.value & ~bit)]
    return found


@dataclass
class Case:
    row: object
    pattern: Pattern


def map_of(row):
    return row.map + VEX_MAPS if row.vex else row.map


def spread(rows):
    """{(map, opcode): [Case]} of all rows."""
    spots = {}
    for row in rows:
        row.patterns = patterns_of(row)
        for n in range(8 if row.plus_r else 1):
            cases = spots.setdefault((map_of(row), row.opcode + n), [])
            cases += [Case(row, p) for p in row.patterns]
    for cases in spots.values():
        part_plus_r(cases)
    return spots


def part_plus_r(cases):
    """90 beside 90+r: the fixed byte is meant without REX.B only."""
    if any(c.row.plus_r for c in cases):
        for c in cases:
            if not c.row.plus_r:
                c.pattern = c.pattern.also(MOD3, 0)
                c.row.patterns = [p.also(MOD3, 0) for p in c.row.patterns]


def check_spot(spot, cases):
    if len({c.row.modrm for c in cases}) > 1:
        one = next(c.row for c in cases if not c.row.modrm)
        two = next(c.row for c in cases if c.row.modrm)
        one.bad(f"has no modrm byte, but {two.id} ({two.where}) with the same opcode has")
    for n, a in enumerate(cases):
        for b in cases[:n]:
            if a.row is b.row or not a.pattern.overlaps(b.pattern):
                continue
            if (a.row.prefix is None) != (b.row.prefix is None):
                continue
            if a.pattern.implies(b.pattern) == b.pattern.implies(a.pattern):
                raise Bad(f"{a.row.where}: {a.row.id}: matches the same bytes as {b.row.id} "
                          f"({b.row.where}), and neither asks for more: "
                          f"{describe(a.pattern)} | {describe(b.pattern)}")


FIELDS = {"prefix": PREFIX, "W": WIDE, "L": LONG, "64-bit": MODE64, "operand size": OPERAND,
          "address size": ADDRESS, "mod=3": MOD3, "reg": REG, "rm": RM}


def describe(p):
    words = []
    for name, (shift, width) in FIELDS.items():
        if p.mask >> shift & ((1 << width) - 1):
            words.append(f"{name}={p.value >> shift & ((1 << width) - 1)}")
    return " ".join(words) or "anything"


def in_order(cases):
    """Who asks for a prefix comes first, then who asks for more."""
    return sorted(cases, key=lambda c: (c.row.prefix is None,
                                        -bin(c.pattern.mask).count("1")))
