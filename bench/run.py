#!/usr/bin/env python3
"""Every figure as a ratio, made in one run with its peer: `make bench [BENCH="oci idle"]`.

Variants alternate, medians are paired round by round, every step's exit code is
checked and every guest is seen to have run.  The release build is measured.
"""
import os
import sys

import disk
import filters
import guests
import hosted
import image
import isa
import layers
import levels
import lib
import machine
import machine_disk
import native
import oci
import overhead

SECTIONS = {
    "oci": oci.rows,
    "run": guests.section(guests.beside_podman),
    "parallel": guests.section(guests.in_parallel),
    "keeper": guests.section(guests.keeper_size),
    "idle": guests.section(guests.many_idle),
    "image": image.rows,
    "native": native.rows,
    "disk": disk.rows,
    "iscsi": disk.iscsi_rows,
    "vhost": disk.vhost_rows,
    "filters": filters.rows,
    "qcow2": layers.beside_raw,
    "chain": layers.in_chains,
    "touch": layers.touched,
    "convert": layers.copied,
    "fork": layers.made_and_forked,
    "isa": isa.rows,
    "levels": levels.rows,
    "hosted": hosted.rows,
    "machine": machine.rows,
    **{f"machine-{name}": machine.section(fn) for name, fn in machine.SECTIONS.items()},
    "guest-disk": machine_disk.rows,
    "overhead": overhead.rows,
}


def show(rows):
    head = ("figure", "strata", "peer", "ratio", "reach", "stretch", "verdict")
    table = [head] + [(r.figure, r.ours, r.peer, f"{r.ratio:.2f}", limit(r.reach),
                       limit(r.stretch), r.verdict()) for r in rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    for line in table:
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip())


def limit(value):
    return "-" if value == float("inf") else f"{value:g}"


def main():
    names = sys.argv[1:] or [n for n in SECTIONS if not n.startswith("machine-")]
    rows, unable, broken = [], [], []
    for name in names:
        if name not in SECTIONS:
            sys.exit(f"no section '{name}'; there are {' '.join(SECTIONS)}")
        print(f"== {name}", file=sys.stderr, flush=True)
        try:
            rows += SECTIONS[name]()
        except lib.Unable as e:
            unable.append(f"{name}: {e}")
        except RuntimeError as e:
            broken.append(f"{name}: {e}")
    print(f"{os.cpu_count()} processors, Linux {os.uname().release}")
    show(rows)
    for line in unable:
        print(f"not measured: {line}")
    for line in broken:
        print(f"FAILED: {line}")
    sys.exit(1 if broken or any(r.verdict() == "MISSED" for r in rows) else 0)


main()
