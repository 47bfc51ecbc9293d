#!/usr/bin/env python3
"""Makes the tables of the x86 decoder from the rows of src/virt/isa/x86/rows.

    isagen.py code OUT DIR      C source: decode tables and `x86_rows`; DIR holds rows.h
    isagen.py check DIR         only look for mistakes

A mistake in a row is printed as file:line: row: text, and nothing is written."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from isa import code, rows  # noqa: E402


def load(folder):
    names = rows.row_files(os.path.join(folder, "rows.h"))
    features = rows.read_features(os.path.join(folder, "rows", "features.rows.h"))
    return rows.read([os.path.join(folder, n) for n in names], features)


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("code", "check"):
        sys.exit(__doc__)
    try:
        text = code.source(load(sys.argv[-1]))
    except rows.Bad as bad:
        sys.exit(str(bad))
    if sys.argv[1] == "code":
        with open(sys.argv[2], "w", encoding="utf-8") as f:
            f.write(text)


if __name__ == "__main__":
    main()
