#!/usr/bin/env python3
"""The generator answers a wrong row by file, line and name, and writes nothing.

isagen_test.py TOP: TOP is the top of the source tree."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = sys.argv.pop(1)
FOLDER = os.path.join(TOP, "src", "virt", "isa", "x86")

GOOD = 'X86_ROW(ADD, "add", "00 /r", "Eb,Gb", ANY, BASE, USER, INNOCUOUS, "W:OSZAPC", "LOCK", add)'


def row(**changes):
    columns = {"id": "ADD", "mnemonic": "add", "encoding": "00 /r", "operands": "Eb,Gb",
               "mode": "ANY", "feature": "BASE", "privilege": "USER",
               "sensitivity": "INNOCUOUS", "flags": "W:OSZAPC", "attributes": "", "routine": "add"}
    columns.update(changes)
    c = columns
    return (f'X86_ROW({c["id"]}, "{c["mnemonic"]}", "{c["encoding"]}", "{c["operands"]}", '
            f'{c["mode"]}, {c["feature"]}, {c["privilege"]}, {c["sensitivity"]}, '
            f'"{c["flags"]}", "{c["attributes"]}", {c["routine"]})\n')


class Generator(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        os.mkdir(os.path.join(self.folder, "rows"))
        shutil.copy(os.path.join(FOLDER, "rows", "features.rows.h"),
                    os.path.join(self.folder, "rows"))
        with open(os.path.join(self.folder, "rows.h"), "w", encoding="utf-8") as f:
            f.write('#include "virt/isa/x86/rows/test.rows.h"\n')

    def tearDown(self):
        shutil.rmtree(self.folder)

    def generate(self, text):
        with open(os.path.join(self.folder, "rows", "test.rows.h"), "w", encoding="utf-8") as f:
            f.write(text)
        self.out = os.path.join(self.folder, "out.c")
        return subprocess.run([sys.executable, os.path.join(TOP, "tools", "isagen.py"), "code",
                               self.out, self.folder], capture_output=True, text=True,
                              check=False)

    def refuses(self, text, *words, line=1):
        r = self.generate(text)
        self.assertNotEqual(r.returncode, 0, text)
        self.assertIn(f"test.rows.h:{line}:", r.stderr)
        self.assertNotIn("Traceback", r.stderr)
        for word in words:
            self.assertIn(word, r.stderr)
        self.assertFalse(os.path.exists(self.out))

    def accepts(self, text):
        r = self.generate(text)
        self.assertEqual(r.returncode, 0, r.stderr)
        with open(self.out, encoding="utf-8") as f:
            return f.read()

    def test_a_row_may_be_broken_over_lines_and_commented(self):
        text = self.accepts("// clang-format off\n/* a, b */\n" + GOOD.replace(", ", ",\n  ") +
                            "  /* X86_ROW( */\n")
        self.assertIn("X86_R_ADD", text)
        self.assertIn("generated", text.split("\n")[0])

    def test_unknown_words_are_named(self):
        for column, word in (("mode", "REAL"), ("feature", "AVX9000"), ("privilege", "ROOT"),
                             ("sensitivity", "SOMETIMES"), ("attributes", "LOCKS"),
                             ("flags", "X:OSZ"), ("flags", "W:Q"), ("operands", "Eb,Kb"),
                             ("operands", "Eb,Gk"), ("encoding", "00 /8"),
                             ("encoding", "00 /r ix"), ("encoding", "VEX.512.NP.0F.WIG 10 /r"),
                             ("encoding", "/r")):
            self.refuses("\n" + row(**{column: word}), "ADD", line=2)

    def test_encoding_and_operands_must_agree(self):
        for encoding, operands in (("00", "Eb,Gb"), ("00 /0", "Eb,Gb"), ("00 /r", "Eb,Gb,Ib"),
                                   ("00 /r ib", "Eb,Gb"), ("00 /r ib", "Eb,Iz"),
                                   ("00 /r cb", "Eb,Ib"), ("B8", "Zv"), ("B9+r", "Zv"),
                                   ("00 /r:r", "Mb,Gb"), ("0F 01 /0 /1", "-"),
                                   ("0F 01 10", "-"), ("00 /r", "Gb,Vx"), ("00 /r", "Hx,Wx"),
                                   ("00 /vsib", "Vx")):
            self.refuses(row(encoding=encoding, operands=operands), "ADD")

    def test_columns_and_form(self):
        self.refuses('X86_ROW(A, "a", "00")\n', "3 columns")
        self.refuses(GOOD.replace('"add"', "add") + "\n", "quotes")
        self.refuses(GOOD[:-1], "without its end")
        self.refuses("#define ROW(x)\n" + GOOD, "only X86_ROW")
        self.refuses(GOOD + "\n" + GOOD + "\n", "taken", line=2)

    def test_two_rows_for_the_same_bytes(self):
        self.refuses(GOOD + "\n" + row(id="OTHER"), "OTHER", "same bytes as ADD", line=2)
        self.refuses(GOOD + "\n" + row(id="OTHER", encoding="W1 00 /r") +
                     row(id="THIRD", encoding="00 /r:m"), "THIRD", line=3)
        self.refuses(GOOD + "\n" + row(id="OTHER", encoding="00", operands="-"), "modrm", line=2)
        self.refuses(row(encoding="B8+r", operands="Zv") +
                     row(id="OTHER", encoding="B8+r", operands="Zd"), line=2)

    def test_who_asks_for_more_comes_first(self):
        text = self.accepts(GOOD + "\n" + row(id="WIDE", encoding="W1 00 /r") +
                            row(id="WIDE_MEMORY", encoding="W1 00 /r:m") +
                            row(id="PREFIXED", encoding="F3 00 /r"))
        cases = text[text.index("x86_cases"):text.index("x86_shapes")]
        order = ["PREFIXED", "WIDE_MEMORY", "WIDE}", "ADD"]
        places = [cases.index("X86_R_" + name) for name in order]
        self.assertEqual(places, sorted(places))

    def test_modes_keep_rows_apart(self):
        self.accepts(row(id="ARPL", encoding="63 /r", mode="LEGACY") +
                     row(id="MOVSXD", encoding="63 /r", mode="LONG"))
        self.accepts(row(id="A", encoding="O16 98", operands="-") +
                     row(id="B", encoding="O32 98", operands="-") +
                     row(id="C", encoding="O64 98", operands="-"))
        self.accepts(row(id="NOP", encoding="90", operands="-") +
                     row(id="XCHG", encoding="90+r", operands="Zv,rAX"))

    def test_the_rows_of_the_tree_are_right(self):
        r = subprocess.run([sys.executable, os.path.join(TOP, "tools", "isagen.py"), "check",
                            FOLDER], capture_output=True, text=True, check=False)
        self.assertEqual(r.returncode, 0, r.stderr)


unittest.main(verbosity=0)
