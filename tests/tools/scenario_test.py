#!/usr/bin/env python3
"""The scenario helper sees what a scenario leaves behind; the runner counts and ends scenarios."""
import os
import shutil
import subprocess
import tempfile
import textwrap
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
FAKE = "#!/bin/sh\nexit 0\n"  # stands for the program: no guests


class Helper(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.dir = Path(scratch.name)
        (self.dir / "strata").write_text(FAKE)
        (self.dir / "strata").chmod(0o755)

    def scenario(self, body):
        script = self.dir / "s.sh"
        lib = TOP / "tests/scenario/lib.sh"
        script.write_text(f". {lib}\nLEFT_WAIT_SECONDS=0\n" + textwrap.dedent(body))
        env = {**os.environ, "STRATA": str(self.dir / "strata"), "TOP": str(TOP)}
        r = subprocess.run(["sh", str(script)], env=env, capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, timeout=60)
        return r.returncode, r.stdout + r.stderr

    def test_a_clean_scenario_passes_and_leaves_no_directory(self):
        code, said = self.scenario('strata list; echo "dir $WORK"')
        self.assertEqual(code, 0, said)
        self.assertFalse(Path(said.split("dir ")[1].strip()).exists())

    def test_skip_and_fail_have_their_codes_and_reasons(self):
        self.assertEqual(self.scenario("need_cmd no-such-program")[0], 77)
        self.assertIn("no-such-program", self.scenario("need_cmd no-such-program")[1])
        self.assertEqual(self.scenario("is answer 41 42")[0], 1)
        self.assertEqual(self.scenario("has text abc b; fails 3 sh -c 'exit 3'")[0], 0)
        self.assertEqual(self.scenario("fails 3 true")[0], 1)
        self.assertEqual(self.scenario("has text abc x")[0], 1)
        self.assertEqual(self.scenario("false; true")[0], 1)

    def test_a_process_left_in_the_state_is_found_and_ended(self):
        code, said = self.scenario('mkdir "$STATE"; cd "$STATE"; '
                                   "setsid sh -c 'sleep 77 & echo pid $!' ")
        self.assertEqual(code, 1, said)
        self.assertIn("left behind:\nprocess", said)
        pid = said.split("pid ")[1].split()[0]
        self.assertIn(self.state_of(pid), ("gone", "Z"))

    def state_of(self, pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().split()[2]
        except (FileNotFoundError, ProcessLookupError):
            return "gone"

    @unittest.skipIf(os.getuid() != 0, "needs root")
    def test_a_mount_left_in_the_state_is_found_and_undone(self):
        code, said = self.scenario('mkdir -p "$STATE/m"; mount -t tmpfs none "$STATE/m"')
        self.assertEqual(code, 1, said)
        self.assertIn("left behind:\nmount", said)
        path = said.split("mount ")[1].split()[0]
        self.assertNotIn(path, Path("/proc/self/mountinfo").read_text())

    @unittest.skipIf(os.getuid() != 0 or not os.path.isdir("/sys/fs/cgroup/pids"), "no cgroup v1")
    def test_an_empty_group_left_behind_is_found_and_removed(self):
        code, said = self.scenario("mkdir -p /sys/fs/cgroup/pids/strata/0$$")
        self.assertEqual(code, 1, said)
        self.assertIn("left behind:\ncgroup", said)

    @unittest.skipIf(os.getuid() != 0 or not os.path.isdir("/sys/fs/cgroup/pids"), "no cgroup v1")
    def test_an_empty_group_of_a_scenario_beside_it_is_not_its_own(self):
        other = Path(tempfile.mkdtemp(prefix="strata-scenario-", dir="/tmp"))
        group = Path(f"/sys/fs/cgroup/pids/strata/0{os.getpid()}")
        try:
            (other / "state").mkdir()
            (other / "state/store.db").write_bytes(b"\0/guests/" + group.name.encode() + b"\0")
            code, said = self.scenario(f"mkdir -p {group}")
            self.assertEqual(code, 0, said)
            (other / "state/store.db").unlink()
            code, said = self.scenario(f"rmdir {group}; list_cgroups >$WORK/.cgroups; mkdir {group}")
            self.assertEqual(code, 1, said)
        finally:
            shutil.rmtree(other)
            if group.exists():
                group.rmdir()

    def runner(self, scripts):
        """Run tools/check on scenarios of its own in a copy of what it needs."""
        top = self.dir / "tree"
        for d in ("tools", "tests/scenario"):
            (top / d).mkdir(parents=True, exist_ok=True)
        (top / "tools/check").write_text((TOP / "tools/check").read_text())
        for name, text in scripts.items():
            (top / "tests/scenario" / f"{name}.sh").write_text(text)
        r = subprocess.run(["python3", str(top / "tools/check"), "--only=scenario"],
                           capture_output=True, text=True, timeout=120)
        return r.returncode, r.stdout, top

    def test_the_runner_counts_in_its_last_line(self):
        code, said, top = self.runner({"a": "exit 0\n", "b": "echo 'skip: no moon'\nexit 77\n",
                                       "c": "echo why\nexit 3\n", "lib": "exit 1\n",
                                       "d": "# long\n\nexit 1\n"})
        self.assertEqual(code, 1)
        self.assertEqual(said.splitlines()[-1], "2 passed, 1 failed, 1 skipped")
        self.assertIn("scenario/b: no moon", said)
        self.assertIn("| why", said)
        self.assertEqual((top / "build/logs/c.log").read_text(), "why\n")
        self.assertFalse((top / "build/logs/a.log").exists())

    def test_the_runner_ends_what_takes_too_long(self):
        code, said, _ = self.runner({"slow": "# timeout: 1\n\nsleep 50 & wait\n"})
        self.assertEqual(code, 1)
        self.assertIn("time was up", said)


if __name__ == "__main__":
    unittest.main()
