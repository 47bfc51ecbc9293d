"""Reads operation records (src/wire/ops/*.op and *.part); src/wire/README.md says what they mean."""

import difflib
import os
import re

# type on the record's side -> type of the member in the generated struct
C_TYPES = {
    "string": "const char *", "name": "const char *", "guest": "const char *",
    "image": "const char *", "network": "const char *", "path": "const char *",
    "kv": "const char *", "env": "const char *", "publish": "const char *",
    "volume": "const char *", "ip": "const char *", "restart": "const char *",
    "size": "uint64_t ", "duration": "uint64_t ", "cpus": "uint64_t ", "u64": "uint64_t ",
    "when": "int64_t ", "signal": "int ", "bool": "bool ", "one-of": "enum ",
}
NUMBERS = ("size", "duration", "cpus", "u64")
FIELD_TYPES = ("string", "size", "duration", "time", "u64", "cpus", "percent", "bool", "list",
               "object", "digest", "real")
STATES = ("created", "running", "paused", "stopped")
RESULTS = ("none", "object", "list", "stream")
SHAPES = ("table", "quiet", "tree", "text")
GROUPS = ("guest", "snapshot", "image", "network", "volume", "pool", "isa", "debug", "host")
HELP_MOST = 57  # columns beside the name in the list of commands
KEYWORDS = ("for", "if", "do", "while", "switch", "case", "default", "return", "register", "static")


class Bad(Exception):
    """A mistake in a record; its text begins with file:line."""


class Item:
    """One argument or option."""

    def __init__(self, where):
        self.where = where
        self.positional = False
        self.long = ""      # "cpu-weight"; "" for an argument
        self.letter = ""
        self.value = ""     # "SIZE"
        self.type = ""
        self.words = []
        self.many = False
        self.required = False
        self.rest = False   # takes every word that is left
        self.none_ok = False
        self.low, self.high = None, None
        self.default = None
        self.label = None   # what help prints as the default
        self.help = ""

    @property
    def field(self):
        name = (self.long or self.value.lower()).replace("-", "_")
        return name + "_" if name in KEYWORDS else name

    @property
    def shown_default(self):
        return self.label if self.label is not None else self.default


class Field:
    """One member of a result."""

    def __init__(self, name, type_, title, help_):
        self.name, self.type, self.title, self.help = name, type_, title, help_


class Example:
    """One worked example: title, needs, and lines (mark, text) with mark one of $ % > ?."""

    def __init__(self, title, where):
        self.title, self.where, self.needs, self.lines = title, where, [], []


class Record:
    """One operation or part."""

    def __init__(self, path):
        self.path = path
        self.name, self.part, self.raw = "", False, False
        self.group = self.help = self.since = self.text = ""
        self.states, self.also, self.see, self.exits = [], [], [], []
        self.members = []   # Item or Record (a used part), in order
        self.result, self.shape, self.fields = None, "table", []
        self.examples = []

    @property
    def ident(self):
        return self.name.replace(" ", "_")

    @property
    def struct(self):
        return ("part_" if self.part else "op_") + self.ident

    def items(self, prefix=""):
        """Every item with the path of its member: ("guest.limits.memory", Item, owner)."""
        for member in self.members:
            if isinstance(member, Record):
                yield from member.items(prefix + member.ident + ".")
            else:
                yield prefix + member.field, member, self

    def parts(self):
        """Every part used, the innermost first."""
        for member in self.members:
            if isinstance(member, Record):
                yield from member.parts()
                yield member

    @property
    def positionals(self):
        return [i for _, i, _ in self.items() if i.positional]

    @property
    def options(self):
        return [i for _, i, _ in self.items() if not i.positional]

    @property
    def usage(self):
        words = ["strata", self.name]
        words += ["[OPTION...]"] if self.options else []
        for item in self.positionals:
            word = item.value + ("..." if item.many else "")
            words.append(word if item.required else "[" + word + "]")
        return " ".join(words)


def near(word, known):
    found = difflib.get_close_matches(word, known, 1)
    return " (did you mean '%s'?)" % found[0] if found else ""


def one_of(word, known, what, where):
    if word not in known:
        raise Bad("%s: unknown %s '%s'%s" % (where, what, word, near(word, known)))
    return word


class Reader:
    """Turns the lines of one file into a Record."""

    def __init__(self, path, parts):
        self.rec = Record(path)
        self.parts = parts
        with open(path, encoding="utf-8") as f:
            self.lines = f.read().split("\n")
        self.at = 0

    @property
    def where(self):
        return "%s:%d" % (self.rec.path, self.at)

    def block(self):
        """The indented lines that follow, without their indent."""
        out = []
        while self.at < len(self.lines) and (self.lines[self.at].startswith("    ")
                                             or (not self.lines[self.at].strip() and out)):
            out.append(self.lines[self.at][4:])
            self.at += 1
        while out and not out[-1].strip():
            out.pop()
        return out

    def read(self):
        while self.at < len(self.lines):
            line = self.lines[self.at]
            self.at += 1
            if not line.strip() or line.startswith("#"):
                continue
            if line[0] == " ":
                raise Bad("%s: indented line belongs to nothing" % self.where)
            key, _, rest = line.partition(" ")
            known = [k[4:] for k in dir(self) if k.startswith("key_")]
            one_of(key, known, "word", self.where)
            getattr(self, "key_" + key)(rest.strip())
        self.check()
        return self.rec

    def key_op(self, rest):
        self.rec.name = rest

    def key_part(self, rest):
        self.rec.name, self.rec.part = rest, True

    def key_group(self, rest):
        self.rec.group = one_of(rest, GROUPS, "group", self.where)

    def key_help(self, rest):
        self.rec.help = rest

    def key_since(self, rest):
        self.rec.since = rest

    def key_raw(self, _rest):
        self.rec.raw = True

    def key_text(self, _rest):
        self.rec.text = "\n".join(self.block())

    def key_states(self, rest):
        self.rec.states = [one_of(s, STATES, "state", self.where) for s in rest.split(",")]

    def key_also(self, rest):
        self.rec.also = [w.strip() for w in rest.split(",")]

    def key_see(self, rest):
        self.rec.see = [(w.strip(), self.where) for w in rest.split(",")]

    def key_exit(self, rest):
        code, _, text = rest.partition(" ")
        if not re.fullmatch(r"\d+|N", code) or not text:
            raise Bad("%s: an exit line is 'exit CODE TEXT'" % self.where)
        self.rec.exits.append((code, text))

    def key_use(self, rest):
        if rest not in self.parts:
            raise Bad("%s: unknown part '%s'%s" % (self.where, rest, near(rest, self.parts)))
        self.rec.members.append(self.parts[rest])

    def key_result(self, rest):
        words = rest.split() or [""]
        self.rec.result = one_of(words[0], RESULTS, "result", self.where)
        if len(words) > 1:
            self.rec.shape = one_of(words[1], SHAPES, "shape", self.where)
        start = self.at
        for n, line in enumerate(self.block()):
            words = line.split(None, 3)
            where = "%s:%d" % (self.rec.path, start + n + 1)
            if len(words) != 4:
                raise Bad("%s: a field is 'NAME TYPE TITLE what it is'" % where)
            one_of(words[1], FIELD_TYPES, "field type", where)
            self.rec.fields.append(Field(words[0], words[1],
                                         "" if words[2] == "-" else words[2], words[3]))

    def key_arg(self, rest):
        item = Item(self.where)
        words = rest.split()
        item.positional = True
        item.required = not words[0].startswith("[")
        item.value = words[0].strip("[]")
        if item.value.endswith("..."):
            item.many, item.value = True, item.value[:-3]
        self.attributes(item, words[1:])

    def key_option(self, rest):
        item = Item(self.where)
        label = re.search(r"\s\(([^)]*)\)$", rest)
        if label:
            item.label, rest = label.group(1), rest[:label.start()]
        words = rest.split()
        if len(words) < 2 or not re.fullmatch(r"--[a-z][a-z0-9-]*", words[0]):
            raise Bad("%s: an option is '--NAME [-L] [VALUE] TYPE ...'" % self.where)
        item.long = words.pop(0)[2:]
        if re.fullmatch(r"-[A-Za-z]", words[0]):
            item.letter = words.pop(0)[1]
        if words and words[0] not in C_TYPES:
            item.value = words.pop(0)
        self.attributes(item, words)
        if (item.type == "bool") == bool(item.value):
            raise Bad("%s: a bool takes no VALUE, every other type one" % item.where)

    def attributes(self, item, words):
        if not words:
            raise Bad("%s: type missing" % self.where)
        item.type = one_of(words.pop(0), C_TYPES, "type", self.where)
        if item.type == "one-of":
            item.words = words.pop(0).split(",") if words else []
        while words:
            word = words.pop(0)
            if word == "many":
                item.many = True
            elif word == "rest":
                item.rest = item.many = True
            elif word == "or" and words and words.pop(0) == "none":
                item.none_ok = True
            elif word == "range" and words:
                low, _, high = words.pop(0).partition("..")
                item.low, item.high = int(low), int(high) if high else None
            elif word == "=" and words:
                item.default = " ".join(words)
                words = []
            else:
                raise Bad("%s: unknown attribute '%s'" % (self.where, word))
        item.none_ok = item.none_ok or item.default == "none" and item.type in NUMBERS
        item.help = " ".join(line.strip() for line in self.block())
        self.check_item(item)
        self.rec.members.append(item)

    def check_item(self, item):
        if not item.help or not item.help[0].islower() or item.help.endswith("."):
            raise Bad("%s: help begins with a verb in lower case and has no full stop" % item.where)
        if item.type == "one-of" and not item.words:
            raise Bad("%s: one-of needs its words" % item.where)
        if item.words and item.default and item.default not in item.words:
            raise Bad("%s: default '%s' is none of the words" % (item.where, item.default))
        if item.many and item.type != "bool" and C_TYPES[item.type] != "const char *":
            raise Bad("%s: a list of '%s' is not supported" % (item.where, item.type))

    def key_example(self, rest):
        example = Example(rest, self.where)
        for line in self.block():
            if line.startswith("needs "):
                example.needs += line.split()[1:]
            elif line[:2] in ("$ ", "% ", "? "):
                example.lines.append((line[0], line[2:]))
            else:
                example.lines.append((">", line))
        if not any(mark == "$" for mark, _ in example.lines):
            raise Bad("%s: an example has at least one '$ strata ...' line" % example.where)
        self.rec.examples.append(example)

    def check(self):
        rec = self.rec
        stem = os.path.splitext(os.path.basename(rec.path))[0]
        if not rec.name or rec.name.replace(" ", "-") != stem:
            raise Bad("%s:1: the file of '%s' must be called so" % (rec.path, rec.name))
        seen = {m.ident: m.path for m in rec.members if isinstance(m, Record)}
        for field, item, _ in rec.items():
            for key in filter(None, (field, "--" + item.long if item.long else "",
                                     "-" + item.letter if item.letter else "")):
                if key in seen:
                    raise Bad("%s: '%s' is taken already (%s)" % (item.where, key, seen[key]))
                seen[key] = item.where
        if rec.part:
            return
        for what in ("group", "help", "since", "result", "examples", "see"):
            if not getattr(rec, what):
                raise Bad("%s:1: '%s' is missing" % (rec.path, what.rstrip("s")))
        if len(rec.help) > HELP_MOST:
            raise Bad("%s:1: help is longer than %d columns" % (rec.path, HELP_MOST))


def load(paths):
    """All records, sorted by name: (operations, parts by name)."""
    parts, waiting = {}, [p for p in sorted(paths) if p.endswith(".part")]
    while waiting:
        path = waiting.pop(0)
        try:
            rec = Reader(path, parts).read()
        except Bad as bad:
            used = re.search(r"unknown part '([a-z-]+)'", str(bad))
            if used and any(os.path.basename(p) == used.group(1) + ".part" for p in waiting):
                waiting.append(path)
                continue
            raise
        parts[rec.name] = rec
    ops = [Reader(p, parts).read() for p in sorted(paths) if p.endswith(".op")]
    ops.sort(key=lambda r: r.name)
    names = [r.name for r in ops]
    globals_ = [i for _, i, _ in parts["global"].items()] if "global" in parts else []
    for rec in ops:
        for name, where in rec.see:
            one_of(name, names, "operation", where)
        for item in rec.options:
            for other in globals_:
                if item.long == other.long or item.letter and item.letter == other.letter:
                    raise Bad("%s: '--%s' clashes with the global '--%s'"
                              % (item.where, item.long, other.long))
    return ops, parts
