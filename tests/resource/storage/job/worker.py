#!/usr/bin/env python3
"""The worker of a volume with clients of Debian's attached: forks, sizes, limits, bad requests.
rows: STO-11

    worker.py VOLUME-PROGRAM [CASE...]
"""
import array
import ctypes
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

VOLUME = os.path.abspath(sys.argv[1])
MIB = 1 << 20
TOOLS = ("qemu-img", "qemu-io", "nbdinfo", "nbdcopy")


class Refused(Exception):
    pass


class Worker:
    """A worker process and the first connection to it."""

    def __init__(self, work, *nodes, fds=(), name="w", words=()):
        self.work, self.name = work, name
        path = os.path.join(work, name + ".control")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(path)
        listener.listen(16)
        self.path = path
        args = [VOLUME, "serve", f"control={listener.fileno()}", *words]
        left = list(fds)
        for n in nodes:  # {} is the next descriptor
            args.append("node=" + (n.replace("{}", str(left.pop(0))) if "{}" in n else n))
        answer_r, answer_w = os.pipe()

        def arrange():
            os.dup2(answer_w, 3)

        keep = (listener.fileno(), 3, *fds)
        self.log = open(os.path.join(work, name + ".log"), "wb")
        self.process = subprocess.Popen(args, pass_fds=keep, preexec_fn=arrange, stdout=self.log,
                                        stderr=self.log)
        started.append(self.process)
        os.close(answer_w)
        listener.close()
        self.answers = os.fdopen(answer_r)
        first = self.answers.readline()
        if first != "serving=yes\n":
            self.process.wait()
            raise Refused(first + self.text())
        self.control = self.connect()

    def text(self):
        self.log.flush()
        return open(self.log.name, errors="replace").read()

    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(120)
        s.connect(self.path)
        return s

    def ask(self, *words, fds=(), control=None, go=None):
        """The lines of the answer; `go`: called when the job waits."""
        s = control or self.control
        send(s, words, fds)
        lines = []
        while True:
            text = s.recv(65536).decode()
            if not text:
                raise Refused("the worker has left: " + self.text()[-3000:])
            for line in text.splitlines():
                if line == "ok":
                    return lines
                if line.startswith("error "):
                    raise Refused(line)
                lines.append(line)
                if line == "ready=yes" and go is not None:
                    go()
                    send(s, ("go",), ())

    def export(self, name="disk", *more, control=None):
        path = os.path.join(self.work, f"{self.name}.{name}.sock")
        if os.path.exists(path):
            os.unlink(path)
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.bind(path)
        s.listen(16)
        self.ask("export", "nbd", "socket=@0", f"name={name}", *more, fds=[s.fileno()], control=control)
        s.close()
        return f"nbd+unix:///{name}?socket={path}"

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        code = self.process.wait(60)
        last = self.answers.read()
        if how == signal.SIGTERM and (code != 0 or not last.endswith("ok\n")):
            raise RuntimeError(f"the worker ended with {code}: {last} {self.text()[-4000:]}")
        self.answers.close()
        self.log.close()
        self.control.close()
        return last


def send(s, words, fds):
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    s.sendmsg([b"\0".join(w.encode() for w in words)], control)


def run(*args, ok=True):
    r = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    if ok and (r.returncode != 0 or "verification failed" in r.stdout):
        raise RuntimeError(f"{' '.join(args)}: {r.returncode} {r.stdout}")
    return r.stdout


def open_rw(path):
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def create(path, size, backing=None, *options):
    args = ["qemu-img", "create", "-q", "-f", "qcow2", *options]
    if backing:
        args += ["-b", backing, "-F", "qcow2", "-u"]
    run(*args, path, str(size))


def qemu_io(uri, *commands):
    args = ["qemu-io", "-f", "raw"]
    for c in commands:
        args += ["-c", c]
    return run(*args, uri)


def check_image(path, leaks=False):
    """No reference is wrong; clusters may have leaked where a process was killed."""
    r = subprocess.run(["qemu-img", "check", "-q", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if r.returncode not in ((0, 3) if leaks else (0,)):
        raise RuntimeError(f"qemu-img check {path}: {r.returncode} {r.stdout}")


class Nbd:
    """As much of a client as the tests need: newstyle, simple replies, one request at a time."""

    def __init__(self, uri):
        name, path = uri[len("nbd+unix:///"):].split("?socket=")
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(60)
        self.s.connect(path)
        head = self.take(18)
        assert head[:16] == b"NBDMAGICIHAVEOPT", head
        self.s.sendall(struct.pack(">I", 3))  # fixed newstyle, no zeroes
        data = struct.pack(">I", len(name)) + name.encode() + struct.pack(">H", 0)
        self.s.sendall(b"IHAVEOPT" + struct.pack(">II", 7, len(data)) + data)  # NBD_OPT_GO
        while True:
            _, _, kind, length = struct.unpack(">QIII", self.take(20))
            info = self.take(length)
            if kind == 1:
                return
            if kind >> 31:
                raise OSError(f"the server refuses: {kind:x} {info}")
            if struct.unpack(">H", info[:2])[0] == 0:
                self.size = struct.unpack(">Q", info[2:10])[0]

    def take(self, count):
        got = b""
        while len(got) < count:
            more = self.s.recv(count - len(got))
            if not more:
                raise OSError("the server has left")
            got += more
        return got

    def request(self, kind, off, count, data=b"", answer=0):
        self.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 1, off, count) + data)
        _, error, _ = struct.unpack(">IIQ", self.take(16))
        if error:
            raise OSError(error, "the disk refuses")
        return self.take(answer)

    def read(self, off, count):
        return self.request(0, off, count, answer=count)

    def write(self, off, data):
        self.request(1, off, len(data), data)

    def flush(self):
        self.request(3, 0, 0)

    def close(self):
        self.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 1, 0, 0))
        self.s.close()


class Writer:
    """Writes blocks with a count in them through NBD, over and over; remembers the last that was
    acknowledged, and the last before a flush that was."""

    BLOCK = 4096

    def __init__(self, uri, size, seed=1, flush_every=16, count=0):
        self.h = Nbd(uri)
        self.size, self.count, self.seed = size, count, seed
        self.flush_every = flush_every
        self.acked, self.begun, self.flushed = {}, {}, {}
        self.worst, self.stopping, self.error = 0.0, False, None
        self.thread = threading.Thread(target=self.loop)
        self.thread.start()

    def random(self):
        self.seed = (self.seed * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return self.seed >> 33

    def loop(self):
        try:
            while not self.stopping:
                block = self.random() % (self.size // self.BLOCK)
                self.count += 1
                self.begun[block] = self.count
                begun = time.monotonic()
                self.h.write(block * self.BLOCK, pattern(block, self.count))
                self.acked[block] = self.count
                if self.count % self.flush_every == 0:
                    self.h.flush()
                    self.flushed = dict(self.acked)
                else:
                    self.worst = max(self.worst, time.monotonic() - begun)
        except Exception as e:
            self.error = e

    def stop(self, expect_error=False):
        self.stopping = True
        self.thread.join(60)
        if self.error and not expect_error:
            raise self.error
        if not self.error and not expect_error:
            self.h.close()

    def check(self, uri, least):
        """Each block has what was acknowledged (or begun) last, or at least `least`."""
        h = Nbd(uri)
        for block, count in least.items():
            data = h.read(block * self.BLOCK, self.BLOCK)
            got = int.from_bytes(data[:8], "little")
            if data != pattern(block, got) or not count <= got <= self.begun[block]:
                raise RuntimeError(f"block {block}: {got}, not {count} to {self.begun[block]}")
        h.close()


def pattern(block, count):
    return (count.to_bytes(8, "little") + block.to_bytes(8, "little")) * (Writer.BLOCK // 16)


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise RuntimeError("it does not come")
        time.sleep(0.02)


def value(lines, key):
    for line in lines:
        if line.startswith(key + "="):
            return line[len(key) + 1:]
    return None


# ---- cases ----

def case_serves_and_tells(work):
    """Exports end with their connection, kept ones do not; the worker goes with the last."""
    disk = os.path.join(work, "disk")
    run("truncate", "-s", "64M", disk)
    fd = open_rw(disk)
    w = Worker(work, f"d,file,fd={fd}", fds=[fd])
    os.close(fd)
    other = w.connect()
    uri = w.export("a", control=other)
    kept = w.export("b", "keep")
    assert "export-size: 67108864" in run("nbdinfo", uri)
    qemu_io(uri, "write -P 7 1M 1M", "flush")
    qemu_io(kept, "read -P 7 1M 1M")
    lines = w.ask("status")
    assert value(lines, "top") == "d" and value(lines, "size") == str(64 * MIB), lines
    assert sum(line.startswith("export=") for line in lines) == 2, lines
    other.close()
    until(lambda: sum(line.startswith("export=") for line in w.ask("status")) == 1)
    assert subprocess.run(["nbdinfo", uri], stderr=subprocess.DEVNULL).returncode != 0
    qemu_io(kept, "read -P 7 1M 1M")
    w.control.close()
    time.sleep(0.3)
    assert w.process.poll() is None
    w.control = w.connect()
    w.ask("unexport", "id=" + [l for l in w.ask("status") if l.startswith("export=")][0][7:].split()[0])
    w.control.close()
    assert w.process.wait(20) == 0, w.text()


def mount_fuse(path):
    """/dev/fuse, with a file system that is one file mounted on `path`, in a namespace of our own."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    open(path, "w").close()
    if (libc.unshare(0x00020000) != 0 or libc.mount(None, b"/", None, 0x44000, None) != 0
            or libc.mount(b"test", path.encode(), b"fuse", 0,
                          f"fd={fd},rootmode=100000,user_id=0,group_id=0".encode()) != 0):
        raise OSError(ctypes.get_errno(), "mount")
    return fd, lambda: libc.umount2(path.encode(), 2)


def case_serves_as_a_file(work):
    """A file that is there until it is unmounted; what is forked below it is another disk."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        print("skipped: needs root and /dev/fuse")
        return
    base, top = os.path.join(work, "base.qcow2"), os.path.join(work, "top.qcow2")
    create(base, 64 * MIB)
    fd = open_rw(base)
    w = Worker(work, f"f,file,fd={fd}", "d,qcow2,file=f", fds=[fd])
    refused(w, "export", "fuse", "socket=@0", fds=[fd])
    refused(w, "export", "fuse")
    path = os.path.join(work, "m")
    fuse, unmount = mount_fuse(path)
    w.ask("export", "fuse", "socket=@0", "keep", fds=[fuse])
    os.close(fuse)
    try:
        assert os.stat(path).st_size == 64 * MIB
        qemu_io(path, "write -P 1 0 1M", "flush")
        create(top, 64 * MIB, base)
        other = open_rw(top)
        w.ask("fork", "node=f2,file,fd=@0", "node=d2,qcow2,file=f2,alone", fds=[other])
        os.close(other)
        qemu_io(path, "read -P 1 0 1M", "write -P 2 512k 1M", "discard 4M 1M", "flush")
        assert w.ask("resize", "size=128M") and os.stat(path).st_size == 128 * MIB
        qemu_io(path, "write -P 3 100M 1M", "read -P 2 512k 1M", "read -P 1 0 512k")
        assert any(l.startswith("export=") for l in w.ask("status"))
    finally:
        unmount()
    until(lambda: not any(l.startswith("export=") for l in w.ask("status")))
    w.control.close()
    assert w.process.wait(20) == 0, w.text()
    os.close(fd)
    for image in (base, top):
        check_image(image)
    run("qemu-io", "-f", "qcow2", "-c", "read -P 1 0 1M", base)


def case_resizes(work):
    disk = os.path.join(work, "disk.qcow2")
    create(disk, 64 * MIB)
    fd = open_rw(disk)
    w = Worker(work, f"f,file,fd={fd}", "d,qcow2,file=f", fds=[fd])
    uri = w.export()
    assert value(w.ask("resize", "size=128M"), "size") == str(128 * MIB)
    assert "export-size: 134217728" in run("nbdinfo", uri)
    qemu_io(uri, "write -P 3 100M 1M", "flush")
    refused(w, "resize", "size=64M")
    refused(w, "resize", "size=1000001")
    refused(w, "resize")
    w.ask("resize", "size=64M", "shrink")
    assert "export-size: 67108864" in run("nbdinfo", uri)
    w.end()
    os.close(fd)
    check_image(disk)
    assert "virtual size: 64 MiB" in run("qemu-img", "info", disk)


def refused(w, *words, fds=(), control=None):
    try:
        w.ask(*words, fds=fds, control=control)
    except Refused as e:
        assert str(e).startswith("error "), e
        return str(e)
    raise RuntimeError(f"not refused: {words}")


def case_refuses_bad_requests(work):
    disk = os.path.join(work, "disk")
    run("truncate", "-s", "1M", disk)
    fd = open_rw(disk)
    w = Worker(work, f"d,file,fd={fd}", fds=[fd])
    for words in (("nothing",), ("status", "x"), ("export",), ("export", "nbd"),
                  ("export", "nbd", "socket=3"), ("export", "nbd", "socket=@0"), ("export", "what", "x"),
                  ("export", "nbd", "socket=@99999999999999999999"), ("fork",), ("fork", "node=a,file,fd=0"),
                  ("fork", "node=d,memory,size=1M"), ("fork", "node=m,memory,size=1M"),
                  ("fork", "node=a,file,path=/etc/passwd"), ("unexport", "id=9"), ("resize", "size=x"),
                  ("throttle", "name=d", "iops=5"), ("x" * 60000,), ("status",) * 600, ("go",)):
        refused(w, *words)
    for key in ("iscsi,url=iscsi://x/y/0,chap", "luks,file=d,key", "store,fd", "qcow2,file=d,dir"):
        assert "names no descriptor" in refused(w, "fork", f"node=a,{key}=0"), key
    assert "names no descriptor" not in refused(w, "fork", "node=a,log,file=d,trace=d")
    refused(w, "export", "nbd", "socket=@0", fds=[fd])
    refused(w, "export", "nbd", "socket=@1", fds=[0])
    refused(w, "status", "fd=@0", fds=[0] * 40)
    w.control.send(b"\0\0\0")
    assert w.control.recv(65536).startswith(b"error")
    w.control.send(b"s" * 70000)
    assert w.control.recv(65536).startswith(b"error")
    half = w.connect()
    half.close()
    time.sleep(0.3)
    before = len(os.listdir(f"/proc/{w.process.pid}/fd"))
    for _ in range(50):
        refused(w, "nonsense", fds=[fd, fd, fd])
    after = len(os.listdir(f"/proc/{w.process.pid}/fd"))
    assert after == before, (before, after)
    assert value(w.ask("status"), "top") == "d"
    w.end()
    os.close(fd)


def case_forks_under_load(work):
    """Every fork holds one moment; nobody waits for long."""
    forks(work)


def case_forks_below_a_cache(work):
    """What a cache holds back is in the fork, too; limits on top are no layer."""
    store = os.path.join(work, "store")
    run("truncate", "-s", "8M", store)
    fd = open_rw(store)
    forks(work, f"s,file,fd={fd}", "c,cache,slow=l0,fast=s,fresh,mode=write-back",
          "limits,throttle,file=c,iops=1000000", also=[fd])
    os.close(fd)


def forks(work, *above, also=()):
    size, paths, fds = 32 * MIB, [], []
    for i in range(6):
        paths.append(os.path.join(work, f"layer{i}"))
        create(paths[i], size, paths[i - 1] if i else None)
        fds.append(open_rw(paths[i]))
    w = Worker(work, f"f0,file,fd={fds[0]}", "l0,qcow2,file=f0", *above, fds=[fds[0], *also])
    uri = w.export()
    writer = Writer(uri, size)
    moments, stalls = [], []
    for i in range(1, 6):
        time.sleep(0.3)
        before = dict(writer.acked)
        words = ("fork", f"node=f{i},file,fd=@0", f"node=l{i},qcow2,file=f{i},alone")

        def still():  # it waits for leave, and guests do not
            assert value(w.ask("status", control=other), "top") == f"l{i - 1}"
            acked = writer.count
            until(lambda: writer.count > acked)
            before.update(writer.acked)
        other = w.connect()
        if i == 2:  # one whose caller leaves has changed nothing
            gone = w.connect()
            send(gone, words + ("hold",), [fds[i]])
            assert gone.recv(65536) == b"ready=yes\n"
            gone.close()
            until(lambda: not any(l.startswith("job=") for l in w.ask("status")))
            still()
        if i % 2:
            lines = w.ask(*words, fds=[fds[i]])
        else:
            lines = w.ask(*words, "hold", fds=[fds[i]], go=still)
        other.close()
        moments.append((before, dict(writer.begun)))
        stalls.append(int(value(lines, "stall-us")))
        assert value(w.ask("status"), "top") == f"l{i}"
    time.sleep(0.2)
    # another process reads what was frozen while the worker goes on
    for i, (before, begun) in enumerate(moments):
        frozen = Worker(work, *[n for k in range(i + 1) for n in layer(k)], fds=fds[:i + 1], name=f"frozen{i}")
        at = frozen.export("x", "read-only")
        check = Writer.__new__(Writer)
        check.begun = begun
        check.check(at, before)
        frozen.end()
    writer.stop()
    writer.check(uri, writer.acked)
    w.end()
    for p in paths:
        check_image(p)
    print(f"    stalls of {min(stalls)} to {max(stalls)} us, slowest write {writer.worst * 1e3:.1f} ms, "
          f"{writer.count} writes")
    for fd in fds:
        os.close(fd)


def layer(i):
    backing = f",backing=l{i - 1}" if i else ""
    return (f"f{i},file,read-only,fd={{}}", f"l{i},qcow2,read-only,file=f{i}{backing}")


class Chain:
    """A worker on layers that stand on each other, with a writer."""

    def __init__(self, work, count, size=24 * MIB, throttle=""):
        self.work, self.size = work, size
        self.paths = [os.path.join(work, f"layer{i}") for i in range(count)]
        for i, path in enumerate(self.paths):
            create(path, size, self.paths[i - 1] if i else None)
        fds = [open_rw(p) for p in self.paths]
        words = ["f0,file,fd={}", "l0,qcow2,file=f0"]
        self.w = Worker(work, *words, *([f"t,throttle,file=l0,{throttle}"] if throttle else []), fds=fds[:1])
        self.uri = self.w.export()
        self.writer = Writer(self.uri, size)
        for i in range(1, count):
            time.sleep(0.1)
            under = [f"layer=l{i - 1}"] if throttle else []
            self.w.ask("fork", *under, f"node=f{i},file,fd=@0", f"node=l{i},qcow2,file=f{i},alone", fds=[fds[i]])
        for fd in fds:
            os.close(fd)

    def finish(self, *images):
        self.writer.stop()
        self.writer.check(self.uri, self.writer.acked)
        self.w.end()
        for path in images:
            check_image(path)

    def reopen(self, paths, last="qcow2", expect=None):
        """What is on the disk after a crash: at least what was flushed."""
        for path in paths:
            if last == "qcow2" or path != paths[-1]:
                check_image(path, leaks=True)
        nodes, fds = [], [open_rw(p) for p in paths]
        for i, _ in enumerate(paths):
            nodes.append(f"f{i},file,fd={{}}")
            if last == "qcow2" or i + 1 < len(paths):
                nodes.append(f"l{i},qcow2,file=f{i}" + (f",backing=l{i - 1}" if i else "") +
                             (",read-only" if i + 1 < len(paths) else ""))
        w = Worker(self.work, *nodes, fds=fds, name=f"again{time.monotonic_ns()}")
        self.writer.check(w.export(), self.writer.flushed if expect is None else expect)
        w.end()
        for fd in fds:
            os.close(fd)


def case_moves_under_load(work):
    c = Chain(work, 2)
    raw = os.path.join(work, "raw")
    run("truncate", "-s", str(c.size), raw)
    fd = open_rw(raw)
    small = os.path.join(work, "small")
    run("truncate", "-s", "1M", small)
    bad = open_rw(small)
    refused(c.w, "move", "node=s,file,fd=@0", fds=[bad])
    os.close(bad)
    lines = c.w.ask("move", "node=r,file,fd=@0", "hold", fds=[fd], go=lambda: time.sleep(0.2))
    assert sorted(l for l in lines if l.startswith("left=")) == ["left=f0", "left=f1", "left=l0", "left=l1"], lines
    assert value(c.w.ask("status"), "top") == "r"
    time.sleep(0.1)
    os.close(fd)
    c.finish()
    os.unlink(c.paths[0])
    c.reopen([raw], last="raw", expect=c.writer.acked)


def case_merges_under_load(work):
    c = Chain(work, 4, throttle="iops=1000000")
    note = os.path.join(work, "note")
    with open(note, "w+") as f:
        f.write("0")
        f.flush()
        assert "does not stand" in refused(c.w, "merge", "layer=l3", "onto=l0")
        assert "names no descriptor" in refused(c.w, "merge", "layer=l3", f"turned={f.fileno()}")
        with open(note) as reading:  # the turn cannot be noted: it does not happen
            refused(c.w, "merge", "layer=l3", "turned=@0", fds=[reading.fileno()])
        assert open(note).read() == "0"
        c.w.ask("merge", "layer=l3", "onto=l2", "hold", "turned=@0", fds=[f.fileno()],
                go=lambda: time.sleep(0.1))
    assert open(note).read() == "1"
    c.w.ask("merge", "layer=l1", "rename=layer0")
    assert value(c.w.ask("status"), "top") == "l2"  # the image, below the limits
    refused(c.w, "merge", "layer=l0")
    refused(c.w, "merge", "layer=f0")
    refused(c.w, "merge", "layer=nothing")
    os.unlink(c.paths[3])
    os.unlink(c.paths[1])
    time.sleep(0.1)
    c.finish(c.paths[0], c.paths[2])
    assert "backing file: layer0" in run("qemu-img", "info", "-U", c.paths[2])
    c.reopen([c.paths[0], c.paths[2]], expect=c.writer.acked)


def case_merges_what_was_opened_for_reading(work):
    paths = [os.path.join(work, f"layer{i}") for i in range(2)]
    create(paths[0], 8 * MIB)
    run("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 4M", paths[0])
    create(paths[1], 8 * MIB, paths[0])
    fds = [os.open(paths[0], os.O_RDONLY), open_rw(paths[1])]
    w = Worker(work, "f0,file,read-only,fd={}", "l0,qcow2,file=f0,read-only", "f1,file,fd={}",
               "l1,qcow2,file=f1,backing=l0", fds=fds)
    uri = w.export()
    qemu_io(uri, "write -P 2 1M 1M")
    assert "reading only" in refused(w, "merge")
    better = open_rw(paths[0])
    assert "another file" in refused(w, "merge", "reopen=f0,fd=@0", fds=[fds[1]])
    w.ask("merge", "reopen=f0,fd=@0", fds=[better])
    qemu_io(uri, "read -P 1 0 1M", "read -P 2 1M 1M", "read -P 1 2M 2M", "write -P 3 3M 1M")
    w.end()
    check_image(paths[0])
    assert "identical" in run("qemu-img", "compare", paths[0], paths[0])
    run("qemu-io", "-f", "qcow2", "-c", "read -P 2 1M 1M", "-c", "read -P 3 3M 1M", paths[0])


def case_streams_under_load(work):
    c = Chain(work, 3)
    c.w.ask("stream")
    time.sleep(0.1)
    c.finish(c.paths[2])
    os.unlink(c.paths[0])
    os.unlink(c.paths[1])
    assert "backing file" not in run("qemu-img", "info", c.paths[2])
    c.reopen([c.paths[2]], expect=c.writer.acked)


def marked_worker(work, size):
    disk, marks = os.path.join(work, "disk"), os.path.join(work, "marks")
    run("truncate", "-s", str(size), disk)
    run("truncate", "-s", "4M", marks)
    run(VOLUME, "arrange", "format=marks", f"size={size}", f"node=m,file,path={marks}")
    fds = [open_rw(disk), open_rw(marks)]
    w = Worker(work, "d,file,fd={}", "m,file,fd={}", "b,marks,file=d,set=m", fds=fds)
    for fd in fds:
        os.close(fd)
    return w


def dirty(w, name):
    for line in w.ask("marks", "marks=b"):
        if line.startswith("mark=") and line.endswith(" " + name):
            return int(line[5:].split()[1])
    return None


def case_backs_up_under_load(work):
    size = 16 * MIB
    w = marked_worker(work, size)
    w.ask("marks", "marks=b", "add=day", "granularity=64k")
    uri = w.export()
    writer = Writer(uri, size)
    time.sleep(0.5)
    copy = os.path.join(work, "copy.qcow2")
    create(copy, size)
    for turn in range(4):
        before = dict(writer.acked)
        fd = open_rw(copy)
        lines = w.ask("backup", "marks=b", "bitmap=day", "node=cf,file,fd=@0", "node=c,qcow2,file=cf",
                      *([] if turn else ["full"]), fds=[fd])
        begun = dict(writer.begun)
        os.close(fd)
        assert turn or int(value(lines, "bytes")) == size, lines
        check_image(copy)
        fd = os.open(copy, os.O_RDONLY)
        r = Worker(work, "f,file,read-only,fd={}", "q,qcow2,read-only,file=f", fds=[fd], name=f"copy{turn}")
        view = Writer.__new__(Writer)
        view.begun = begun
        view.check(r.export(), before)
        r.end()
        os.close(fd)
        time.sleep(0.1)
    writer.stop()
    # nothing changes any more: the next one is exactly what there is
    fd = open_rw(copy)
    w.ask("backup", "marks=b", "bitmap=day", "node=cf,file,fd=@0", "node=c,qcow2,file=cf", fds=[fd])
    os.close(fd)
    assert "identical" in run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", uri, copy)
    assert dirty(w, "day") == 0
    # one that is cancelled, or cannot be: the marks are there for the next one
    qemu_io(uri, "write -P 5 3M 1M")
    fd = open_rw(copy)
    before = dirty(w, "day")
    small = os.path.join(work, "small")
    run("truncate", "-s", "1M", small)
    bad = open_rw(small)
    refused(w, "backup", "marks=b", "bitmap=day", "node=cf,file,fd=@0", fds=[bad])
    refused(w, "backup", "marks=b", "bitmap=none", "node=cf,file,fd=@0", fds=[fd])
    refused(w, "backup", "marks=d", "bitmap=day", "node=cf,file,fd=@0", fds=[fd])
    refused(w, "backup", "bitmap=day", "node=cf,file,fd=@0", fds=[fd])
    assert dirty(w, "day") == before == MIB, before
    os.close(bad)
    os.close(fd)
    w.end()


def case_shows_dirty_bitmaps(work):
    w = marked_worker(work, 16 * MIB)
    w.ask("marks", "marks=b", "add=day", "granularity=64k")
    w.ask("marks", "marks=b", "add=week", "granularity=64k")
    uri = w.export("disk", "marks=b")
    qemu_io(uri, "write -P 5 3M 1M", "write -P 6 9M 64k")
    text = run("nbdinfo", "--map=qemu:dirty-bitmap:day", uri)
    found = [tuple(map(int, l.split()[:3])) for l in text.splitlines()]
    assert found == [(0, 3 * MIB, 0), (3 * MIB, MIB, 1), (4 * MIB, 5 * MIB, 0), (9 * MIB, 65536, 1),
                     (9 * MIB + 65536, 7 * MIB - 65536, 0)], text
    w.ask("marks", "marks=b", "clear=day")
    assert [l.split()[2] for l in run("nbdinfo", "--map=qemu:dirty-bitmap:day", uri).splitlines()] == ["0"]
    assert "qemu:dirty-bitmap:week" in run("nbdinfo", uri)
    # QEMU takes a bitmap for what to copy: clean is zeros to it
    path = uri.split("socket=")[1]
    options = ("driver=nbd,export=disk,server.type=unix,"
               f"server.path={path},x-dirty-bitmap=qemu:dirty-bitmap:week")
    text = run("qemu-img", "map", "--output=json", "--image-opts", options)
    spans = [(e["start"], e["length"]) for e in json.loads(text) if not e["data"]]
    assert spans == [(3 * MIB, MIB), (9 * MIB, 65536)], text
    w.ask("marks", "marks=b", "remove=day")
    assert subprocess.run(["nbdinfo", "--map=qemu:dirty-bitmap:day", uri], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode != 0
    w.end()


def case_jobs_end_with_their_connection(work):
    c = Chain(work, 2)
    raw = os.path.join(work, "raw")
    run("truncate", "-s", str(c.size), raw)
    for verb in (("move", "node=r,file,fd=@0", "hold"), ("merge", "hold")):
        fd = open_rw(raw)
        other = c.w.connect()
        send(other, verb, [fd] if verb[0] == "move" else ())
        while b"ready=yes" not in other.recv(65536):
            pass
        assert "under way" in refused(c.w, "merge")
        assert "during" in refused(c.w, "resize", "size=1G")
        assert value(c.w.ask("status"), "job").startswith(verb[0])
        other.close()
        until(lambda: value(c.w.ask("status"), "job") is None)
        assert value(c.w.ask("status"), "top") == "l1"
        os.close(fd)
    c.finish(*c.paths)


def case_survives_kills(work):
    """Killed at any time during a job, what was flushed is there."""
    rounds = int(os.environ.get("WORKER_KILLS", "2"))
    seed = int(os.environ.get("SUITE_SEED", "1"))
    for i in range(rounds):
        for job in ("fork", "move", "merge", "stream"):
            sub = os.path.join(work, f"{job}{i}")
            os.mkdir(sub)
            kill_during(sub, job, (seed + i * 37) % 100)


def kill_during(work, job, when):
    c = Chain(work, 2)
    extra = os.path.join(work, "extra")
    if job == "fork":
        create(extra, c.size, c.paths[1])
        words = ("fork", "node=n,file,fd=@0", "node=t,qcow2,file=n,alone")
    elif job == "move":
        run("truncate", "-s", str(c.size), extra)
        words = ("move", "node=n,file,fd=@0", "hold")
    else:
        words = (job, "hold") if job == "merge" else (job,)
    fd = open_rw(extra) if os.path.exists(extra) else None
    send(c.w.control, words, [fd] if fd is not None else ())
    c.w.control.settimeout(0.005 + when / 500)
    text = b""
    try:
        while b"ok\n" not in text:
            text += c.w.control.recv(65536)
            if b"ready=yes" in text and when % 2 == 0:
                time.sleep(when / 1000)
                break
    except TimeoutError:
        pass
    c.w.process.kill()
    c.w.process.wait()
    c.writer.stop(expect_error=True)
    if fd is not None:
        os.close(fd)
    flushed = c.writer.flushed
    # whoever writes the record forward: each of these is right
    if job == "fork":
        c.reopen(c.paths + [extra], expect=flushed)
    elif job == "stream":
        whole = "backing file" not in run("qemu-img", "info", "-U", c.paths[1])
        c.reopen(c.paths[1:] if whole else c.paths, expect=flushed)
    else:
        if b"ready=yes" in text:
            c.reopen([extra] if job == "move" else c.paths[:1], last="raw" if job == "move" else "qcow2",
                     expect=flushed)
        c.reopen(c.paths, expect=flushed)


def case_a_cache_survives_kills(work):
    """What was flushed is there, from the store or the slow disk, whenever its server dies."""
    disk, store = os.path.join(work, "disk"), os.path.join(work, "store")
    run("truncate", "-s", "32M", disk)
    run("truncate", "-s", "8M", store)
    fds = [open_rw(disk), open_rw(store)]
    nodes = [f"d,file,fd={fds[0]}", f"s,file,fd={fds[1]}"]
    reader = Writer.__new__(Writer)
    reader.begun, flushed = {}, {}
    for i in range(int(os.environ.get("WORKER_KILLS", "6"))):
        w = Worker(work, *nodes, "c,cache,slow=d,fast=s,mode=write-back" + ("" if i else ",fresh"), fds=fds, name=f"k{i}")
        writer = Writer(w.export(), 32 * MIB, seed=i + 1, count=i << 20)  # what comes later has a larger one
        time.sleep(0.2 + i % 5 * 0.15)
        w.end(signal.SIGKILL)
        writer.stop(expect_error=True)
        reader.begun.update(writer.begun)
        flushed.update(writer.flushed)
        w = Worker(work, *nodes, "c,cache,slow=d,fast=s,mode=write-back", fds=fds, name=f"r{i}")
        reader.check(w.export("disk", "read-only"), flushed)
        w.end()
    assert len(flushed) > 50, len(flushed)
    w = Worker(work, nodes[0], fds=fds[:1], name="slow")  # by itself, all having gone down
    reader.check(w.export("disk", "read-only"), flushed)
    w.end()
    for fd in fds:
        os.close(fd)


def case_limits_can_change(work):
    disk = os.path.join(work, "disk")
    run("truncate", "-s", "64M", disk)
    fd = open_rw(disk)
    w = Worker(work, f"d,file,fd={fd}", "t,throttle,file=d,iops=20", fds=[fd])
    uri = w.export()
    writer = Writer(uri, 64 * MIB, flush_every=1 << 40)
    time.sleep(1)
    slow = writer.count
    w.ask("throttle", "name=t", "iops=100000")
    time.sleep(1)
    assert slow < 100 < writer.count, (slow, writer.count)
    refused(w, "throttle", "name=t", "what=7")
    refused(w, "throttle", "name=d", "iops=7")
    writer.stop()
    w.end()
    w = Worker(work, f"d,file,fd={fd}", fds=[fd], name="u")  # it has no limits yet
    uri = w.export()
    refused(w, "throttle", "name=t", "iops=7")
    refused(w, "throttle", "iops=7", "what=7")
    writer = Writer(uri, 64 * MIB, flush_every=1 << 40)
    time.sleep(1)
    fast = writer.count
    w.ask("throttle", "iops=20")
    assert value(w.ask("status"), "top") == "d"
    time.sleep(1)
    held = writer.count
    time.sleep(2)
    assert fast > 100 and writer.count - held < 100, (fast, held, writer.count)
    w.ask("throttle", "iops=0")
    writer.stop()
    writer.check(uri, writer.acked)
    w.end()
    os.close(fd)


class Machine:
    """The least of a vhost-user front end (docs/interop/vhost-user.rst of QEMU)."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.s.settimeout(60)
        self.s.connect(path)
        self.tell(16, struct.pack("<Q", 0x228))  # answers, messages to us, configuration
        mine, self.back = socket.socketpair()
        self.back.settimeout(60)
        self.tell(21, fds=[mine.fileno()])
        mine.close()

    def tell(self, request, payload=b"", fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.s.sendmsg([struct.pack("<III", request, 1, len(payload)) + payload], control)

    def capacity(self):
        self.tell(24, struct.pack("<III", 0, 8, 0) + bytes(8))
        reply = self.s.recv(32, socket.MSG_WAITALL)
        return struct.unpack("<Q", reply[24:])[0] * 512


def case_serves_machines_of_others(work):
    disk = os.path.join(work, "disk.qcow2")
    create(disk, 64 * MIB)
    fd = open_rw(disk)
    w = Worker(work, f"f,file,fd={fd}", "d,qcow2,file=f", fds=[fd])
    path = os.path.join(work, "vhost.sock")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.bind(path)
    s.listen(1)
    w.ask("export", "vhost-user", "socket=@0", "queues=2", "id=disk one", fds=[s.fileno()])
    refused(w, "export", "vhost-user", "socket=@0", "queues=65", fds=[s.fileno()])
    refused(w, "export", "vhost-user", "socket=@0", "id=" + "x" * 21, fds=[s.fileno()])
    s.close()
    m = Machine(path)
    assert m.capacity() == 64 * MIB
    w.ask("resize", "size=128M")
    assert struct.unpack("<III", m.back.recv(12, socket.MSG_WAITALL)) == (2, 1, 0)
    assert m.capacity() == 128 * MIB
    m.tell(31, struct.pack("<QQHH", 0, 0, 1, 128))  # the filter lets it make shared memory
    m.s.close()
    m = Machine(path)
    m.tell(16, struct.pack("<Q", 0x1228))
    m.tell(31, struct.pack("<QQHH", 0, 0, 1, 128))
    reply, fds, _, _ = socket.recv_fds(m.s, 32, 1)
    assert len(reply) == 32 and len(fds) == 1
    os.close(fds[0])
    w.end()
    os.close(fd)


def main():
    missing = [t for t in TOOLS if shutil.which(t) is None]
    if missing:
        print("skipped: not installed:", *missing)
        return 77
    failed = 0
    os.dup2(os.open(os.devnull, os.O_RDONLY), 3)  # taken: the worker's answers go there
    wanted = sys.argv[2:]
    for name, case in sorted(globals().items()):
        if not name.startswith("case_") or (wanted and name[5:] not in wanted):
            continue
        work = tempfile.mkdtemp(prefix="worker-", dir="/var/tmp")
        begun = time.monotonic()
        try:
            case(work)
            print(f"ok   {name[5:]} ({time.monotonic() - begun:.1f} s)", flush=True)
        except Exception as e:
            import traceback
            traceback.print_exc()
            print(f"FAIL {name[5:]}: {e}", flush=True)
            failed += 1
        finally:
            for p in started:
                if p.poll() is None:
                    p.kill()
                    p.wait()
            started.clear()
            shutil.rmtree(work, ignore_errors=True)
    return 1 if failed else 0


started = []
if __name__ == "__main__":
    sys.exit(main())
