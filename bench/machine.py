"""A whole machine in software: Debian's kernel in `machine` and in QEMU's TCG, by turns, with the same
kernel, initramfs and command line.  What runs inside is machine_guest.c.

Times are the guest's own; how far its clock went is compared with the host's.  The peer is, for each
figure, the best of QEMU's boards and processors in PEERS.
rows: FV-01 ISA-07"""
import math
import os
import re
import select
import subprocess
import tempfile
import time
from pathlib import Path

import isa
import lib

KERNELS = Path(os.environ.get("STRATA_LINUX", "/")) / "boot"
MEMORY_MIB = 512
APPEND = "console=ttyS0 quiet panic=-1"
PEERS = {"pc": ["-machine", "pc"], "q35": ["-machine", "q35"], "q35,max": ["-machine", "q35", "-cpu", "max"]}
PROGRAMS = ["alu", "branchy", "calls", "indirect", "mix", "sieve", "sha256", "sort", "lz", "chase_small",
            "chase_large", "copy_rep", "copy_sse", "vector_int", "scalar_double", "vector_float", "x87",
            "jit_fresh", "jit_rewrite", "wide"]
OPERATIONS = {"null": "null system call", "fault": "page fault", "fork": "fork+exec+wait",
              "pipe": "pipe ping-pong", "mmap": "mmap 64 KiB, touch, munmap"}
SECONDS_MOST = 300
IDLE_SECONDS = 10
LONG_SECONDS = 75  # more than after which a processor gives all back that it can
CROWD = 100
CROWD_MIB = 128
CROWD_SECONDS = 180
CLOCK_MOST = 0.05  # by how much the guest's clock may differ from the host's
NONE = float("inf")


def kernel():
    found = sorted(KERNELS.glob("vmlinuz-*"))
    if not found:
        raise lib.Unable(f"no Linux kernel below {KERNELS} (STRATA_LINUX)")
    return found[-1]


# ---- the initramfs: cpio "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst) ----

def entry(number, name, mode, data=b"", device=(0, 0)):
    name = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + name
    head += b"\0" * (-len(head) % 4)
    return head + data + b"\0" * (-len(data) % 4)


def compose(path, files):
    """`files` is {name: bytes}; their folders come first."""
    folders = {str(p) for name in files for p in Path(name).parents if str(p) != "."} | {"dev"}
    rows = [(f, 0o40755, b"", (0, 0)) for f in sorted(folders)]
    rows += [("dev/console", 0o20600, b"", (5, 1)), ("dev/null", 0o20666, b"", (1, 3))]
    rows += [(name, 0o100755, data, (0, 0)) for name, data in files.items()]
    out = [entry(i + 1, *row) for i, row in enumerate(rows)] + [entry(0, "TRAILER!!!", 0)]
    path.write_bytes(b"".join(out))
    return path


def programs_folder():
    return lib.STRATA.parents[2] / "bench/cpu"


def compiler():
    """The compiler proper and its libraries, where they lie on the host; a source for it."""
    cc1 = lib.check(["gcc", "-print-prog-name=cc1"]).strip()
    files = {"cc1": Path(cc1).read_bytes()}
    for path in re.findall(r"(/\S+)", lib.check(["ldd", cc1])):
        files[path.lstrip("/")] = Path(path).read_bytes()
    files["source.i"] = lib.check(["gcc", "-E", lib.TOP / "bench/machine_guest.c"]).encode()
    return files


def initrd(where, with_compiler=False):
    files = {"init": Path(lib.helper("machine_guest")).read_bytes()}
    for name in PROGRAMS:
        path = programs_folder() / f"{name}.elf"
        if not path.exists():
            raise lib.Unable(f"{path} is not built")
        files[f"programs/{name}"] = path.read_bytes()
    return compose(where / f"initrd{with_compiler:d}", {**files, **(compiler() if with_compiler else {})})


# ---- one run ----

def cpu_seconds(pid):
    """Of all threads; they are few, and those that ended meanwhile were short."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(task.read_text().split()[0])
        except (OSError, ValueError):
            pass
    return total / 1e9


def beside_ram_kib(pid):
    """PSS of what is neither the guest's memory (the one mapping of its size) nor host code."""
    total, skip = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (....) \S+ \S+ \S+ *(.*)", line)
        if head:
            size = int(head[2], 16) - int(head[1], 16)
            skip = size >= MEMORY_MIB << 20 or head[4].startswith("/dev/zero") or "wx" in head[3]
        elif line.startswith("Pss:") and not skip:
            total += int(line.split()[1])
    return total


class Run:
    """What a machine said: lines, with the host's time and its processor time at each."""

    def __init__(self, cmd, env=None):
        self.lines = []
        self.beside_kib = None
        started = time.monotonic()
        with subprocess.Popen([str(c) for c in cmd], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, env=env) as p:
            try:
                for raw in p.stdout:
                    self.lines.append((raw.decode(errors="replace").strip(), time.monotonic() - started,
                                       cpu_seconds(p.pid)))
                    if raw.startswith((b"end idle", b"rested")):
                        self.beside_kib = beside_ram_kib(p.pid)
                    if self.lines[-1][1] > SECONDS_MOST:
                        break
            finally:
                p.kill()
        if not self.lines or not any(line.endswith("last line") for line, _, _ in self.lines):
            raise RuntimeError(f"{cmd[0]}: the guest did not come to its end: {self.lines[-3:]}")
        self.boot_s, self.boot_cpu_s = next((at, cpu) for line, at, cpu in self.lines
                                            if line.endswith("first process"))
        self.operations = {w[1]: float(w[2]) for w in self.words("op")}
        self.cpu_us = dict(self.spans())
        self.sums = {}
        self.programs = {}
        for w in self.words("program"):
            self.programs[w[1]] = min(float(w[2]), self.programs.get(w[1], NONE))
            if self.sums.setdefault(w[1], w[3:]) != w[3:] or w[3] != "0" or "sum" not in w:
                raise RuntimeError(f"{cmd[0]}: {w[1]} said {w}")

    def words(self, first):
        return [line.split() for line, _, _ in self.lines if line.startswith(first + " ")]

    def spans(self):
        """(operation, processor time of one in us); the clocks are compared on the way."""
        begun = {}
        for line, at, cpu in self.lines:
            w = line.split()
            if w[:1] == ["begin"]:
                begun[w[1]] = (float(w[2]), at, cpu)
            elif w[:1] == ["end"]:
                guest, host = float(w[2]) - begun[w[1]][0], at - begun[w[1]][1]
                if abs(guest - host) > CLOCK_MOST * host + 0.05:
                    raise RuntimeError(f"{w[1]}: {guest:.3f} s by the guest's clock, {host:.3f} s by the host's")
                yield w[1], (cpu - begun[w[1]][2]) / int(w[3]) * 1e6


class Machines:
    def __init__(self, where):
        self.kernel = kernel()
        self.initrd = initrd(where)
        self.machine = Path(lib.need_strata()).parent / "machine"
        self.env = {**os.environ, "PATH": isa.path_with_qemu()}

    def run(self, who, work="", cpus=1, words="", image=None):
        append = f"{APPEND} work={work} {words}".strip()
        image = image or self.initrd
        if who == "strata":
            return Run([self.machine, "--cpus", cpus, "--memory", MEMORY_MIB, "--kernel", self.kernel,
                        "--initrd", image, "--append", append])
        return Run(["qemu-system-x86_64", "-accel", "tcg,thread=multi", *PEERS[who], "-smp", cpus, "-m",
                    MEMORY_MIB, "-kernel", self.kernel, "-initrd", image, "-append", append, "-display",
                    "none", "-serial", "stdio", "-no-reboot", "-nodefaults"], env=self.env)


def section(measure):
    def rows():
        with tempfile.TemporaryDirectory(prefix="strata-bench-") as where:
            return list(measure(Machines(Path(where))))
    return rows


def row(figure, ours, peers, unit, reach, stretch, scale=1.0):
    """`peers` is {name: median}; ratios are time by time, as everywhere in the table."""
    best = min(peers, key=peers.get)
    return lib.Row(figure, f"{ours * scale:.3g} {unit}", f"qemu {best} {peers[best] * scale:.3g} {unit}",
                   ours / peers[best], reach, stretch)


def medians(found, pick):
    """{who: median} of what `pick` finds in each of their runs."""
    return {who: lib.median([pick(r) for r in runs]) for who, runs in found.items()}


def split(values):
    return values["strata"], {who: v for who, v in values.items() if who != "strata"}


def turns(rounds, measure):
    """{who: [Run]} of our machine and all peers, alternating; nobody is warmed up by a boot before."""
    out = {who: [] for who in ["strata", *PEERS]}
    for _ in range(rounds):
        for who in out:
            out[who].append(measure(who))
    return out


def mean(ratios):
    return math.prod(ratios) ** (1 / len(ratios))


def boots(m):
    found = turns(7, m.run)
    yield row("power-on to the first process, wall", *split(medians(found, lambda r: r.boot_s)), "s", 0.6, 0.3)
    yield row("the same, processor time", *split(medians(found, lambda r: r.boot_cpu_s)), "s", NONE, NONE)


def system_mix(m):
    found = turns(3, lambda who: m.run(who, "mix"))
    ratios = []
    for name, title in OPERATIONS.items():
        ours, peers = split(medians(found, lambda r, n=name: r.operations[n]))
        ratios.append(ours / min(peers.values()))
        for who, runs in found.items():
            lib.progress(f"{title}: {who}: least {[round(r.operations[name], 3) for r in runs]} us, "
                         f"processor time {[round(r.cpu_us[name], 3) for r in runs]} us")
        yield row(f"system mix: {title}", ours, peers, "us", 1 / 1.5, 1 / 5)
    yield lib.Row("system mix: geometric mean", f"{1 / mean(ratios):.2f} times as fast", "qemu 1", mean(ratios),
                  1 / 3, 1 / 5)


def user_mix(m):
    found = turns(3, lambda who: m.run(who, "user", words="programs=" + "+".join(PROGRAMS)))
    sums = {name: {str(r.sums[name]) for runs in found.values() for r in runs} for name in PROGRAMS}
    wrong = [name for name, said in sums.items() if len(said) != 1]
    if wrong:
        raise RuntimeError(f"other sums here than there: {wrong}")
    ratios = []
    for name in PROGRAMS:
        ours, peers = split(medians(found, lambda r, n=name: r.programs[n]))
        ratios.append(ours / min(peers.values()))
        for who, runs in found.items():
            lib.progress(f"{name}: {who}: {[round(r.programs[name], 4) for r in runs]} s, processor time with its "
                         f"start {[round(r.cpu_us[name] / 1e6, 4) for r in runs]} s")
        yield row(f"user mix: {name}", ours, peers, "ms", NONE, NONE, 1e3)
    yield lib.Row("user mix: geometric mean", f"{1 / mean(ratios):.2f} times as fast", "qemu 1", mean(ratios),
                  1 / 3, 1 / 5)


def parallel(m):
    image = initrd(m.initrd.parent, with_compiler=True)
    found = turns(3, lambda who: m.run(who, "parallel", cpus=4, image=image))
    for who, runs in found.items():
        for r in runs:
            _, _, _, failed, length = next(w for w in r.words("op") if w[1] == "parallel")
            if failed != "0" or length == "0":
                raise RuntimeError(f"{who}: {failed} compilers failed")
        lib.progress(f"parallel: {who}: {[round(r.operations['parallel'], 2) for r in runs]} s, processor time "
                     f"{[round(r.cpu_us['parallel'] * 8 / 1e6, 2) for r in runs]} s")
    yield row("eight compilers on 4 processors", *split(medians(found, lambda r: r.operations["parallel"])), "s",
              1 / 2, 1 / 4)


def idle(m):
    found = turns(3, lambda who: m.run(who, "idle", words=f"rest={IDLE_SECONDS}"))
    share = medians(found, lambda r: r.cpu_us["idle"] / 1e6 / IDLE_SECONDS)
    beside = medians(found, lambda r: r.beside_kib / 1024)
    for title, values, limit, unit, scale in (
            ("idle guest, processor time, of a core", share, 0.005, "%", 100),
            ("idle guest, PSS beside its memory and host code", beside, 8, "MiB", 1)):
        ours, peers = split(values)
        best = min(peers, key=peers.get)
        yield lib.Row(title, f"{ours * scale:.3g} {unit}",
                      f"limit {limit * scale:g} {unit}; qemu {best} {peers[best] * scale:.3g} {unit}",
                      ours / limit, 1, 0.5)
    yield from long_rest(m)


def long_rest(m):
    """Our machine alone: what is left then, and what coming back costs."""
    least = m.run("strata", "idle", words=f"rest={LONG_SECONDS}").beside_kib / 1024
    yield lib.Row(f"the same after {LONG_SECONDS} s", f"{least:.3g} MiB", "limit 8 MiB", least / 8, 1, 0.5)
    wake = m.run("strata", "wake", words=f"rest={LONG_SECONDS}")
    for name, title in (("exec-first", "the first command after it"), ("exec-behind", "the following 200")):
        took, before = wake.operations[name], wake.operations["exec-before"]
        yield lib.Row(title, f"{took / 1e3:.3g} ms", f"200 before it {before / 1e3:.3g} ms", took / before, NONE, NONE)


class Crowd:
    """Many machines at once; each is asked through its console."""

    def __init__(self, m, count):
        self.machines = [subprocess.Popen(
            [str(c) for c in (m.machine, "--cpus", 1, "--memory", CROWD_MIB, "--kernel", m.kernel, "--initrd",
                              m.initrd, "--append", f"{APPEND} work=answer")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(count)]

    def wait_for(self, word, until):
        """How many say a line with this word before `until`."""
        said = 0
        for p in self.machines:
            seen = b""
            while word not in seen and select.select([p.stdout], [], [], max(0, until - time.monotonic()))[0]:
                got = os.read(p.stdout.fileno(), 4096)
                seen += got
                if not got:
                    break
            said += word in seen
        return said

    def ask(self, text):
        for p in self.machines:
            p.stdin.write(text)
            p.stdin.flush()

    def pss_mib(self):
        found = (Path(f"/proc/{p.pid}/smaps_rollup").read_text() for p in self.machines)
        return sum(int(re.search(r"Pss: +(\d+)", text)[1]) for text in found) / 1024

    def end(self):
        for p in self.machines:
            p.kill()
            p.communicate()


def density(m):
    crowd = Crowd(m, CROWD)
    try:
        until = time.monotonic() + CROWD_SECONDS
        started = crowd.wait_for(b"first process", until)
        before = sum(cpu_seconds(p.pid) for p in crowd.machines)
        time.sleep(IDLE_SECONDS)
        used = (sum(cpu_seconds(p.pid) for p in crowd.machines) - before) / IDLE_SECONDS
        crowd.ask(b"are you there\n")
        answered = crowd.wait_for(b"answer are you there", time.monotonic() + IDLE_SECONDS)
        lib.progress(f"density: {started} started, {answered} answered")
        yield lib.Row(f"{CROWD} machines of {CROWD_MIB} MiB: those that answer", f"{answered}", f"all {CROWD}",
                      CROWD / max(answered, 1), 1, 1)
        yield lib.Row("each of them, PSS", f"{crowd.pss_mib() / CROWD:.1f} MiB", f"its memory {CROWD_MIB} MiB",
                      crowd.pss_mib() / CROWD / CROWD_MIB, 1, 0.5)
        yield lib.Row("each of them, idle, processor time, of a core", f"{used / CROWD * 100:.3g} %", "limit 0.5 %",
                      used / CROWD / 0.005, 1, 0.5)
    finally:
        crowd.end()


SECTIONS = {"boot": boots, "mix": system_mix, "user": user_mix, "parallel": parallel, "idle": idle,
            "density": density}


def rows():
    return [r for name in SECTIONS for r in section(SECTIONS[name])()]
