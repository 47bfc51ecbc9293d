"""The source tree as the checks see it: file lists, C text without comments, functions.

Every check is called as `tools/NAME [ROOT]`, prints one line per violation
(`path:line: what`) and exits 1 when there is any.  The sources are formatted by
clang-format, so a function is a line `{` in column 0 up to the next `}` there.
"""
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

SKIPPED = {".git", "build", "__pycache__", "node_modules", ".cache"}
C_DIRS = ("src", "tests", "bench", "examples")


def root():
    """The tree to look at: the first argument, or the one this file is in."""
    plain = [a for a in sys.argv[1:] if not a.startswith("-")]
    return Path(plain[0]).resolve() if plain else Path(__file__).resolve().parent.parent


def files(top, *suffixes, dirs=("",)):
    """Files below `dirs` of `top` that end so, as sorted relative paths."""
    found = []
    for d in dirs:
        for where, subdirs, names in os.walk(top / d):
            subdirs[:] = sorted(s for s in subdirs if s not in SKIPPED)
            found += [Path(where, n).relative_to(top) for n in names
                      if not suffixes or n.endswith(suffixes)]
    return sorted(set(found))


def c_files(top, *suffixes):
    return files(top, *(suffixes or (".c", ".h")), dirs=C_DIRS)


def read(path):
    return Path(path).read_text(errors="replace")


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(text):
    return re.sub(r"[^\n]", " ", text)


def without_comments(text):
    """The text with comments blanked; lines and columns stay."""
    return TOKEN.sub(lambda m: blank(m[0]) if m[0].startswith("/") else m[0], text)


def code_only(text):
    """As `without_comments`, and strings emptied."""
    def one(m):
        t = m[0]
        return blank(t) if t.startswith("/") else t[0] + " " * (len(t) - 2) + t[-1]
    return TOKEN.sub(one, text)


def comments(text):
    """(line, text) of each comment."""
    return [(text.count("\n", 0, m.start()) + 1, m[0])
            for m in TOKEN.finditer(text) if m[0].startswith("/")]


@dataclass
class Function:
    path: Path
    name: str
    line: int    # of the first line of its signature
    lines: int   # signature and body
    params: int
    depth: int   # of blocks inside its body
    body: str
    is_static: bool


def count_params(text):
    """Parameters of `text`, which begins behind the opening parenthesis."""
    depth, commas, seen = 1, 0, ""
    for ch in text:
        depth += ch in "([{"
        depth -= ch in ")]}"
        if depth == 0:
            break
        commas += ch == "," and depth == 1
        seen += ch
    return 0 if seen.strip() in ("", "void") else commas + 1


def block_depth(body):
    """How deep blocks are nested; braces of initializers and literals do not count."""
    stack, deepest = [], 0
    for i, ch in enumerate(body):
        if ch == "{":
            before = body[:i].rstrip()
            close = before[-1:] == ")" and body[i - 1] == ")"  # (struct x){...}
            block = (not close and re.search(r"(\)|\belse|\bdo|[;{}:])$", before)
                     and (not stack or stack[-1]))
            stack.append(bool(block))
            deepest = max(deepest, sum(stack))
        elif ch == "}" and stack:
            stack.pop()
    return deepest


def functions(path, text):
    """The functions that a formatted C file defines."""
    code = code_only(text)
    code = re.sub(r"^#(?:[^\n]*\\\n)*[^\n]*", lambda m: blank(m[0]), code, flags=re.M)
    lines = code.split("\n")
    start = 0
    for i, line in enumerate(lines):
        if line.rstrip() in ("}", "};") or (line.endswith(";") and line[:1].strip()):
            start = i + 1
        if line.rstrip() != "{":
            continue
        end = next((j for j in range(i, len(lines)) if lines[j].rstrip() == "}"), i)
        first = next((j for j in range(start, i) if lines[j].strip()), i)
        head = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", "\n".join(lines[first:i]), flags=re.S)
        named = re.search(r"(\w+)\s*\(", head)
        if named:
            body = "\n".join(lines[i + 1:end])
            yield Function(path, named[1], first + 1, end - first + 1,
                           count_params(head[named.end():]), block_depth(body), body,
                           bool(re.match(r"\s*(static|inline)\b", head)))


def exceptions(top):
    """{(kind, object): reason} of docs/exceptions."""
    path = top / "docs" / "exceptions"
    rows = {}
    for line in read(path).splitlines() if path.exists() else []:
        words = line.split(None, 2)
        if words and not words[0].startswith("#"):
            rows[tuple(words[:2])] = words[2] if len(words) > 2 else ""
    return rows


class Report:
    """Collects violations; knows the exceptions of one check and the stale ones among them."""

    def __init__(self, top, *kinds):
        self.lines = []
        self.rows = {k: v for k, v in exceptions(top).items() if k[0] in kinds}
        self.used = set()

    def add(self, where, text):
        self.lines.append(f"{where}: {text}")

    def allows(self, kind, thing):
        if (kind, thing) in self.rows:
            self.used.add((kind, thing))
        return (kind, thing) in self.used

    def finish(self):
        for (kind, thing), reason in self.rows.items():
            if not reason:
                self.add("docs/exceptions", f"'{kind} {thing}' has no reason")
            if (kind, thing) not in self.used:
                self.add("docs/exceptions", f"'{kind} {thing}' is not needed any more")
        print("\n".join(self.lines), end="\n" if self.lines else "")
        sys.exit(1 if self.lines else 0)
