"""What every benchmark needs: helpers built, runs made and checked, figures as ratios."""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
STRATA = Path(os.environ.get("STRATA", TOP / "build/release/src/prog/strata"))
CACHE = TOP / "build/bench"
GUEST_CODE = 7  # what bench/guest.c ends with


class Unable(Exception):
    """This host cannot give the figure; the text says why."""


@dataclass
class Row:
    figure: str
    ours: str     # with its unit
    peer: str     # name and value
    ratio: float  # the measured figure that `reach` is about
    reach: float
    stretch: float

    def verdict(self):
        if self.ratio <= self.stretch:
            return "stretch"
        return "reached" if self.ratio <= self.reach else "MISSED"


def helper(name):
    """The path of bench/NAME.c, compiled, static."""
    out, source = CACHE / name, TOP / "bench" / f"{name}.c"
    if not out.exists() or out.stat().st_mtime < source.stat().st_mtime:
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-std=gnu17", "-O2", "-D_GNU_SOURCE", "-static", "-o", str(out),
                        str(source)], check=True)
    return str(out)


def need_strata():
    if not STRATA.exists():
        raise Unable(f"{STRATA.relative_to(TOP)} is not built (make release)")
    return str(STRATA)


def need_root():
    if os.getuid() != 0:
        raise Unable("needs root")


def need_cmd(*names):
    for name in names:
        if not shutil.which(name):
            raise Unable(f"needs the program '{name}'")


def check(cmd, **kw):
    """Run; the output's text.  A code other than 0 ends the benchmark."""
    r = subprocess.run([str(c) for c in cmd], capture_output=True, text=True,
                       stdin=subprocess.DEVNULL, **kw)
    if r.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, cmd))}: code {r.returncode}: {r.stderr[-600:]}")
    return r.stdout


def spawn(steps, runs=10, lanes=1, guest=False, before=None, env=None, word=None):
    """Runs of `steps` by bench/spawn.c: ([run], wall ms of all).

    `before` is a shell command that prepares a private mount namespace first; with
    `word`, run number i of lane l calls itself WORDxLxI."""
    cmd = [helper("spawn"), "-n", str(runs), "-p", str(lanes)]
    cmd += ["-g", str(GUEST_CODE)] if guest else []
    cmd += ["-w", word] if word else []
    for step in steps:
        cmd += ["+++", *map(str, step)]
    if before:
        cmd = ["unshare", "-m", "sh", "-c", before + ' && exec "$@"', "sh", *cmd]
    lines = [json.loads(line) for line in check(cmd, env={**os.environ, **(env or {})})
             .splitlines() if line.startswith("{")]
    found = [line for line in lines if "total_ms" in line]
    if len(found) != runs * lanes:
        raise RuntimeError(f"{len(found)} of {runs * lanes} runs of {steps[0]}")
    return found, lines[-1]["all_ms"]


def alternate(variants, rounds, measure):
    """Measure each variant once a round, in turning order; {name: [figure per round]}."""
    names = list(variants)
    out = {n: [] for n in names}
    for i in range(rounds + 1):
        for n in names[i % len(names):] + names[:i % len(names)]:
            figure = measure(variants[n])
            if i > 0:  # the first round warms up
                out[n].append(figure)
    return out


def median(values):
    return statistics.median(values)


def paired(a, b):
    """The median of the ratios round by round: what both suffered cancels out."""
    return median([x / y for x, y in zip(a, b)])


def total_ms(runs):
    return median([r["total_ms"] for r in runs])


def peak_rss_kib(runs):
    return max(s["rss_kib"] for r in runs for s in r["steps"])


def cgroup2():
    """Where the version 2 hierarchy is mounted, and whether version 1 is there, too."""
    rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    v2 = next((r[1] for r in rows if r[2] == "cgroup2"), None)
    return v2, any(r[2] == "cgroup" for r in rows)


class Scratch:
    """A directory that is gone afterwards; guests and networks of its state go first."""

    def __enter__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="strata-bench-"))
        self.state = self.dir / "state"
        return self

    def strata(self, *args):
        return check([need_strata(), "--state", self.state, *args])

    def guests(self):
        return self.strata("list", "--quiet").split()

    def __exit__(self, *_):
        if self.state.exists() and STRATA.exists():
            for name in self.guests():
                self.strata("delete", "--force", name)
            for name in self.strata("network", "list", "--quiet").split():
                self.strata("network", "delete", name)
        shutil.rmtree(self.dir, ignore_errors=True)


def progress(text):
    print(f"  {text}", file=sys.stderr, flush=True)
