#!/usr/bin/env python3
"""Makes everything that is derived from the operation records.

    opgen.py list DIR                     names of the records, one a line
    opgen.py code HEADER SOURCE FILE...   C structs, rows, completion scripts as C text
    opgen.py man DIR FILE...              strata.1 and one page per operation
    opgen.py shell DIR FILE...            completions: strata.bash, _strata, strata.fish
    opgen.py reference OUT FILE...        the command reference, in Markdown
    opgen.py examples OUT FILE...         the examples, for the test that runs them

A mistake in a record is printed as file:line: text, and nothing is written."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from op import code, pages, record, shell  # noqa: E402


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def list_records(args):
    names = sorted(f[:-3] for f in os.listdir(args[0]) if f.endswith(".op"))
    print("\n".join(names))


def make_code(args):
    ops, parts = record.load(args[2:])
    write(args[0], code.header(ops, parts))
    write(args[1], code.source(ops, parts))


def make_man(args):
    ops, parts = record.load(args[1:])
    for name, text in pages.man_pages(ops, parts):
        write(os.path.join(args[0], name), text)


def make_shell(args):
    ops, parts = record.load(args[1:])
    for name, text in shell.scripts(ops, parts).items():
        write(os.path.join(args[0], shell.FILES[name]), text)


def make_reference(args):
    ops, parts = record.load(args[1:])
    write(args[0], pages.reference(ops, parts))


def make_examples(args):
    ops, _ = record.load(args[1:])
    write(args[0], pages.examples(ops))


COMMANDS = {"list": list_records, "code": make_code, "man": make_man, "shell": make_shell,
            "reference": make_reference, "examples": make_examples}


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    try:
        COMMANDS[sys.argv[1]](sys.argv[2:])
    except record.Bad as bad:
        sys.exit(str(bad))


if __name__ == "__main__":
    main()
