"""Disks served over NBD beside nbdkit's file plugin, over iSCSI beside tgt, to machines of other
monitors beside qemu-storage-daemon: the same file in the page cache, as two files that were
written one after the other differ by a fifth in how fast they can be copied."""
import contextlib
import json
import os
import re
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
# title, operation, bytes, depth
RINGS = (("4K read, depth 1", "read", 4096, 1), ("4K write, depth 1", "write", 4096, 1),
         ("4K read, depth 32", "read", 4096, 32), ("4K write, depth 32", "write", 4096, 32),
         ("256K read, depth 8", "read", 262144, 8), ("256K write, depth 8", "write", 262144, 8))
TARGET = "iqn.2024-01.bench:"


def volume():
    program = Path(lib.need_strata()).parent / "volume"
    if not program.exists():
        raise lib.Unable(f"{program} is not built")
    return str(program)


@contextlib.contextmanager
def place():
    """A directory in memory, where there is one."""
    where = Path(tempfile.mkdtemp(prefix="strata-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        yield where
    finally:
        shutil.rmtree(where)


class Servers:
    """Processes that end with the block; each is known by its socket's path."""

    def __enter__(self):
        self.started = []
        self.left = []  # what they leave behind
        return self

    def __exit__(self, *_):
        for process in self.started:
            process.terminate()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:  # tgtd, while it has targets
                process.kill()
                process.wait()
        for path in self.left:
            Path(path).unlink(missing_ok=True)

    def start(self, cmd, is_there):
        process = subprocess.Popen([str(c) for c in cmd], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.started.append(process)
        for _ in range(200):
            if is_there():
                return process
            time.sleep(0.02)
        raise RuntimeError(f"{cmd[0]} does not listen")

    def at(self, sock, cmd):
        self.start(cmd, Path(sock).exists)
        return str(sock)

    def nodes(self, sock, *nodes):
        """Ours, over disks made of words."""
        return self.at(sock, [volume(), "nbd", *[f"node={n}" for n in nodes], f"socket={sock}"])


def random_file(path, size=SIZE):
    piece = os.urandom(1 << 20)
    with open(path, "wb") as f:
        for _ in range(size >> 20):
            f.write(piece)
    return path


def with_load(sock, op, size, depth, seconds=SECONDS):
    """Requests a second by a client that costs little."""
    return float(lib.check([lib.helper("nbd_load"), sock, op, size, depth, seconds]).split()[0])


def with_fio(sock, op, size, depth):
    out = lib.check(["fio", "--name=x", "--thread", f"--rw=rand{op}", f"--bs={size}", f"--iodepth={depth}",
                     "--time_based", f"--runtime={SECONDS}", f"--size={SIZE}", "--randrepeat=0",
                     "--norandommap", "--ioengine=nbd", f"--uri=nbd+unix:///?socket={sock}",
                     "--output-format=json"])
    job = json.loads(out[out.index("{"):])["jobs"][0]
    if job["error"] != 0:
        raise RuntimeError(f"fio: error {job['error']}")
    return job[op]["iops"]


def compare(title, variants, rate, reach, stretch):
    """A row of two variants, ours first; `rate`: requests a second of one of them."""
    ours, peer = variants
    found = lib.alternate(variants, ROUNDS, lambda v: 1e6 / rate(v))
    return lib.Row(title, f"{1e6 / lib.median(found[ours]):.0f}/s", f"{peer} {1e6 / lib.median(found[peer]):.0f}/s",
                   lib.paired(found[ours], found[peer]), reach, stretch)


def rows():
    lib.need_cmd("nbdkit", "fio")
    with place() as where, Servers() as servers:
        file = random_file(where / "file")
        sockets = {"strata": servers.nodes(where / "a.sock", f"d,file,path={file}"),
                   "nbdkit": servers.at(where / "b.sock", ["nbdkit", "-f", "-U", where / "b.sock", "file", file])}
        return [compare(f"NBD, {title}, by {client}", sockets, lambda s: run(s, op, size, depth), reach, stretch)
                for client, run in (("fio", with_fio), ("a light client", with_load))
                for title, op, size, depth, reach, stretch in CELLS]


# ---- iSCSI ----

def listens(port):
    """Whether somebody does on the loopback, without a connection."""
    mark = f"0100007F:{port:04X} 00000000:0000 0A"
    return lambda: mark in Path("/proc/net/tcp").read_text()


def with_iscsi_perf(url, depth):
    """Random 4K reads a second.  The program ends by a signal, which it takes for its end."""
    out = subprocess.run(["timeout", "-s", "INT", str(SECONDS + 0.2), "iscsi-perf", "-r", "-b", "8", "-m", str(depth),
                          "-t", str(SECONDS), url], capture_output=True, text=True).stdout
    found = re.findall(r"average[^\d]*(\d+)", out)
    if not found:
        raise RuntimeError(f"iscsi-perf: {out[-300:]}")
    return float(found[-1])


def with_qemu_img(url, depth):
    """4K writes a second, one behind the other."""
    count = 2000 * depth ** 0.5
    out = lib.check(["qemu-img", "bench", "-w", "-f", "raw", "-t", "none", "-d", depth, "-s", 4096, "-c", int(count),
                     url])
    return int(count) / float(re.search(r"in ([\d.]+) seconds", out).group(1))


def start_tgt(servers, disk, port):
    control = port % 30000  # it takes no more than 15 bits
    words = ["tgtadm", "-C", str(control), "--lld", "iscsi"]
    servers.left += [f"/var/run/tgtd/socket.{control}", f"/var/run/tgtd/socket.{control}.lock"]
    servers.start(["tgtd", "-f", "-C", control, "--iscsi", f"portal=127.0.0.1:{port}"], listens(port))
    lib.check([*words, "--op", "new", "--mode", "target", "--tid", "1", "-T", TARGET + "b"])
    lib.check([*words, "--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", "1", "-b", disk])
    lib.check([*words, "--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL"])
    return f"iscsi://127.0.0.1:{port}/{TARGET}b/1"


def iscsi_rows():
    lib.need_cmd("tgtd", "tgtadm", "iscsi-perf", "qemu-img", "timeout")
    lib.need_root()
    port = 20000 + os.getpid() % 20000
    with place() as where, Servers() as servers:
        file = random_file(where / "file")
        servers.start([volume(), "iscsi", f"file={file}", f"portal=127.0.0.1:{port}",
                       f"target={TARGET}a"], listens(port))
        urls = {"strata": f"iscsi://127.0.0.1:{port}/{TARGET}a/0",
                "tgt": start_tgt(servers, file, port + 1)}
        return [compare(f"iSCSI, 4K {what}, depth {depth}", urls, lambda u: run(u, depth), reach, 1 / 3)
                for what, run in (("read", with_iscsi_perf), ("write", with_qemu_img))
                for depth, reach in ((1, 1 / 1.5), (32, 1 / 2))]


# ---- vhost-user-blk ----

def with_ring(sock, op, size, depth):
    """Requests a second by a machine that costs little."""
    return float(lib.check([lib.helper("vhost_load"), sock, op, size, depth, SECONDS]))


def vhost_rows():
    lib.need_cmd("qemu-storage-daemon")
    with place() as where, Servers() as servers:
        file = random_file(where / "file")
        peer = ["qemu-storage-daemon", "--blockdev",
                f"file,node-name=f,aio=io_uring,locking=off,filename={file}", "--blockdev",
                "raw,node-name=d,file=f", "--export",
                f"vhost-user-blk,id=e,node-name=d,writable=on,addr.type=unix,addr.path={where}/b.sock"]
        sockets = {"strata": servers.at(where / "a.sock", [volume(), "vhost-user", f"node=d,file,path={file}",
                                                            f"socket={where}/a.sock"]),
                   "qemu-storage-daemon": servers.at(where / "b.sock", peer)}
        return [compare(f"vhost-user, {title}", sockets, lambda s: with_ring(s, op, size, depth), 1, 1 / 2)
                for title, op, size, depth in RINGS]
