"""What a cache and a tier gain over a slow disk: a file behind a throttle, by fio over NBD."""
# rows: STO-08 STO-09
import array
import fcntl
import os
import socket
import subprocess

import disk
import lib

ROUNDS = 3
SECONDS = 2
WARM_SECONDS = 8
SLOW_IOPS = 1000  # of the slow disk: a turning one with a queue
SIZE = 64 << 20
FAST = 16 << 20
ZIPF = "zipf:1.1"
HOT_END = "zoned:10/90:90/10"  # nine of ten requests go to the last tenth


class Worker:
    """A disk that is served, and can be asked how it is."""

    def __init__(self, servers, where, name, *nodes):
        self.path, self.uri = where / f"{name}.control", where / f"{name}.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(self.path))
            listener.listen(4)
            control = fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD, 10)
            process = subprocess.Popen([disk.volume(), "serve", f"control={control}", *[f"node={n}" for n in nodes]],
                                       pass_fds=(control, 3), preexec_fn=lambda: os.dup2(1, 3),
                                       stdout=subprocess.DEVNULL)
            os.close(control)
        servers.started.append(process)
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.connect(str(self.path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.bind(str(self.uri))
            s.listen(4)
            self.ask("export", "nbd", "socket=@0", fds=[s.fileno()])

    def ask(self, *words, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.control.sendmsg(["\0".join(words).encode()], rights)
        lines = []
        while not lines or not lines[-1].startswith(("ok", "error ")):
            lines += self.control.recv(65536).decode().splitlines()
        if lines[-1] != "ok":
            raise RuntimeError(f"volume: {lines[-1]}")
        return lines

    def figures(self, kind):
        line = next(x for x in self.ask("status") if x.startswith(f"{kind}="))
        return [int(x) for x in line.split()[1:]]

    def hits(self, kind, before):
        hit, miss = (b - a for a, b in zip(before[:2], self.figures(kind)[:2]))
        return hit / (hit + miss)


def load(w, how, spread, seconds):
    """Requests a second."""
    out = lib.check(["fio", "--name=x", f"--rw={how}", "--bs=4k", "--iodepth=4", "--time_based",
                     f"--runtime={seconds}", f"--size={SIZE}", f"--random_distribution={spread}",
                     "--ioengine=nbd", f"--uri=nbd+unix:///?socket={w.uri}", "--norandommap", "--randseed=7",
                     "--output-format=json"])
    job = disk.json.loads(out[out.index("{"):])["jobs"][0]
    return job["read" if "read" in how else "write"]["iops"]


def fill(w):
    lib.check(["fio", "--name=x", "--rw=write", "--bs=1M", f"--size={SIZE}", "--ioengine=nbd",
               f"--uri=nbd+unix:///?socket={w.uri}"])


def one(title, kind, how, spread, words, reach=1 / 2, stretch=1 / 4):
    """A row of a disk with the filter beside the slow one alone."""
    with disk.place() as where, disk.Servers() as servers:
        def slow(name, size):
            return (f"{name}.file,file,path={disk.random_file(where / name, size)}",
                    f"{name},throttle,file={name}.file,iops={SLOW_IOPS}")

        (where / "fast").write_bytes(b"")
        os.truncate(where / "fast", FAST)
        alone = Worker(servers, where, "alone", *slow("a", SIZE))
        ours = Worker(servers, where, "ours", *slow("b", SIZE + (4 << 20 if kind == "tier" else 0)),
                      f"fast,file,path={where / 'fast'}", f"top,{kind},slow=b,fast=fast,fresh,{words}")
        fill(ours)
        load(ours, how, spread, WARM_SECONDS)
        before = ours.figures(kind)
        found = lib.alternate({"ours": ours, "alone": alone}, ROUNDS, lambda w: 1e6 / load(w, how, spread, SECONDS))
        hits = f", {100 * ours.hits(kind, before):.0f}% hits" if "read" in how else ""
        return lib.Row(title, f"{1e6 / lib.median(found['ours']):.0f}/s{hits}",
                       f"the slow disk {1e6 / lib.median(found['alone']):.0f}/s",
                       lib.paired(found["ours"], found["alone"]), reach, stretch)


def rows():
    lib.need_cmd("fio")
    return [one("cache of a quarter, 4K read, zipf 1.1", "cache", "randread", ZIPF, "mode=write-through,line=4096"),
            one("write-back cache of a quarter, 4K write, zipf 1.1", "cache", "randwrite", ZIPF,
                "mode=write-back,line=4096", 1 / 1.5, 1 / 3),
            one("tier of a quarter, 4K read, 90% in the last tenth", "tier", "randread", HOT_END,
                f"size={SIZE},look-every=500")]
