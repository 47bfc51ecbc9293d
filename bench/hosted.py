"""What it costs that the host's system is below: the way of a disk request through it, a guest beside other
programs, and how late the host's own programs wake while machines work.

The same program, hosted_work.c, is the first process of a machine and a process of the host; it, what competes and what
wakes have a session each, as programs of several people do.  There is no hypervisor of ours without a host below: where
its figures would stand, the table says so.
STRATA_LINUX: where boot/vmlinuz-* and lib/modules lie.
rows: HYP-07 PRO-08"""
import json
import os
import signal
import struct
import subprocess
import time

import lib
import machine
import machine_disk

BLOCK, BLOCKS = 4096, 4096
REQUESTS = 4000
NATIVE_REQUESTS = 200000
ROUNDS = 7
PIECES = {"processor": ("work 150", "work 150"), "disk": (f"read {REQUESTS}", f"read {NATIVE_REQUESTS}")}
CROWDS = (0, 1, 2, 4)
WAKES = 600  # in each of ROUNDS turns
PROBES = {"sleep": "sleep of 1 ms, late by", "ping": "answer of a process"}
LATENCY_MOST = 1.5
SECONDS_MOST = 60
NO_TYPE_1 = "type I: none of ours yet"
EVENTS = "syscalls:sys_enter_*,context-switches"


class Worker:
    """hosted_work somewhere: an order in, its figures out."""

    def __init__(self, cmd, **how):
        self.process = subprocess.Popen([str(c) for c in cmd], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, start_new_session=True, **how)

    def say(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def hear(self, word):
        """The figures behind the line that begins with it; a console gives back what was typed, too."""
        until = time.monotonic() + SECONDS_MOST
        for raw in self.process.stdout:
            line = raw.decode(errors="replace").strip()
            if line.startswith(word):
                return [float(w) for w in line[len(word):].split()]
            if line.startswith("cannot") or time.monotonic() > until:
                break
        raise RuntimeError(f"{self.process.args[0]}: no '{word}'")

    def obey(self, order):
        self.say(order)
        return self.hear("did " + order.split()[0])

    def close(self):
        self.process.kill()
        self.process.communicate()


class Machine(Worker):
    def __init__(self, scratch, name, cpus, disk, initrd):
        scratch.strata("run", "-d", "--name", name, "--as", "machine", "--network", "none", "--memory", "128M", "--cpus",
                       cpus, "--kernel", machine.kernel(), "--initrd", initrd, "--append",
                       "console=ttyS0 quiet panic=-1", "--disk", f"{disk},format=raw,read-only")
        until = time.monotonic() + SECONDS_MOST
        while "ready" not in scratch.strata("logs", name):
            if time.monotonic() > until:
                raise RuntimeError(f"{name} did not start")
            time.sleep(0.2)
        self.pid = json.loads(scratch.strata("inspect", "--json", name))[0]["pid"]
        super().__init__([lib.STRATA, "--state", scratch.state, "console", name])


def native(disk):
    w = Worker([lib.helper("hosted_work"), disk])
    w.hear("ready")
    return w


def prepare(where):
    """(disk, initrd): blocks that hold their own numbers, in the host's page cache; the program with its modules."""
    disk, initrd = where / "disk", where / "initrd"
    disk.write_bytes(b"".join(struct.pack("<Q", i) + bytes(BLOCK - 8) for i in range(BLOCKS)))
    modules = [machine_disk.one(list(machine_disk.ROOT.glob(f"lib/modules/*/kernel/drivers/*/{m}.ko")), m)
               for m in machine_disk.MODULES]
    lib.check(["python3", lib.TOP / "tests/virt/monitor/cpio.py", lib.helper("hosted_work"), initrd, *modules])
    return disk, initrd


# ---- the way of a request ----

def counted(pid, act):
    """{event: how often} in all threads of the process while `act` runs."""
    with subprocess.Popen(["perf", "stat", "-x", ",", "-p", str(pid), "-e", EVENTS], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as p:
        time.sleep(1)  # until it counts
        act()
        p.send_signal(signal.SIGINT)
        said = p.stderr.read()
    words = [line.split(",") for line in said.splitlines() if line[:1].isdigit()]
    found = {w[2].removeprefix("syscalls:sys_enter_"): int(w[0]) for w in words}
    if "context-switches" not in found:
        raise lib.Unable(f"perf does not count here: {said[-200:]}")
    return found


def path_length(guest, host):
    times = lib.alternate({"guest": (guest, REQUESTS), "host": (host, NATIVE_REQUESTS)}, ROUNDS,
                          lambda v: v[0].obey(f"read {v[1]}")[0] / v[1] * 1e6)
    mine, peer = times["guest"], times["host"]
    yield lib.Row("a guest's read of 4K, one by one", f"{lib.median(mine):.3g} us",
                  f"native {lib.median(peer):.3g} us; {NO_TYPE_1}", lib.paired(mine, peer), machine.NONE, machine.NONE)
    found = counted(guest.pid, lambda: guest.obey(f"read {REQUESTS}"))
    least = counted(host.process.pid, lambda: host.obey(f"read {REQUESTS}"))
    switches, native_switches = (f.pop("context-switches") / REQUESTS for f in (found, least))
    calls, native_calls = (sum(f.values()) / REQUESTS for f in (found, least))
    each = {name: round(n / REQUESTS, 2) for name, n in found.items() if n >= REQUESTS / 100}
    lib.progress(f"system calls for a request: {each}")
    yield lib.Row("the same, system calls of the host", f"{calls:.2f}", f"native {native_calls:.2f}; {NO_TYPE_1}",
                  calls / native_calls, machine.NONE, machine.NONE)
    yield lib.Row("the same, context switches of the host", f"{switches:.2f}", f"native {native_switches:.3f}",
                  switches, machine.NONE, machine.NONE)


# ---- beside other programs ----

class Crowd:
    """Processes of the host that work without an end, a session each."""

    def __init__(self, count):
        self.members = [Worker([lib.helper("hosted_work")]) for _ in range(count)]

    def __enter__(self):
        for w in self.members:
            w.hear("ready")
            w.say("spin 1")

    def __exit__(self, *_):
        for w in self.members:
            w.close()


def beside(worker, order, count):
    with Crowd(count):
        return worker.obey(order)[0]


def slow_down(guest, host):
    for piece, orders in PIECES.items():
        variants = {(who, n): (worker, order, n) for n in CROWDS
                    for who, worker, order in (("guest", guest, orders[0]), ("host", host, orders[1]))}
        took = lib.alternate(variants, ROUNDS, lambda v: beside(*v))
        for n in CROWDS[1:]:
            ratios = {who: [a / b for a, b in zip(took[who, n], took[who, 0])] for who in ("guest", "host")}
            yield lib.Row(f"{piece} work beside {n} busy processes, times as long",
                          f"{lib.median(ratios['guest']):.2f} (alone {lib.median(took['guest', 0]):.2f} s)",
                          f"native {lib.median(ratios['host']):.2f}; {NO_TYPE_1}",
                          lib.paired(ratios["guest"], ratios["host"]), machine.NONE, machine.NONE)


# ---- the host's own programs ----

def wakes(probe, order, at_work, count):
    """(median, 99th percentile) in us while that machine works."""
    if at_work is not None:
        at_work.say(f"spin {count}")
        time.sleep(0.3)
    try:
        return probe.obey(f"{order} {WAKES}")[1:]
    finally:
        if at_work is not None:
            at_work.say("")
            at_work.hear("did spin")


def latency(probe, one, two):
    variants = {"idle": (None, 0), "1 vCPU": (one, 1), "2 vCPUs": (two, 2)}
    for order, title in PROBES.items():
        found = lib.alternate(variants, ROUNDS, lambda v, o=order: wakes(probe, o, *v))
        for i, which in enumerate(("median", "99th percentile")):
            idle = [f[i] for f in found["idle"]]
            for name in ("1 vCPU", "2 vCPUs"):
                busy = [f[i] for f in found[name]]
                limit = LATENCY_MOST if name == "1 vCPU" else machine.NONE
                yield lib.Row(f"{title}, {which}, beside a machine at work, {name}", f"{lib.median(busy):.4g} us",
                              f"idle {lib.median(idle):.4g} us", lib.paired(busy, idle), limit, 1.1)


def rows():
    lib.need_root()
    lib.need_cmd("perf")
    lib.progress(f"load of the host: {' '.join(f'{x:.1f}' for x in os.getloadavg())}")
    with lib.Scratch() as s:
        disk, initrd = prepare(s.dir)
        one, two = (Machine(s, f"hosted{n}", n, disk, initrd) for n in (1, 2))
        host = native(disk)
        try:
            yield from path_length(one, host)
            yield from slow_down(one, host)
            yield from latency(host, one, two)
        finally:
            for w in (one, two, host):
                w.close()
    lib.progress(f"load of the host: {' '.join(f'{x:.1f}' for x in os.getloadavg())}")
