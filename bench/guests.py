"""Whole guests: `run` beside podman, many at once, many idle ones, the size of a keeper."""
import os
import shutil
import subprocess
import time
from pathlib import Path

import lib

ROUNDS = 5
RUNS = 5
LANES = 100
IDLE = int(os.environ.get("BENCH_IDLE", "500"))
BATCH = 10
IDLE_ROUNDS = 3
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


def strata(scratch, *args):
    return [lib.need_strata(), "--state", scratch.state, *args]


def with_busybox(scratch):
    if not os.access("/bin/busybox", os.X_OK):
        raise lib.Unable("needs the package busybox-static")
    scratch.strata("image", "build", "--quiet", "busybox")
    lib.check(strata(scratch, "run", "--rm", "busybox", "--", "true"))
    r = subprocess.run(strata(scratch, "run", "--rm", "busybox", "--", "sh", "-c", "exit 9"))
    if r.returncode != 9:
        raise RuntimeError(f"a guest that ends with 9 gave {r.returncode}: it did not run")


def podman_forms(scratch):
    """(what, command, shell line before) of the ways to run podman on some host."""
    v2, hybrid = lib.cgroup2()
    apart = f"umount '{v2}'" if hybrid and v2 else None
    for driver in ("overlay", "vfs"):
        for runtime, before in (("crun", apart), ("runc", None)):
            yield f"podman ({driver}, {runtime})", [
                "podman", "--root", scratch.dir / f"pod-{driver}", "--runroot",
                scratch.dir / f"podrun-{driver}", "--storage-driver", driver, "--runtime",
                runtime, "--cgroup-manager", "cgroupfs"], before


def podman(scratch):
    """(what, command, before) of a podman that works here, with a busybox image of its own."""
    lib.need_cmd("podman")
    root = scratch.dir / "bb"
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in ("sh", "true", "sleep"):
        (root / "bin" / name).symlink_to("busybox")
    lib.check(["tar", "-C", root, "-cf", scratch.dir / "bb.tar", "."])
    said = ""
    for name, base, before in podman_forms(scratch):
        # The limits of a host that lacks CAP_SYS_RESOURCE cannot be raised.
        run = [*base, "run", "--rm", *LIMITS, "busybox", "true"]
        try:
            lib.check([*base, "import", scratch.dir / "bb.tar", "busybox"], timeout=120)
            lib.spawn([run], 1, before=before)
            return name, run, before
        except (RuntimeError, subprocess.TimeoutExpired) as e:
            said = str(e)
    raise lib.Unable(f"podman cannot run here: {' '.join(said.split())[-160:]}")


def tidy_podman(scratch, links):
    """Undo what podman leaves: the mount over its store, and the bridge it made."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[1].startswith(str(scratch.dir / "pod")):
            subprocess.run(["umount", "-l", line.split()[1]], check=False)
    for link in set(os.listdir("/sys/class/net")) - links:
        if link.startswith(("cni-podman", "podman")):
            subprocess.run(["ip", "link", "delete", link], check=False)
    for parent in Path("/sys/fs/cgroup").glob("*/libpod_parent"):
        subprocess.run(["find", parent, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"],
                       check=False, stderr=subprocess.DEVNULL)


def beside_podman(scratch):
    links = set(os.listdir("/sys/class/net"))
    try:
        name, run, before = podman(scratch)
        ours = strata(scratch, "run", "--rm", "busybox", "--", "true")
        found = lib.alternate({"strata": (ours, None), name: (run, before)}, ROUNDS,
                              lambda v: lib.total_ms(lib.spawn([v[0]], RUNS, before=v[1])[0]))
    finally:
        tidy_podman(scratch, links)
    yield lib.Row("run --rm busybox true", f"{lib.median(found['strata']):.1f} ms",
                  f"{name} {lib.median(found[name]):.0f} ms",
                  lib.paired(found["strata"], found[name]), 0.1, 0.05)


def in_parallel(scratch):
    cmd = strata(scratch, "run", "--rm", "busybox", "--", "true")
    shapes = {"serial": (20, 1), "parallel": (1, LANES)}

    def each_ms(shape):
        runs, lanes = shape
        return lib.spawn([cmd], runs, lanes)[1] / (runs * lanes)
    found = lib.alternate(shapes, ROUNDS, each_ms)
    yield lib.Row(f"{LANES} starts in parallel, each",
                  f"{lib.median(found['parallel']):.2f} ms",
                  f"serial {lib.median(found['serial']):.2f} ms",
                  lib.paired(found["parallel"], found["serial"]), 1.5, 1.1)


def keepers(scratch):
    """Process ids of the keepers that have files of this state open."""
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            if os.path.basename(os.readlink(proc / "exe")) != "keeper":
                continue
            links = [os.readlink(fd) for fd in (proc / "fd").iterdir()]
            if any(str(scratch.dir) in link for link in links):
                yield int(proc.name)
        except OSError:
            continue


def pss_kib(pid):
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(r.split()[1]) for r in rows if r.startswith("Pss:"))


def keeper_size(scratch):
    scratch.strata("run", "--detach", "--name", "idle", "busybox", "--", "sleep", "100000")
    found = list(keepers(scratch))
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} keepers for one guest")
    time.sleep(2)  # idle: a keeper with nothing to do for a second gives memory back
    kib = pss_kib(found[0])
    scratch.strata("delete", "--force", "idle")
    yield lib.Row("keeper of one idle guest, PSS (MiB)", f"{kib} KiB", "limit 0.5 MiB",
                  kib / 1024, 0.5, 0.3)


def batch_ms(scratch, number, *args):
    """Median of a command made once for each guest of a batch."""
    runs, _ = lib.spawn([strata(scratch, *args)], BATCH, word=f"idle{number}")
    return lib.total_ms(runs)


def start_batch(scratch, number):
    return batch_ms(scratch, number, "run", "--detach", "--name", "@", "busybox", "--", "sleep",
                    "100000")


def expect_running(scratch, count):
    running = len(scratch.strata("list", "--running", "--quiet").split())
    if running != count:
        raise RuntimeError(f"{running} guests run, not {count}")


def a_few_more(scratch):
    """Start, exec and stop of guests beside those that idle: milliseconds by verb."""
    few = [9000 + n for n in range(3)]
    ms = {"start": [start_batch(scratch, n) for n in few],
          "exec": [batch_ms(scratch, n, "exec", "@", "--", "true") for n in few],
          "stop": [batch_ms(scratch, n, "stop", "--timeout", "0s", "@") for n in few]}
    for n in few:
        batch_ms(scratch, n, "delete", "@")
    return {verb: lib.median(found) for verb, found in ms.items()}


def many_idle(scratch):
    """A few more guests beside ten that idle and beside hundreds, in turns; an exec in each."""
    found = {BATCH: [], IDLE: []}
    start_batch(scratch, 0)
    for _ in range(IDLE_ROUNDS):
        found[BATCH].append(a_few_more(scratch))
        for n in range(1, IDLE // BATCH):
            start_batch(scratch, n)
        expect_running(scratch, IDLE)
        found[IDLE].append(a_few_more(scratch))
        for n in range(1, IDLE // BATCH):
            batch_ms(scratch, n, "exec", "@", "--", "true")
            batch_ms(scratch, n, "stop", "--timeout", "0s", "@")
            batch_ms(scratch, n, "delete", "@")
        expect_running(scratch, BATCH)
        lib.progress(f"{IDLE} idle: {found[IDLE][-1]}, {BATCH}: {found[BATCH][-1]}")
    for verb in ("start", "exec", "stop"):
        many, few = ([r[verb] for r in found[n]] for n in (IDLE, BATCH))
        yield lib.Row(f"{verb} beside {IDLE} idle guests", f"{lib.median(many):.1f} ms",
                      f"beside {BATCH}: {lib.median(few):.1f} ms", lib.paired(many, few), 1.5, 1.5)


def section(part):
    def rows():
        lib.need_root()
        lib.need_strata()
        with lib.Scratch() as scratch:
            with_busybox(scratch)
            yield from part(scratch)
    return rows
