"""Tables of the decoder, disassembler and encoder as C text."""
from . import patterns
from .patterns import MAPS, MODE64, PREFIX, REG

HEAD_MODRM, HEAD_SPLIT, HEAD_KNOWN = 1, 2, 4

IMMEDIATES = {None: "NONE", "is4": "IS4", "ov": "MOFFS", "ap": "FAR", "iw": "U16", "id": "U32",
              "iz": "Z", "iv": "V", "iq": "V", "cb": "S8", "cz": "Z"}
LINE = 96


def immediate(row, n):
    if n >= len(row.immediates):
        return "NONE"
    word = row.immediates[n]
    if word != "ib":
        return IMMEDIATES[word]
    args = [a for a in row.args if a.letter in "IJAOL" and not a.implied]
    return "S8" if args[n].size == "s" else "U8"


def size_rule(row):
    """How `x86_insn.size` comes about; insn.h says it in words."""
    args = row.args
    default = "D64" if row.has("D64") else "F64" if row.has("F64") else "OPERAND"
    plain = [a for a in args if len(a.letter) == 1 and a.letter not in "PQNVWUHL"]
    if row.has("B8"):
        return "BYTE"
    if any(a.letter in "CD" for a in args):
        return "CONTROL"
    if any(a.size in ("v", "z") for a in plain):
        return default
    if any(a.size == "y" for a in plain):
        return "WIDE"
    if row.vex or any(a.letter in "PQNVWUHL" for a in args):
        return "VECTOR"
    if any((a.letter in "EGMRXYOZ" and a.size == "b") or a.letter == "AL" for a in args):
        return "BYTE"
    return default


def shape_flags(row):
    letters = row.letters()
    words = []
    if any(c in "CD" for c in letters):
        words.append("CONTROL")
    if "D" in letters:
        words.append("DEBUG")
    if any(c in "HB" for c in letters):
        words.append("VVVV")
    if row.vsib:
        words.append("VSIB")
    if any(c in "PS" for c in letters):
        words.append("REG8")
    if "S" in letters:
        words.append("SEGMENT")
    if any(c in "QN" for c in letters) or (row.map == 0 and 0xd8 <= row.opcode <= 0xdf):
        words.append("RM8")
    if row.plus_r:
        words.append("PLUS_R")
    if row.has("LOCK"):
        words.append("LOCK")
    if row.vex:
        words.append("VEX")
    if row.prefix is not None:
        words.append("PREFIX")
    return "|".join("X86_SHAPE_" + w for w in words) or "0"


class Lists:
    """Lists of cases, each kept once."""

    def __init__(self):
        self.cases, self.known = [], {}

    def place(self, cases):
        key = tuple((c.row.id, c.pattern) for c in cases)
        if key not in self.known:
            self.known[key] = len(self.cases)
            self.cases += cases
        return self.known[key]


def split_by_reg(cases):
    """Eight lists, one for each value of modrm.reg."""
    lists = []
    for reg in range(8):
        at = patterns.Pattern().also(REG, reg)
        lists.append([c for c in cases if c.pattern.overlaps(at)])
    return lists


def make_heads(spots):
    heads = [(0, 0, 0)] * (256 * MAPS)
    lists = Lists()
    for (page, opcode), cases in sorted(spots.items()):
        cases = patterns.in_order(cases)
        flags = HEAD_KNOWN | (HEAD_MODRM if cases[0].row.modrm else 0)
        at = page * 256 + opcode
        if cases[0].row.modrm and len(cases) > 2:
            heads[at] = (len(heads), 0, flags | HEAD_SPLIT)
            heads += [(lists.place(part), len(part), flags) for part in split_by_reg(cases)]
        else:
            heads[at] = (lists.place(cases), len(cases), flags)
    return heads, lists.cases


def wrapped(items):
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > LINE:
            lines.append(line)
            line = "   "
        line += " " + item + ","
    return "\n".join(lines + [line]) + "\n"


def head_table(heads):
    return ("const struct x86_head x86_heads[] = {\n"
            + wrapped("{%d, %d, %d}" % h for h in heads) + "};\n")


def case_table(cases):
    return ("const struct x86_case x86_cases[] = {\n"
            + wrapped("{0x%04x, 0x%04x, X86_R_%s}" % (c.pattern.mask, c.pattern.value, c.row.id)
                      for c in cases) + "    {0, 0, X86_INVALID},\n};\n")


def shape_table(rows):
    lines = ["const struct x86_shape x86_shapes[] = {\n    [X86_INVALID] = {0},\n"]
    for r in rows:
        prefix = {None: 0, 0: 0, 1: 0x66, 2: 0xf3, 3: 0xf2}[r.prefix]
        lines.append(f"    [X86_R_{r.id}] = {{X86_IMM_{immediate(r, 0)}, X86_IMM_{immediate(r, 1)}, "
                     f"X86_RULE_{size_rule(r)}, 0x{prefix:02x}, {shape_flags(r)}}},\n")
    return "".join(lines) + "};\n"


def place_name(a):
    if a.letter == "1":
        return "X86_P_ONE"
    return "X86_P_" + a.letter.upper() if a.letter != "-" else "X86_P_NONE"


def size_name(size):
    return "X86_S_" + (size.upper() or "NONE")


def spot_table(rows):
    lines = ["const struct x86_spot x86_spots[] = {\n    [X86_INVALID] = {0},\n"]
    for r in rows:
        two = (r.patterns + r.patterns)[:2]
        both = ", ".join(f"{{0x{p.mask:04x}, 0x{p.value:04x}}}" for p in two)
        shown = [a for a in r.args if not a.implied]
        args = ", ".join(f"{{{place_name(a)}, {size_name(a.size)}, "
                         f"{size_name(a.memory_size or a.size)}}}" for a in shown)
        lines.append(f"    [X86_R_{r.id}] = {{{patterns.map_of(r)}, 0x{r.opcode:02x}, "
                     f"{int(r.modrm)}, {len(shown)}, {{{both}}}, {{{args or '{0}'}}}}},\n")
    return "".join(lines) + "};\n"


def info_table(rows):
    lines = ["const struct x86_row_info x86_rows[] = {\n"
             '    [X86_INVALID] = {.id = "invalid", .mnemonic = "(bad)", .encoding = "",\n'
             '                     .operands = "-", .flags = ""},\n']
    for r in rows:
        words = "|".join("X86_A_" + w for w in r.attributes.split()) or "0"
        lines.append(f'    [X86_R_{r.id}] = {{"{r.id}", "{r.mnemonic}", "{r.encoding}",\n'
                     f'        "{r.operands}", "{r.flags}", X86_{r.mode}, X86_F_{r.feature}, '
                     f"X86_{r.privilege}, X86_{r.sensitivity},\n        {words}}},\n")
    return "".join(lines) + "};\n"


def size_table():
    """x86_sizes[rule][facts bits 2..6]: W, L, 64-bit mode, operand size by prefixes."""
    def size(rule, n):
        wide, long, in64, operand = n & 1, n >> 1 & 1, n >> 2 & 1, n >> 3
        if rule == "BYTE":
            return 0
        if rule == "VECTOR":
            return long
        if rule == "WIDE":
            return 3 if wide and in64 else 2
        if rule == "CONTROL":
            return 3 if in64 else 2
        if rule == "F64" and in64:
            return 3
        if rule == "D64" and in64:
            return 1 if operand == 1 else 3
        return operand
    rules = ("OPERAND", "D64", "F64", "BYTE", "VECTOR", "WIDE", "CONTROL")
    lines = [f"    [X86_RULE_{r}] = {{" + ", ".join(str(size(r, n)) for n in range(32)) + "},\n"
             for r in rules]
    return "const uint8_t x86_sizes[][32] = {\n" + "".join(lines) + "};\n"


def source(rows):
    spots = patterns.spread(rows)
    for spot, cases in spots.items():
        patterns.check_spot(spot, cases)
    heads, cases = make_heads(spots)
    assert MODE64 == (4, 1) and PREFIX == (0, 2)
    return ("/* generated by tools/isagen.py from rows/ - do not edit */\n"
            '#include "virt/isa/x86/tables.h"\n\n// clang-format off\n'
            + "\n".join((head_table(heads), case_table(cases), shape_table(rows),
                         spot_table(rows), size_table(), info_table(rows))))
