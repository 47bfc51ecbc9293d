"""C: the structs of arguments, the rows that describe them, and all texts in one block.

The rows hold offsets into the block of texts instead of pointers, so that a position independent
program has nothing to relocate when it starts."""

from . import shell
from .record import C_TYPES, Record

MARK = "/* Made by tools/opgen.py from src/wire/ops; never edited by hand. */\n"


class Texts:
    """Strings laid end to end; each once."""

    def __init__(self):
        self.at, self.order, self.bytes = {"": 0}, [""], 1

    def put(self, text):
        if text not in self.at:
            self.at[text] = self.bytes
            self.order.append(text)
            self.bytes += len(text.encode()) + 1
        return self.at[text]

    def put_all(self, words):
        """Words one behind the other, each with its own NUL."""
        return self.put("\0".join(words)) if words else 0

    def c(self):
        return "\n".join("    %s" % quote(t + "\0") for t in self.order)


def escape(text):
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("?", "\\?")


def quote(text):
    """A C string; a NUL inside ends one literal and begins the next, so that no digit follows it."""
    pieces = escape(text).split("\0")
    literals = ['"%s\\0"' % p for p in pieces[:-1]] + (['"%s"' % pieces[-1]] if pieces[-1] else [])
    return " ".join(literals)


def member_type(item, owner):
    if item.type == "one-of":
        return "enum %s_%s " % (owner.struct, item.field.rstrip("_"))
    return C_TYPES[item.type]


def struct_lines(rec):
    for member in rec.members:
        if isinstance(member, Record):
            yield "    struct %s %s;" % (member.struct, member.ident)
            continue
        kind = member_type(member, rec)
        note = comment(member)
        if member.many:
            yield "    size_t n_%s;" % member.field
            yield "    const char **%s; /* NULL-terminated */" % member.field
        else:
            yield "    %s%s;%s" % (kind, member.field, " /* %s */" % note if note else "")


UNITS = {"size": "bytes", "duration": "milliseconds", "cpus": "thousandths of a processor",
         "when": "unix nanoseconds, 0: not given", "signal": "0: not given"}


def comment(item):
    notes = [UNITS[item.type]] if item.type in UNITS else []
    if item.none_ok:
        notes.append("UINT64_MAX: none")
    if item.default not in (None, "none"):
        notes.append("default " + item.default)
    elif C_TYPES[item.type] == "const char *" and not item.required:
        notes.append("NULL: not given")
    elif C_TYPES[item.type] == "uint64_t " and item.default is None:
        notes.append("0: not given")
    return ", ".join(notes)


def enums(rec):
    for member in rec.members:
        if isinstance(member, Record) or member.type != "one-of":
            continue
        name = "%s_%s" % (rec.struct, member.field.rstrip("_"))
        words = [] if member.default or member.required else ["UNSET"]
        words += [w.upper().replace("-", "_") for w in member.words]
        yield "enum %s {\n%s\n};\n" % (name, "\n".join(
            "    %s_%s," % (name.upper(), w) for w in words))


def struct(rec):
    lines = list(struct_lines(rec)) or ["    char nothing; /* no arguments */"]
    note = "strata " + rec.name if not rec.part else "part of other structs"
    return "".join(e + "\n" for e in enums(rec)) + \
        "/* %s */\nstruct %s {\n%s\n};\n" % (note, rec.struct, "\n".join(lines))


def header(ops, parts):
    used = sorted(parts.values(), key=lambda p: len(list(p.parts())))
    out = [MARK, "#ifndef WIRE_OPS_GEN_H\n#define WIRE_OPS_GEN_H\n",
           "#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n",
           "/* Every operation once: X(NAME, name). */\n#define WIRE_OP_LIST(X) \\\n%s\n"
           % " \\\n".join("    X(%s, %s)" % (r.ident.upper(), r.ident) for r in ops),
           "enum wire_op_id {\n%s\n    WIRE_OP_COUNT\n};\n"
           % "\n".join("    WIRE_OP_%s," % r.ident.upper() for r in ops)]
    out += [struct(p) for p in used] + [struct(r) for r in ops]
    out.append("#endif\n")
    return "\n".join(out)


def flags(item):
    names = [f for f, on in (("WIRE_POSITIONAL", item.positional), ("WIRE_REQUIRED", item.required),
                             ("WIRE_MANY", item.many), ("WIRE_REST", item.rest),
                             ("WIRE_NONE_OK", item.none_ok)) if on]
    return " | ".join(names) or "0"


def item_row(top, path, item, texts):
    holder = "struct " + top.struct
    base, _, last = path.rpartition(".")
    count = "offsetof(%s, %s)" % (holder, (base + "." if base else "") + "n_" + last) \
        if item.many else "0"
    unset = 1 if item.words and not item.default and not item.required else 0
    cells = ["offsetof(%s, %s)" % (holder, path), count, texts.put(item.long),
             texts.put(item.value), texts.put(item.help), texts.put(item.default or ""),
             texts.put(item.label or ""), texts.put_all(item.words), len(item.words), unset,
             "WIRE_" + item.type.upper().replace("-", "_"),
             "'%s'" % item.letter if item.letter else "0", flags(item),
             "UINT64_C(%d)" % (item.low or 0),
             "UINT64_C(%d)" % item.high if item.high is not None else "UINT64_MAX - 1"]
    return "    {%s}," % ", ".join(str(c) for c in cells)


def field_row(field, texts):
    return "    {%d, %d, %d, WIRE_FIELD_%s}," % (
        texts.put(field.name), texts.put(field.title), texts.put(field.help), field.type.upper())


def op_row(rec, at, texts):
    states = " | ".join("1U << TASK_" + s.upper() for s in rec.states) or "0"
    rows, fields = len(list(rec.items())), len(rec.fields)
    exits = "\n".join("%s\t%s" % e for e in rec.exits)
    cells = [texts.put(rec.name), texts.put(rec.help), texts.put(rec.text), texts.put(rec.usage),
             texts.put(rec.since), texts.put(rec.group), texts.put(exits),
             texts.put(", ".join(n for n, _ in rec.see)), texts.put_all(rec.also), len(rec.also),
             at[0], rows, at[1], fields, "sizeof(struct %s)" % rec.struct, states,
             "WIRE_RESULT_" + rec.result.upper(), "WIRE_SHAPE_" + rec.shape.upper(),
             "true" if rec.raw else "false"]
    at[0] += rows
    at[1] += fields
    return "    [WIRE_OP_%s] = {%s}," % (rec.ident.upper(), ", ".join(str(c) for c in cells))


def script_texts(ops, parts):
    for name, text in shell.scripts(ops, parts).items():
        lines = "\n".join("    " + quote(line + "\n") for line in text.split("\n")[:-1])
        yield "const char wire_completion_%s[] =\n%s;\n" % (name, lines)


def source(ops, parts):
    texts, at = Texts(), [0, 0]
    everything = [parts["global"]] + ops
    rows = [item_row(r, path, item, texts) for r in everything for path, item, _ in r.items()]
    fields = [field_row(f, texts) for r in ops for f in r.fields]
    n_global = len(list(parts["global"].items()))
    at[0] = n_global
    table = [op_row(r, at, texts) for r in ops]
    return "\n".join([
        MARK, '#include "contract/task.h"\n#include "wire/wire.h"\n',
        "/* clang-format off */", "const char wire_texts[] =\n%s;\n" % texts.c(),
        "const struct wire_item wire_items[] = {\n%s\n};\n" % "\n".join(rows),
        "const unsigned wire_n_globals = %d;\n" % n_global,
        "const struct wire_field wire_fields[] = {\n%s\n};\n" % "\n".join(fields),
        "const struct wire_op wire_op_table[WIRE_OP_COUNT] = {\n%s\n};\n" % "\n".join(table),
        "\n".join(script_texts(ops, parts))])
