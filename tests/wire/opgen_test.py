#!/usr/bin/env python3
"""The generator refuses a wrong record by file and line, and what it makes is well formed.

opgen_test.py TOP: TOP is the top of the source tree."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = sys.argv.pop(1)
OPS = os.path.join(TOP, "src", "wire", "ops")


def read(path, most=-1):
    with open(path, encoding="utf-8") as f:
        return f.read(most)


GOOD = """op thing
group host
help do a thing
since 0.1
arg NAME name
    call it this
result none
see thing
example do it
    $ strata thing x
"""


def opgen(*args):
    return subprocess.run([sys.executable, os.path.join(TOP, "tools", "opgen.py"), *args],
                          capture_output=True, text=True, check=False)


def files():
    return sorted(glob.glob(OPS + "/*.op") + glob.glob(OPS + "/*.part"))


class Records(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp()
        shutil.copy(os.path.join(OPS, "global.part"), self.dir)

    def tearDown(self):
        shutil.rmtree(self.dir)

    def refused(self, text, where, why):
        path = os.path.join(self.dir, "thing.op")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        out = os.path.join(self.dir, "out.h")
        got = opgen("code", out, out + ".c", path, os.path.join(self.dir, "global.part"))
        self.assertEqual(got.returncode, 1, got.stderr)
        self.assertIn("thing.op:%s: " % where, got.stderr)
        self.assertIn(why, got.stderr)
        self.assertFalse(os.path.exists(out))

    def test_good_record_passes(self):
        path = os.path.join(self.dir, "thing.op")
        with open(path, "w", encoding="utf-8") as f:
            f.write(GOOD)
        out = os.path.join(self.dir, "out.h")
        got = opgen("code", out, out + ".c", path, os.path.join(self.dir, "global.part"))
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertIn("struct op_thing", read(out))

    def test_long_help_is_refused(self):
        self.refused(GOOD.replace("do a thing", "do " + "a thing " * 8), 1, "help is longer")

    def test_unknown_type_is_refused_with_the_nearest(self):
        self.refused(GOOD.replace("NAME name", "NAME nmae"), 5, "did you mean 'name'?")

    def test_unknown_word_is_refused(self):
        self.refused(GOOD.replace("since", "sinse"), 4, "unknown word 'sinse'")

    def test_unknown_group_is_refused(self):
        self.refused(GOOD.replace("group host", "group hosts"), 2, "unknown group")

    def test_missing_example_is_refused(self):
        self.refused(GOOD[:GOOD.index("example")], 1, "'example' is missing")

    def test_example_without_command_is_refused(self):
        self.refused(GOOD.replace("$ strata", "strata"), 9, "at least one")

    def test_unknown_see_also_is_refused(self):
        self.refused(GOOD.replace("see thing", "see things"), 8, "unknown operation 'things'")

    def test_name_and_file_differ(self):
        self.refused(GOOD.replace("op thing", "op other"), 1, "must be called so")

    def test_two_options_of_one_letter_are_refused(self):
        more = "option --red -r bool\n    be red\noption --round -r bool\n    be round\n"
        self.refused(GOOD.replace("result", more + "result"), 9, "'-r' is taken already")

    def test_option_of_a_global_name_is_refused(self):
        self.refused(GOOD.replace("result", "option --json bool\n    be JSON\nresult"), 7,
                     "clashes with the global")

    def test_help_with_full_stop_is_refused(self):
        self.refused(GOOD.replace("call it this", "call it this."), 5, "no full stop")

    def test_bool_with_value_is_refused(self):
        self.refused(GOOD.replace("result", "option --red X bool\n    be red\nresult"), 7,
                     "a bool takes no VALUE")

    def test_default_that_is_no_word_is_refused(self):
        text = "option --size X one-of big,small = huge\n    be so\nresult"
        self.refused(GOOD.replace("result", text), 7, "default 'huge' is none of the words")

    def test_list_of_words_from_a_set_is_refused(self):
        text = "option --size X one-of big,small many\n    be so\nresult"
        self.refused(GOOD.replace("result", text), 7, "a list of 'one-of' is not supported")

    def test_field_without_text_is_refused(self):
        self.refused(GOOD.replace("result none", "result object\n    name string NAME"), 8,
                     "a field is")

    def test_line_that_belongs_to_nothing_is_refused(self):
        self.refused("    lost\n" + GOOD, 1, "belongs to nothing")

    def test_unknown_part_is_refused(self):
        self.refused(GOOD.replace("result", "use nothing\nresult"), 7, "unknown part")


class Made(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp()
        for what in (("man", cls.dir), ("shell", cls.dir),
                     ("reference", cls.dir + "/commands.md"), ("examples", cls.dir + "/examples")):
            got = opgen(*what, *files())
            assert got.returncode == 0, got.stderr

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def test_every_operation_has_a_page_and_an_example(self):
        examples = read(self.dir + "/examples")
        for path in glob.glob(OPS + "/*.op"):
            stem = os.path.basename(path)[:-3]
            self.assertTrue(os.path.exists("%s/strata-%s.1" % (self.dir, stem)))
            self.assertIn("\n= %s: " % stem.replace("-", " "), examples)

    def test_generated_files_say_so_in_line_one_or_two(self):
        for name in os.listdir(self.dir):
            head = read(os.path.join(self.dir, name), 300).split("\n")[:2]
            self.assertIn("Made by tools/opgen.py", "\n".join(head), name)

    def test_reference_in_the_tree_is_current(self):
        kept = read(TOP + "/docs/commands.md")
        made = read(self.dir + "/commands.md")
        self.assertEqual(kept, made, "run: tools/opgen.py reference docs/commands.md "
                                     "src/wire/ops/*.op src/wire/ops/*.part")

    @unittest.skipUnless(shutil.which("groff"), "needs the program 'groff'")
    def test_manual_pages_have_no_warnings(self):
        pages = sorted(glob.glob(self.dir + "/*.1"))
        got = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", *pages],
                             capture_output=True, text=True, check=False)
        self.assertEqual(got.stderr, "")

    def test_bash_completes_commands_options_and_words(self):
        def complete(*words):
            script = ". %s/strata; COMP_WORDS=(%s); COMP_CWORD=%d; _strata; echo \"${COMPREPLY[@]}\"" % (
                self.dir, " ".join("'%s'" % w for w in words), len(words) - 1)
            got = subprocess.run(["bash", "-c", script], capture_output=True, text=True,
                                 check=False)
            self.assertEqual(got.stderr, "")
            return got.stdout.split()
        self.assertIn("run", complete("strata", "ru"))
        self.assertEqual(complete("strata", "image", "bui"), ["build"])
        self.assertEqual(complete("strata", "run", "--cpu-w"), ["--cpu-weight"])
        self.assertEqual(complete("strata", "run", "--pull", "n"), ["never"])
        self.assertEqual(complete("strata", "completion", "f"), ["fish"])
        self.assertEqual(complete("strata", "run", "--name", ""), [])

    def test_zsh_and_fish_scripts_parse(self):
        for shell, name in (("zsh", "_strata"), ("fish", "strata.fish")):
            if shutil.which(shell):
                got = subprocess.run([shell, "-n", os.path.join(self.dir, name)],
                                     capture_output=True, text=True, check=False)
                self.assertEqual((got.returncode, got.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
