"""Rows of instructions: read from X86_ROW lines, checked word by word."""
import re
from dataclasses import dataclass, field

MODES = ("ANY", "LEGACY", "LONG", "PROTECTED")
PRIVILEGES = ("USER", "SYSTEM", "IO")
SENSITIVITIES = ("INNOCUOUS", "CONTROL", "BEHAVIOUR")
ATTRIBUTES = ("LOCK", "ENDS", "D64", "F64", "REP", "NOSIDE", "B8")
COLUMNS = ("id", "mnemonic", "encoding", "operands", "mode", "feature", "privilege",
           "sensitivity", "flags", "attributes", "routine")
TEXTS = {1, 2, 3, 8, 9}  # columns that are C strings

SIZES = ("b w d q v y z s p a ss sd ps pd pi si x dq qq f32 f64 f80 i16 i32 i64 bcd env "
         "state").split()
LETTERS = "EGMRIJOXYSCDAZPQNVWUHLB"
FIXED = ("AL CL DX AX AH EAX rAX rCX rDX rBX rSP rBP rSI rDI 1 ST0 STi XMM0 "
         "ES CS SS DS FS GS").split()
PAIRS = {"RM": "E", "UM": "W", "NM": "Q"}  # "Rd/Mb": other sizes for register and memory
RM_LETTERS = "EMRQNWU"    # operands in modrm.rm
REG_LETTERS = "GPVSCD"    # operands in modrm.reg
MEMORY_ONLY = "M"
REGISTER_ONLY = "RNU"
VECTOR = "PQNVWUHL"

IMMEDIATES = {"ib", "iw", "id", "iz", "iv", "iq", "cb", "cz", "ap", "ov", "is4"}
VEX_LENGTH = {"128": 0, "256": 1, "LZ": 0, "LIG": None}
VEX_PREFIX = {"NP": 0, "66": 1, "F3": 2, "F2": 3}
VEX_MAP = {"0F": 1, "0F38": 2, "0F3A": 3}
FLAG_WORD = re.compile(r"^[WURM]:[OSZAPCDITNLRV]+$")
BYTE = re.compile(r"^([0-9A-F]{2})(\+[ri])?$")
MODRM = re.compile(r"^/(r|[0-7])(:[mr])?$")


class Bad(Exception):
    """A mistake in the rows; its text begins with file:line."""


@dataclass
class Operand:
    letter: str            # of LETTERS, or a word of FIXED
    size: str = ""
    memory_size: str = ""  # where it differs from `size`
    implied: bool = False


@dataclass
class Row:
    where: str
    id: str
    mnemonic: str
    encoding: str
    operands: str
    mode: str
    feature: str
    privilege: str
    sensitivity: str
    flags: str
    attributes: str
    routine: str
    args: list = field(default_factory=list)  # of Operand
    # From the encoding:
    vex: bool = False
    prefix: int = None     # 0 NP, 1 66, 2 F3, 3 F2; None: any
    no_repeat: bool = False  # NFx: neither F2 nor F3
    wide: int = None       # REX.W or VEX.W
    long: int = None       # VEX.L
    operand_size: int = None
    address_size: int = None
    map: int = 0
    opcode: int = None
    plus_r: bool = False
    modrm: bool = False
    reg: int = None
    rm: int = None
    register: bool = None  # modrm.mod is 3
    vsib: bool = False
    immediates: list = field(default_factory=list)

    def bad(self, text):
        raise Bad(f"{self.where}: {self.id}: {text}")

    def has(self, attribute):
        return attribute in self.attributes.split()

    def letters(self):
        return "".join(a.letter for a in self.args if len(a.letter) == 1)


def without_comments(text):
    """The text with comments blanked, so that positions stay."""
    def blank(m):
        return m[0] if m[0][0] == '"' else re.sub(r"[^\n]", " ", m[0])
    return re.sub(r'"(?:\\.|[^"\\])*"|/\*.*?\*/|//[^\n]*', blank, text, flags=re.S)


def split_columns(text, start):
    """The arguments of the call whose '(' is before `start`, and where it ends."""
    columns, depth, at, begin = [], 1, start, start
    while at < len(text):
        c = text[at]
        if c == '"':
            at = text.index('"', at + 1)
        elif c == "(":
            depth += 1
        elif c == ")":
            depth -= 1
            if depth == 0:
                return columns + [text[begin:at].strip()], at + 1
        elif c == "," and depth == 1:
            columns.append(text[begin:at].strip())
            begin = at + 1
        at += 1
    raise ValueError


def unquote(text):
    parts = re.findall(r'"([^"]*)"', text)
    rest = re.sub(r'"[^"]*"', "", text).strip()
    return None if rest or not parts else "".join(parts)


def read_file(path):
    with open(path, encoding="utf-8") as f:
        text = without_comments(f.read())
    at, rows = 0, []
    for m in re.finditer(r"\S", text):
        if m.start() < at:
            continue
        where = f"{path}:{text.count(chr(10), 0, m.start()) + 1}"
        call = re.compile(r"X86_ROW\s*\(").match(text, m.start())
        if call is None:
            line = text[m.start():].split("\n", 1)[0]
            raise Bad(f"{where}: only X86_ROW(...) may stand here: {line[:40]}")
        try:
            columns, at = split_columns(text, call.end())
        except ValueError:
            raise Bad(f"{where}: X86_ROW without its end") from None
        rows.append(make_row(where, columns))
    return rows


def make_row(where, columns):
    if len(columns) != len(COLUMNS):
        raise Bad(f"{where}: {len(columns)} columns, a row has {len(COLUMNS)}: "
                  + ", ".join(COLUMNS))
    for n in TEXTS:
        text = unquote(columns[n])
        if text is None:
            raise Bad(f"{where}: {columns[0]}: column {COLUMNS[n]} is a string in quotes")
        columns[n] = text
    row = Row(where, *columns)
    check_words(row)
    row.args = parse_operands(row)
    parse_encoding(row)
    check_row(row)
    return row


def check_words(row):
    for name in (row.id, row.routine):
        if not re.match(r"^[a-zA-Z_0-9]+$", name):
            row.bad(f"'{name}' is no name")
    for value, known, what in ((row.mode, MODES, "mode"),
                               (row.privilege, PRIVILEGES, "privilege"),
                               (row.sensitivity, SENSITIVITIES, "sensitivity")):
        if value not in known:
            row.bad(f"unknown {what} '{value}', known: {' '.join(known)}")
    for word in row.attributes.split():
        if word not in ATTRIBUTES:
            row.bad(f"unknown attribute '{word}', known: {' '.join(ATTRIBUTES)}")
    for word in row.flags.split():
        if not FLAG_WORD.match(word):
            row.bad(f"flags '{word}': a word is W:, U:, R: or M: and letters of OSZAPC DIT")
    if row.has("D64") and row.has("F64"):
        row.bad("D64 and F64 exclude each other")


def parse_operand(row, text):
    if text.startswith("[") and text.endswith("]"):
        arg = parse_operand(row, text[1:-1]) if is_operand(text[1:-1]) else Operand("-")
        arg.implied = True
        return arg
    if text in FIXED:
        return Operand(text)
    if "/" in text:
        left, _, right = text.partition("/")
        letter = PAIRS.get(left[:1] + right[:1])
        if letter is None or left[1:] not in SIZES or right[1:] not in SIZES:
            row.bad(f"operand '{text}': pairs are Rx/My, Ux/My and Nx/My")
        return Operand(letter, left[1:], right[1:])
    if not is_operand(text):
        row.bad(f"unknown operand '{text}': a letter of {LETTERS} and a size of "
                f"{' '.join(SIZES)}; or one of {' '.join(FIXED)}; implied ones in []")
    return Operand(text[0], text[1:])


def is_operand(text):
    return text in FIXED or (text[:1] in LETTERS and text[:1] != ""
                             and (text[1:] in SIZES or text[1:] == ""))


def parse_operands(row):
    if row.operands in ("-", ""):
        return []
    args = [parse_operand(row, t.strip()) for t in row.operands.split(",")]
    if sum(not a.implied for a in args) > 5:
        row.bad("more than five operands")
    return args


def take(row, name, value):
    if getattr(row, name) is not None:
        row.bad(f"encoding says {name} twice")
    setattr(row, name, value)


def parse_vex(row, word):
    parts = word.split(".")
    if (len(parts) != 5 or parts[1] not in VEX_LENGTH or parts[2] not in VEX_PREFIX
            or parts[3] not in VEX_MAP or parts[4] not in ("W0", "W1", "WIG")):
        row.bad(f"'{word}': VEX.{{128|256|LIG|LZ}}.{{NP|66|F2|F3}}.{{0F|0F38|0F3A}}."
                "{W0|W1|WIG}")
    row.vex = True
    row.long = VEX_LENGTH[parts[1]]
    row.prefix = VEX_PREFIX[parts[2]]
    row.map = VEX_MAP[parts[3]]
    row.wide = {"W0": 0, "W1": 1, "WIG": None}[parts[4]]


def parse_encoding(row):
    words = row.encoding.split()
    taken, byte_at = [], 0
    for word in words:
        if byte_at == 0 and word in VEX_PREFIX and not row.vex:
            take(row, "prefix", VEX_PREFIX[word])
        elif byte_at == 0 and word == "NFx" and row.prefix is None:
            row.no_repeat = True
        elif byte_at == 0 and word in ("W0", "W1"):
            take(row, "wide", int(word[1]))
        elif byte_at == 0 and word in ("O16", "O32", "O64"):
            take(row, "operand_size", {"O16": 1, "O32": 2, "O64": 3}[word])
        elif byte_at == 0 and word in ("A16", "A32", "A64"):
            take(row, "address_size", {"A16": 1, "A32": 2, "A64": 3}[word])
        elif byte_at == 0 and word.startswith("VEX."):
            parse_vex(row, word)
        elif BYTE.match(word):
            if row.modrm or row.immediates:
                row.bad(f"byte {word} after modrm or immediate")
            taken.append(word)
            byte_at += 1
        elif MODRM.match(word):
            parse_modrm(row, *MODRM.match(word).groups())
        elif word == "/vsib":
            row.vsib, row.modrm, row.register = True, True, False
        elif word == "+r" and taken and not row.modrm:
            taken[-1] += "+r"
        elif word in IMMEDIATES:
            row.immediates.append(word)
        else:
            row.bad(f"unknown word '{word}' in the encoding")
    place_bytes(row, taken)


def parse_modrm(row, what, form):
    if row.modrm and not row.vsib:
        row.bad("two modrm words")
    row.modrm = True
    if what != "r":
        row.reg = int(what)
    if form is not None:
        row.register = form == ":r"


def place_bytes(row, taken):
    values = [int(t[:2], 16) for t in taken]
    plus = [t.endswith(("+r", "+i")) for t in taken]
    if not row.vex and values[:1] == [0x0f] and len(values) > 1:
        row.map = {0x38: 2, 0x3a: 3}.get(values[1], 1)
        del values[:row.map if row.map < 3 else 2], plus[:row.map if row.map < 3 else 2]
    if not values:
        row.bad("no opcode byte")
    row.opcode, row.plus_r = values[0], plus[0]
    if row.plus_r and row.opcode & 7:
        row.bad(f"+r on byte {row.opcode:02X}, whose low three bits are not 0")
    if len(values) == 1:
        return
    if len(values) > 2 or row.modrm or row.plus_r:
        row.bad("too many bytes")
    row.modrm, row.register = True, values[1] >= 0xc0
    row.reg = values[1] >> 3 & 7
    if not row.register:
        row.bad("a fixed modrm byte names a register (C0..FF)")
    if not plus[1]:
        row.rm = values[1] & 7


IMMEDIATE_OF = {"I": {"ib", "iw", "id", "iz", "iv", "iq"}, "J": {"cb", "cz"}, "A": {"ap"},
                "O": {"ov"}, "L": {"is4"}}


def check_row(row):
    shown = [a for a in row.args if not a.implied]
    wanted = [a for a in shown if a.letter in IMMEDIATE_OF]
    if len(wanted) != len(row.immediates):
        row.bad(f"{len(row.immediates)} immediates in the encoding, {len(wanted)} in the "
                "operands")
    if len(wanted) > 2:
        row.bad("more than two immediates")
    for arg, word in zip(wanted, row.immediates):
        if word not in IMMEDIATE_OF[arg.letter]:
            row.bad(f"operand {arg.letter}{arg.size} does not go with '{word}'")
        check_immediate(row, arg, word)
    check_modrm(row, shown)


def check_immediate(row, arg, word):
    sizes = {"ib": "bs", "iw": "w", "id": "d", "iz": "zv", "iv": "v", "iq": "q", "cb": "b",
             "cz": "z", "ap": "p", "ov": "bv", "is4": None}[word]
    if sizes is not None and (arg.size == "" or arg.size not in sizes):
        row.bad(f"operand {arg.letter}{arg.size} has no size of '{word}'")


def check_modrm(row, shown):
    letters = "".join(a.letter for a in shown if len(a.letter) == 1)
    if any(c in RM_LETTERS + REG_LETTERS for c in letters) and not row.modrm:
        row.bad("an operand in modrm, but no /r or /0../7")
    if any(c in REG_LETTERS for c in letters) and row.reg is not None:
        row.bad("an operand in modrm.reg, but that is part of the opcode")
    if sum(c in REG_LETTERS for c in letters) > 1 or sum(c in RM_LETTERS for c in letters) > 1:
        row.bad("two operands in one field of modrm")
    if ("Z" in letters) != row.plus_r:
        row.bad("+r and operand Z go together")
    if ("H" in letters or "B" in letters) and not row.vex:
        row.bad("operands H and B need VEX")
    for c in letters:
        if c in MEMORY_ONLY:
            restrict(row, False)
        elif c in REGISTER_ONLY and not is_control_move(row):
            restrict(row, True)
    if row.vsib and "M" not in letters:
        row.bad("/vsib goes with operand M")


def is_control_move(row):
    """MOV to and from CR and DR: the modrm byte names a register whatever mod says."""
    return any(a.letter in "CD" for a in row.args)


def restrict(row, register):
    if row.register is not None and row.register != register:
        row.bad("operand letter and :m or :r contradict each other")
    row.register = register


def read(paths, features):
    rows = []
    for path in paths:
        rows += read_file(path)
    seen = {}
    for row in rows:
        if row.id in seen:
            row.bad(f"this id is taken at {seen[row.id]}")
        seen[row.id] = row.where
        if row.feature not in features:
            row.bad(f"unknown feature '{row.feature}' (features.rows.h)")
    return rows


def read_features(path):
    with open(path, encoding="utf-8") as f:
        return re.findall(r"^X86_FEATURE\((\w+)", f.read(), flags=re.M)


def row_files(path):
    """The files that rows.h includes, in its order."""
    with open(path, encoding="utf-8") as f:
        return re.findall(r'^#include "virt/isa/x86/(rows/\w+\.rows\.h)"', f.read(), flags=re.M)
