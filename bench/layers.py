"""Images: through NBD beside raw, in chains, written for the first time, copied, made and forked."""
import array
import os
import random
import socket
import subprocess
import time
from pathlib import Path

import disk
import lib

TOUCHED = 256 << 20
COPIED = 512 << 20
SPARSE = 8 << 30
LAYERS = 10
CLUSTER = 65536
LARGE = 100 << 30


def create(path, *words):
    lib.check(["qemu-img", "create", "-q", "-f", "qcow2", *words[:-1], path, words[-1]])
    return path


def beside_raw():
    """The same bytes in a raw file and in an image, both by us."""
    lib.need_cmd("qemu-img")
    with disk.place() as where, disk.Servers() as servers:
        raw = disk.random_file(where / "raw")
        lib.check(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, where / "image"])
        sockets = {"qcow2": servers.nodes(where / "q.sock", f"f,file,path={where}/image", "d,qcow2,file=f"),
                   "raw": servers.nodes(where / "r.sock", f"d,file,path={raw}")}
        return [disk.compare(f"qcow2 beside raw, {title}", sockets, lambda s: disk.with_load(s, op, size, depth), 1.1,
                             1.05)
                for title, op, size, depth, _, _ in disk.CELLS]


def chain(where):
    """Images on each other, of which each holds every tenth cluster: the top one."""
    below = None
    for i in range(LAYERS):
        top = where / f"layer{i}"
        create(top, *(["-b", below, "-F", "qcow2"] if below else []), str(disk.SIZE))
        words = []
        for c in range(i, disk.SIZE // CLUSTER, LAYERS):
            words += ["-c", f"write -q -P {c % 251 + 1} {c * CLUSTER} {CLUSTER}"]
        lib.check(["qemu-io", "-f", "qcow2", *words, top])
        below = top
    return below


def chain_nodes(where):
    nodes = []
    for i in range(LAYERS):
        last = i == LAYERS - 1
        nodes += [f"f{i},file,path={where}/layer{i}" + ("" if last else ",read-only"),
                  f"d{i},qcow2,file=f{i}" + (f",backing=d{i - 1}" if i else "") + ("" if last else ",read-only")]
    return nodes


def in_chains():
    lib.need_cmd("qemu-img", "qemu-io")
    with disk.place() as where, disk.Servers() as servers:
        lib.check(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", chain(where), where / "one"])
        sockets = {"chain": servers.nodes(where / "c.sock", *chain_nodes(where)),
                   "one": servers.nodes(where / "o.sock", f"f,file,path={where}/one", "d,qcow2,file=f")}
        return [disk.compare(f"{LAYERS} images on each other beside one, 4K read, depth {depth}", sockets,
                             lambda s: disk.with_load(s, "read", 4096, depth), 1.1, 1.05) for depth in (1, 32)]


def touch(where, who, options, depth):
    """First writes a second, one to each 64 KiB, over a raw file."""
    top, sock = where / "top", where / "t.sock"
    for path in (top, sock):
        path.unlink(missing_ok=True)
    lib.check(["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", where / "base", "-F", "raw", top])
    with disk.Servers() as servers:
        if who == "strata":
            servers.nodes(sock, f"b,file,path={where}/base,read-only", f"f,file,path={top}",
                          "d,qcow2,file=f,backing=b")
        else:
            servers.at(sock, [*who.split(), "-t", "-k", sock, "-f", "qcow2", top])
        return disk.with_load(sock, "touch", 4096, depth, 65536)


def touched():
    lib.need_cmd("qemu-nbd", "qemu-img")
    best = "qemu-nbd --cache=writeback --aio=io_uring"
    with disk.place() as where:
        disk.random_file(where / "base", TOUCHED)
        return [disk.compare(f"first 4K writes over a file, {name}, depth {depth}", {"strata": "strata", best: best},
                             lambda who: touch(where, who, options, depth), 1.0, 0.7)
                for name, options in (("64K clusters", "cluster_size=64k"),
                                      ("4K subclusters", "extended_l2=on,cluster_size=128k"))
                for depth in (1, 32)]


# ---- copies ----

def sparse_file(path):
    random.seed(1)
    piece = os.urandom(262144)
    with open(path, "wb") as f:
        f.truncate(SPARSE)
        for _ in range(COPIED >> 20):
            f.seek(random.randrange(SPARSE // len(piece)) * len(piece))
            f.write(piece)
    return path


def copy(where, who, source, from_format, to_format):
    """Milliseconds; both leave it to the page cache when the bytes are written."""
    out = where / "out"
    out.unlink(missing_ok=True)
    if who == "strata":
        out.touch()
        image = ["node=i,qcow2,file=s,read-only", "from=i"] if from_format == "qcow2" else ["from=s"]
        words = [disk.volume(), "convert", f"node=s,file,path={source},read-only", *image,
                 f"node=t,file,path={out}", "to=t", f"format={to_format}", "no-flush"]
    else:
        words = ["qemu-img", "convert", "-f", from_format, "-O", to_format, source, out]
    start = time.monotonic()
    lib.check(words)
    return (time.monotonic() - start) * 1e3


def copied():
    lib.need_cmd("qemu-img")
    rows = []
    with disk.place() as where:
        for kind, make in (("full", lambda p: disk.random_file(p, COPIED)), ("sparse", sparse_file)):
            raw, image = make(where / kind), where / f"{kind}.image"
            lib.check(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image])
            for source, a, b in ((raw, "raw", "qcow2"), (image, "qcow2", "raw")):
                found = lib.alternate({"strata": "strata", "qemu-img": "qemu-img"}, disk.ROUNDS,
                                      lambda who: copy(where, who, source, a, b))
                lib.check(["qemu-img", "compare", "-q", "-f", a, "-F", b, source, where / "out"])
                rows.append(lib.Row(f"convert {a} to {b}, {kind}", f"{lib.median(found['strata']):.0f} ms",
                                    f"qemu-img {lib.median(found['qemu-img']):.0f} ms",
                                    lib.paired(found["strata"], found["qemu-img"]), 0.85, 0.6))
    return rows


# ---- clones and forks ----

class Worker:
    """`volume serve` over one new image of 100 GiB, and a client of it."""

    def __init__(self, where, servers):
        self.where, self.sock, control = where, where / "disk.sock", where / "control"
        create(where / "l0", str(LARGE))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.bind(str(control))
            s.listen(4)
            servers.started.append(subprocess.Popen(
                [disk.volume(), "serve", f"control={s.fileno()}", f"node=f0,file,path={where}/l0",
                 "node=d0,qcow2,file=f0"], pass_fds=[s.fileno()], stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL))
            self.control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.control.connect(str(control))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.bind(str(self.sock))
            s.listen(4)
            self.ask("export", "nbd", "socket=@0", fds=[s.fileno()])

    def ask(self, *words, fds=()):
        self.control.sendmsg([b"\0".join(w.encode() for w in words)],
                             [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
        lines = []
        while not lines or lines[-1] != "ok":
            lines += self.control.recv(65536).decode().splitlines() or ["error: it left"]
            if lines[-1].startswith("error"):
                raise RuntimeError(f"volume serve: {words[0]}: {lines[-1]}")
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def fork(self, i):
        """Milliseconds from the order to the answer, and those that guests were held up."""
        path = create(self.where / f"l{i}", str(LARGE))
        fd = os.open(path, os.O_RDWR)
        start = time.monotonic()
        told = self.ask("fork", f"node=f{i},file,fd=@0", f"node=l{i},qcow2,file=f{i},alone", fds=[fd])
        took = (time.monotonic() - start) * 1e3
        os.close(fd)
        return took, int(told["stall-us"]) / 1e3

    def load(self, each):
        """The longest time without an answer in milliseconds, while 4K writes come and `each` is called
        twenty times."""
        client = subprocess.Popen([lib.helper("nbd_load"), self.sock, "write", "4096", "8", "3"],
                                  stdout=subprocess.PIPE, text=True)
        time.sleep(0.3)
        for i in range(20):
            each(i)
            time.sleep(0.05)
        return float(client.communicate()[0].split()[1]) / 1e3


def made_and_forked():
    lib.need_cmd("qemu-img")
    with disk.place() as where, disk.Servers() as servers:
        try:
            worker = Worker(where, servers)
        except OSError as e:
            raise lib.Unable(f"volume has no worker: {e}")
        idle = [worker.fork(i)[0] for i in range(1, 101)]
        alone = worker.load(lambda i: None)
        busy = []
        longest = worker.load(lambda i: busy.append(worker.fork(101 + i)))
        worker.control.close()
        stall = max(s for _, s in busy)
        busy = [took for took, _ in busy]
        return [lib.Row("clone of 100 GB, one of 100 in a row", f"{lib.median(idle):.2f} ms", "-",
                        lib.median(idle), 5, 1),
                lib.Row("the last ten of them, on 90 others", f"{lib.median(idle[-10:]):.2f} ms",
                        f"the first ten {lib.median(idle[:10]):.2f} ms", lib.median(idle[-10:]), 5, 1),
                lib.Row("snapshot of 100 GB while 4K writes come", f"{lib.median(busy):.2f} ms", "-",
                        lib.median(busy), 5, 1),
                lib.Row("longest stall that one of them told", f"{stall:.2f} ms", "-", stall, 10, 5),
                lib.Row("longest time without an answer meanwhile", f"{longest:.2f} ms",
                        f"without snapshots {alone:.2f} ms", longest, 10, 5)]
