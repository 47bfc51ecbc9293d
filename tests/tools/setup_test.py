#!/usr/bin/env python3
"""setup.sh names what is missing, and installs nothing without the right to."""
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
NOBODY = 65534


class Setup(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.dir = Path(scratch.name)
        self.dir.chmod(0o755)
        shutil.copy(TOP / "tools/setup.sh", self.dir)

    def run_it(self, packages, *sections, path=None):
        (self.dir / "packages").write_text(packages)
        env = {**os.environ, **({"PATH": path} if path else {})}
        user = {"user": NOBODY} if os.getuid() == 0 else {}
        r = subprocess.run(["/bin/sh", str(self.dir / "setup.sh"), *sections], env=env, cwd="/",
                           capture_output=True, text=True, **user)
        return r.returncode, r.stdout + r.stderr

    @unittest.skipIf(shutil.which("dpkg-query") is None, "no dpkg")
    def test_what_is_there_needs_nothing(self):
        self.assertEqual(self.run_it("[a]\ndpkg  -\n[b]\nno-such-thing -\n", "a"), (0, ""))

    @unittest.skipIf(shutil.which("dpkg-query") is None, "no dpkg")
    def test_without_root_the_one_command_is_printed(self):
        code, said = self.run_it("# c\n[a]\ndpkg -\nno-such-a -\n[b]\nno-such-b -\n", "a", "b")
        self.assertEqual(code, 1)
        self.assertEqual(said.splitlines()[-1],
                         "sudo apt-get install --no-install-recommends -y no-such-a no-such-b")

    def test_an_unknown_section_is_an_error(self):
        code, said = self.run_it("[a]\ndpkg -\n", "z")
        self.assertEqual(code, 2)
        self.assertIn("[z]", said)

    @unittest.skipIf(shutil.which("dpkg-query") is None, "no dpkg")
    def test_each_package_has_a_name_that_apt_could_know(self):
        rows = [line.split() for line in (TOP / "tools/packages").read_text().splitlines()
                if line and line[0] not in "#["]
        for row in rows:
            self.assertRegex(row[0], r"^[a-z0-9][a-z0-9.+-]+$")
            self.assertGreater(len(row), 1, f"{row[0]} has no purpose")


if __name__ == "__main__":
    unittest.main()
