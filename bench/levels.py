"""One job at every level: what a container takes beside a machine, in time, start and memory.

STRATA_LINUX: where boot/vmlinuz-* lies.
rows: OSL-14 OSL-15 OSL-16"""
import json
import os
from pathlib import Path

import lib

KERNELS = Path(os.environ.get("STRATA_LINUX", "/")) / "boot"
ROUNDS = 7
WORK = 10
FIGURES = (("start", "start_ms", "ms"), ("one job", "run_ms", "ms"), ("memory", "memory_bytes", "bytes"))


def rows():
    lib.need_root()
    kernels = sorted(KERNELS.glob("vmlinuz-*"))
    if not kernels:
        raise lib.Unable(f"no Linux kernel below {KERNELS} (STRATA_LINUX)")
    found = []
    with lib.Scratch() as s:
        for _ in range(ROUNDS):  # each runs all levels in turn
            told = json.loads(s.strata("levels", "--run", "--work", str(WORK), "--kernel", str(kernels[-1]), "--json"))
            found.append({f"{r['guest']} {r['engine']}": r for r in told})
    for title, key, unit in FIGURES:
        ours, machine = ([f[level][key] for f in found] for level in ("container native", "machine translate"))
        yield lib.Row(f"container, {title}", f"{lib.median(ours):.4g} {unit}",
                      f"machine by translated code {lib.median(machine):.4g} {unit}", lib.paired(ours, machine), 1, 0.1)
