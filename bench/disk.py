"""Disks served over NBD beside nbdkit's file plugin: the same bytes, in the page cache."""
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import lib

ROUNDS = 5
SECONDS = 1
SIZE = 64 << 20
# title, operation, bytes, depth, reach and stretch as ours against the peer's time
CELLS = (("4K read, depth 1", "read", 4096, 1, 1 / 1.6, 1 / 2),
         ("4K read, depth 32", "read", 4096, 32, 1 / 1.6, 1 / 2),
         ("4K write, depth 32", "write", 4096, 32, 1 / 2, 1 / 2.5),
         ("256K read, depth 16", "read", 262144, 16, 1 / 1.5, 1 / 2),
         ("256K write, depth 16", "write", 262144, 16, 1 / 1.5, 1 / 2))


def with_load(sock, op, size, depth):
    """Requests a second by a client that costs little."""
    return float(lib.check([lib.helper("nbd_load"), sock, op, str(size), str(depth), str(SECONDS)]))


def with_fio(sock, op, size, depth):
    out = lib.check(["fio", "--name=x", f"--rw=rand{op}", f"--bs={size}", f"--iodepth={depth}",
                     "--time_based", f"--runtime={SECONDS}", f"--size={SIZE}", "--randrepeat=0",
                     "--norandommap", "--ioengine=nbd", f"--uri=nbd+unix:///?socket={sock}",
                     "--output-format=json"])
    job = json.loads(out[out.index("{"):])["jobs"][0]
    if job["error"] != 0:
        raise RuntimeError(f"fio: error {job['error']}")
    return job[op]["iops"]


def serve(where, name, cmd):
    """A server's process, once its socket is there."""
    disk = where / f"{name}.img"
    disk.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    sock = where / f"{name}.sock"
    process = subprocess.Popen([w.format(disk=disk, sock=sock) for w in cmd],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        if sock.exists():
            return process, str(sock)
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"{name} does not listen")


def rows():
    volume = Path(lib.need_strata()).parent / "volume"
    lib.need_cmd("nbdkit", "fio")
    where = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    started = {}
    try:
        started["strata"] = serve(where, "strata", [str(volume), "nbd", "file={disk}", "socket={sock}"])
        started["nbdkit"] = serve(where, "nbdkit", ["nbdkit", "-f", "-U", "{sock}", "file", "{disk}"])
        return list(measure({name: sock for name, (_, sock) in started.items()}))
    finally:
        for process, _ in started.values():
            process.terminate()
            process.wait()
        shutil.rmtree(where)


def measure(sockets):
    for client, run in (("fio", with_fio), ("a light client", with_load)):
        for title, op, size, depth, reach, stretch in CELLS:
            found = lib.alternate(sockets, ROUNDS, lambda s: 1e6 / run(s, op, size, depth))
            ours, peer = lib.median(found["strata"]), lib.median(found["nbdkit"])
            yield lib.Row(f"NBD, {title}, by {client}", f"{1e6 / ours:.0f}/s", f"nbdkit {1e6 / peer:.0f}/s",
                          lib.paired(found["strata"], found["nbdkit"]), reach, stretch)
