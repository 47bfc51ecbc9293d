"""Disks of a machine in software beside QEMU's TCG: Debian's kernel with its virtio modules reads and
writes a raw file past its page cache; the host's holds it, and once more past the host's, too.  What
runs inside is machine_disk_guest.c; rates are the guest's own.
STRATA_LINUX: where boot/vmlinuz-* and lib/modules lie."""
import os
import subprocess
import tempfile
from pathlib import Path

import lib

ROOT = Path(os.environ.get("STRATA_LINUX", "/"))
MODULES = ("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk")
ROUNDS = 5
CELL_MS = 700
MIB = 256
SECONDS_MOST = 120
# as the guest calls it, as people do
CELLS = {"read-4k-1": "4K random read, depth 1", "write-4k-1": "4K random write, depth 1",
         "read-4k-32": "4K random read, depth 32", "write-4k-32": "4K random write, depth 32",
         "read-sequential": "1M read, depth 4", "write-sequential": "1M write, depth 4"}
# title, words of ours, cache and device of QEMU's
VIRTIO, NVME = "virtio-blk-pci", "nvme,serial=x"
KINDS = (("cached", "", "writeback", VIRTIO), ("direct", ",direct", "none", VIRTIO),
         ("NVMe, cached", ",bus=nvme", "writeback", NVME))


def one(paths, what):
    if not paths:
        raise lib.Unable(f"no {what} below {ROOT} (STRATA_LINUX)")
    return sorted(paths)[-1]


def initrd(where):
    modules = [one(list(ROOT.glob(f"lib/modules/*/kernel/drivers/*/{m}.ko")), m) for m in MODULES]
    out = where / "initrd"
    lib.check(["python3", lib.TOP / "tests/virt/monitor/cpio.py", lib.helper("machine_disk_guest"), out, *modules])
    return out


def rates(cmd):
    """Operations a second of each cell."""
    done = subprocess.run([str(c) for c in cmd], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=SECONDS_MOST, check=True)
    words = [line.split() for line in done.stdout.splitlines() if "cell " in line]
    found = {w[-2]: float(w[-1]) for w in words}
    if set(CELLS) - set(found) or min(found.values()) == 0:
        raise RuntimeError(f"{cmd[0]}: the guest did not come to its end: {done.stdout[-300:]}")
    return found


def commands(where, ours, cache, device):
    kernel = one(list(ROOT.glob("boot/vmlinuz-*")), "Linux kernel")
    ram = initrd(where)
    image = where / "disk"
    image.write_bytes(os.urandom(1 << 20) * MIB)
    append = f"console=ttyS0 quiet panic=-1 -- {CELL_MS}"
    machine = Path(lib.need_strata()).parent / "machine"
    return {
        "ours": [machine, "--memory", 512, "--kernel", kernel, "--initrd", ram, "--append", append,
                 "--disk", f"{image},format=raw{ours}"],
        "peer": ["qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-m", 512, "-nodefaults", "-display",
                 "none", "-serial", "stdio", "-no-reboot", "-kernel", kernel, "-initrd", ram, "-append", append,
                 "-drive", f"file={image},if=none,id=disk,format=raw,cache={cache}",
                 "-device", f"{device},drive=disk"],
    }


def rows():
    lib.need_cmd("qemu-system-x86_64")
    for title, ours, cache, device in KINDS:
        # a directory on a disk: direct access does not know memory
        with tempfile.TemporaryDirectory(prefix="strata-bench-", dir="/var/tmp") as where:
            got = lib.alternate(commands(Path(where), ours, cache, device), ROUNDS, rates)
        for cell, figure in CELLS.items():
            mine = [r[cell] for r in got["ours"]]
            peer = [r[cell] for r in got["peer"]]
            yield lib.Row(f"machine, {title}: {figure}", f"{lib.median(mine):.0f}/s",
                          f"QEMU {lib.median(peer):.0f}/s", lib.paired(peer, mine), 1, 1 / 1.5)
