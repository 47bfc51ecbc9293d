"""What a machine in software takes beyond native, by cause: one job in five parts (overhead_guest.c) natively and
in `machine`, which perf samples.  Each sample counts for the cause that its function's source file is for, or
for none.  Independent of the samples is the processor time by the kernel's clock.

STRATA_LINUX: where boot/vmlinuz-* and lib/modules lie.
rows: PRO-10"""
import bisect
import re
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import lib
import machine
import machine_disk

HERTZ = 999
MEMORY_MIB = 256
DISK_MIB = 64
SECONDS_MOST = 60
NATIVE_ROUNDS = 3
LEAST = 0.9  # of the gap, what the causes explain
PARTS = ("compute", "calls", "paging", "disk", "console")
# In generated code the guest's own work is done, too: what it takes beyond native is part of "vCPU state".
CAUSES = ("vCPU state", "privileged instructions", "paging", "console", "I/O")
STATE, PRIVILEGED, PAGING, CONSOLE, IO = CAUSES
GENERATED, REST = "generated", "no cause"

# The longest of these that a "file:function" begins with says its cause; one that none fits has none.
FILES = {
    # entering and leaving generated code, making it, and routines for what has no form in it
    "src/virt/isa/x86/": STATE, "src/virt/isa/ir/": STATE, "src/virt/isa/emit/": STATE,
    # sensitive instructions and exits; also what is executed before it is translated, or never is
    "src/virt/isa/x86/system/": PRIVILEGED, "src/virt/isa/x86/interpret/event.c": PRIVILEGED,
    "src/virt/isa/x86/fault.c": PRIVILEGED, "src/virt/isa/x86/interpret/": PRIVILEGED,
    "src/virt/isa/x86/memory/": PAGING, "src/virt/isa/x86/translate/slow.c:": PAGING,
    "src/virt/isa/x86/translate/slow.c:routine_helper": STATE,
    "src/contract/mem": PAGING, "src/host/ram.c": PAGING, "src/virt/monitor/slots.c": PAGING,
    "src/virt/monitor/dispatcher.c": PRIVILEGED, "src/virt/monitor/interpreter.c": PRIVILEGED,
    "src/virt/monitor/count.c": PRIVILEGED, "src/virt/monitor/trace.c": PRIVILEGED,
    "src/virt/monitor/vcpu.c": PRIVILEGED, "src/virt/monitor/bus.c": PRIVILEGED, "src/virt/monitor/time.c": PRIVILEGED,
    "src/virt/monitor/board/": PRIVILEGED, "src/virt/monitor/dev/": PRIVILEGED, "src/virt/monitor/pv/": PRIVILEGED,
    "src/virt/monitor/dev/serial.c": CONSOLE, "src/virt/monitor/screen/": CONSOLE,
    "src/virt/monitor/allocator.c:on_console": CONSOLE, "src/node/machine/run.c:on_console": CONSOLE,
    "src/virt/monitor/dev/keyboard.c": CONSOLE, "src/virtio/console/": CONSOLE,
    "src/virtio/": IO, "src/virt/monitor/vpci/": IO, "src/virt/monitor/pci/": IO, "src/virt/monitor/nvme/": IO,
    "src/contract/blk": IO, "src/resource/storage/": IO, "src/host/loop/": IO,
}

# What disks ask of the host's kernel, where no function of ours is to be seen: libraries keep no frame pointers.
DISKS = ("io_wq_worker", "do_sys_io_uring_enter", "do_preadv", "do_pwritev")
# What belongs to whoever calls it.
NEUTRAL = ("src/base/", "src/host/file", "src/contract/cpu")
LIBRARIES = ("_io_uring", "io_uring", "__io_uring")  # linked into the program


def cause_of_file(path):
    fits = [f for f in FILES if path.startswith(f)]
    return FILES[max(fits, key=len)] if fits else REST


class Symbols:
    """What lies at an address, by the symbols of the program and of the objects that it was linked of.  Addresses are
    those of the program's file, as perf tells them."""

    def __init__(self, program, build):
        self.program = str(program)
        objects = sorted(str(o) for o in Path(build, "src").rglob("*.o"))
        if not objects:
            raise lib.Unable(f"no objects below {build}/src to tell functions by")
        files = {}
        for line in lib.check(["nm", "-A", "--defined-only", *objects]).splitlines():
            m = re.match(r"(.*\.o):[0-9a-f]* ([tTwW]) (\S+)$", line)
            if m:
                files.setdefault((m[2] == "t", m[3]), set()).add(source_of(Path(m[1]).relative_to(build)))
        self.functions = sorted(self.linked(files))
        self.starts = [f[0] for f in self.functions]

    def linked(self, files):
        """(address, end, "file:function") of each function whose cause is certain."""
        unit = ""
        for line in lib.check(["readelf", "-sW", self.program]).splitlines():
            w = line.split()
            if len(w) == 8 and w[3] == "FILE":
                unit = w[7]
            elif len(w) == 8 and w[3] == "FUNC" and w[6] != "UND":
                local = w[4] == "LOCAL"
                own = {f"{f}:{w[7]}" for f in files.get((local, w[7]), ()) if not local or Path(f).name == unit}
                if len({cause_of_file(f) for f in own}) == 1:
                    yield int(w[1], 16), int(w[1], 16) + int(w[2], 0), min(own)

    def file(self, address):
        i = bisect.bisect(self.starts, address) - 1
        return self.functions[i][2] if i >= 0 and address < self.functions[i][1] else None


def source_of(objectfile):
    """src/a/libx.a.p/b_c.c.o is src/a/b_c.c, or src/a/b/c.c."""
    folder, name = objectfile.parent.parent, objectfile.name[:-2]
    while not (lib.TOP / folder / name).exists() and "_" in name:
        head, name = name.split("_", 1)
        folder = folder / head
    return str(folder / name)


# ---- samples ----

def samples(text):
    """(seconds, [(address, function, where it is)] from the inmost on) of `perf script`."""
    for block in text.split("\n\n"):
        lines = block.strip("\n").splitlines()
        head = re.match(r"\s*([\d.]+):", lines[0]) if lines else None
        if head:
            frames = [re.match(r"\s*([0-9a-f]+) (.*) \((.*)\)$", line) for line in lines[1:]]
            yield float(head[1]), [(int(f[1], 16), f[2], f[3]) for f in frames if f]


def is_generated(where):
    """Host code that no file is behind, as perf calls it."""
    return where.startswith(("[JIT]", "/dev/zero")) or re.fullmatch(r"/tmp/perf-\d+\.map", where) is not None


def cause(frames, file_of):
    """Generated code itself, a fault of the host's memory, else the inmost function of the program that does not
    belong to its caller.  What the host's kernel does between two instructions of generated code has none."""
    if frames and is_generated(frames[0][2]):
        return GENERATED
    if any("exc_page_fault" in function for _, function, where in frames if where.startswith("[")):
        return PAGING
    for depth, (address, function, where) in enumerate(frames):
        if is_generated(where):
            return REST
        if where.endswith("/machine"):
            path = file_of(address - (depth > 0))  # a caller's is where it goes on
            if path and not path.startswith(NEUTRAL):
                return cause_of_file(path)
            if path is None and not function.startswith(LIBRARIES):
                return REST
    asked = any(word in function for _, function, where in frames if where.startswith("[") for word in DISKS)
    return IO if asked else REST


def classify(found, windows, file_of):
    """({part: Counter of causes}, Counter of the chains that have none), in samples."""
    out, strange = {part: Counter() for part in windows}, Counter()
    for at, frames in found:
        part = next((p for p, (begin, end) in windows.items() if begin <= at < end), None)
        if part:
            why = cause(frames, file_of)
            out[part][why] += 1
            if why == REST:
                strange[" < ".join(f"{function} ({Path(where).name})" for _, function, where in frames[:6])] += 1
    return out, strange


# ---- runs ----

def spans(cmd):
    """{part: (begin, end, seconds by the kernel's clock, by its own)} of what says "pid N" or runs as itself."""
    begun, out, pid, last = {}, {}, None, ""
    until = time.monotonic() + SECONDS_MOST
    with subprocess.Popen([str(c) for c in cmd], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as p:
        try:
            for raw in p.stdout:
                w = raw.decode(errors="replace").split()
                if w[:1] == ["pid"]:
                    pid = int(w[1])
                if w[:1] in (["begin"], ["end"]):
                    now = (time.monotonic(), machine.cpu_seconds(pid or p.pid))
                    if w[0] == "begin":
                        begun[w[1]] = now
                    else:
                        begin, before = begun[w[1]]
                        out[w[1]] = (begin, now[0], now[1] - before, float(w[2]))
                last = " ".join(w) or last
                if time.monotonic() > until:
                    break
        except BaseException:
            p.kill()
            raise
        if time.monotonic() > until:
            p.kill()
    if set(out) != set(PARTS):
        raise RuntimeError(f"{cmd[0]}: the job did not come to its end, but to '{last[-200:]}'")
    return out


def need_perf(where):
    lib.need_cmd("perf", "nm", "readelf")
    tried = subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-k", "CLOCK_MONOTONIC", "-g", "-o",
                            where / "try", "--", "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        raise lib.Unable(f"perf cannot sample here ({' '.join(tried.stderr.split())[-90:]})")


def initrd(where):
    modules = [machine_disk.one(list(machine_disk.ROOT.glob(f"lib/modules/*/kernel/drivers/*/{m}.ko")), m)
               for m in machine_disk.MODULES]
    lib.check(["python3", lib.TOP / "tests/virt/monitor/cpio.py", lib.helper("overhead_guest"), where / "initrd",
               *modules])
    return where / "initrd"


def sampled(where, program, scale):
    """({part: span}, text of the samples) of one run of `program` in a machine."""
    data = where / "samples"
    found = spans(["perf", "record", "-q", "-e", "cpu-clock", "-F", HERTZ, "-k", "CLOCK_MONOTONIC", "-g", "-o", data,
                   "--", "sh", "-c", 'echo pid $$; exec "$@"', "sh", program, "--engine", "translate",
                   "--memory", MEMORY_MIB, "--kernel", machine.kernel(), "--initrd", initrd(where), "--disk",
                   f"{where}/disk,format=raw,read-only", "--append",
                   f"console=ttyS0 quiet panic=-1 scale={scale}"])
    return found, lib.check(["perf", "script", "-i", data, "-F", "time,ip,sym,dso"])


class Share:
    """One part: seconds in the machine by the kernel's clock, natively, and by cause."""

    def __init__(self, inside, native, counted):
        self.gap = inside - native
        self.ratio = inside / native if native else float("inf")
        self.sampled = sum(counted.values()) / HERTZ / inside
        self.named = sum(n for c, n in counted.items() if c != REST) / max(sum(counted.values()), 1)
        self.causes = {c: counted[c] / HERTZ for c in CAUSES}
        self.causes[STATE] += counted[GENERATED] / HERTZ - native
        self.explained = sum(self.causes.values()) / self.gap

    def text(self):
        by = ", ".join(f"{c} {s * 1e3:.0f} ms ({s / self.gap:.0%})" for c, s in self.causes.items())
        return (f"{self.gap * 1e3:.0f} ms lost: {by}; {self.explained:.1%} explained; samples with a cause "
                f"{self.named:.1%}, all samples {self.sampled:.1%} of the kernel's clock")


def shares(inside, native, counted):
    """{part: Share}, "all" with them."""
    out = {p: Share(inside[p], native[p], counted[p]) for p in PARTS}
    out["all"] = Share(sum(inside.values()), sum(native.values()), sum(counted.values(), Counter()))
    return out


def measure(scale):
    """({part: Share}, what has no cause)."""
    with tempfile.TemporaryDirectory(prefix="strata-bench-", dir="/var/tmp") as name:
        where = Path(name)
        need_perf(where)
        (where / "disk").write_bytes(bytes(1 << 20) * DISK_MIB)
        program = Path(lib.need_strata()).parent / "machine"
        found, text = sampled(where, program, scale)
        alone = [spans([lib.helper("overhead_guest"), "native", where / "disk", scale]) for _ in range(NATIVE_ROUNDS)]
    native = {p: lib.median([a[p][3] for a in alone]) for p in PARTS}
    symbols = Symbols(program, lib.STRATA.parents[2])
    counted, strange = classify(samples(text), {p: found[p][:2] for p in PARTS}, symbols.file)
    return shares({p: found[p][2] for p in PARTS}, native, counted), strange


def rows():
    found, strange = measure(100)
    for part, s in found.items():
        lib.progress(f"{part}: {s.text()}")
    for what, n in strange.most_common(8):
        lib.progress(f"no cause: {n} samples: {what}")
    for part, s in found.items():
        most = max(s.causes, key=s.causes.get)
        yield lib.Row(f"overhead, {part}: processor time, most by {most}", f"{s.gap * 1e3:.0f} ms lost", "native 1",
                      s.ratio, machine.NONE, machine.NONE)
    whole = found["all"].explained
    yield lib.Row("overhead: what the causes explain of it", f"{whole:.1%}", f"at least {LEAST:.0%}, at most 110 %",
                  max(LEAST / max(whole, 0.01), whole / 1.1), 1, 0.95)
