"""create + start + delete of a static program through the OCI interface, beside crun, runc
and the floor; with and without a Docker-size seccomp profile; peak resident size."""
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import lib

ROUNDS = 7
RUNS = 10
KEPT = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
TABLE = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
# What a Docker-like profile leaves out.
DENIED = set("""acct add_key bpf clock_adjtime clock_settime create_module delete_module
    finit_module fsconfig fsmount fsopen fspick get_kernel_syms get_mempolicy init_module ioperm
    iopl kexec_file_load kexec_load keyctl lookup_dcookie mbind mount mount_setattr move_mount
    move_pages nfsservctl open_by_handle_at open_tree perf_event_open pivot_root quotactl reboot
    request_key set_mempolicy setns settimeofday swapoff swapon sysfs _sysctl umount2 unshare
    uselib userfaultfd ustat vm86 vm86old""".split())


def mounts():
    rows = [("proc", "/proc", []), ("tmpfs", "/dev", ["nosuid", "strictatime", "mode=755",
                                                      "size=65536k"]),
            ("devpts", "/dev/pts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666",
                                    "mode=0620", "gid=5"]),
            ("tmpfs", "/dev/shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            ("mqueue", "/dev/mqueue", ["nosuid", "noexec", "nodev"]),
            ("sysfs", "/sys", ["nosuid", "noexec", "nodev", "ro"]),
            ("cgroup", "/sys/fs/cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"])]
    return [{"type": t, "source": t, "destination": d, "options": o} for t, d, o in rows]


def profile():
    names = re.findall(r"#define __NR_(\w+)", Path(TABLE).read_text())
    open_ = sorted(set(names) - DENIED - {"personality", "clone", "clone3", "socket"})

    def rule(name, value, op="SCMP_CMP_EQ", **kw):
        return {"names": [name], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": value, "op": op, **kw}]}
    rules = [{"names": open_, "action": "SCMP_ACT_ALLOW"}]
    rules += [rule("personality", v) for v in (0, 8, 0x20000, 0x20008, 0xffffffff)]
    rules += [rule("clone", 0x7e020000, "SCMP_CMP_MASKED_EQ", valueTwo=0),
              rule("socket", 40, "SCMP_CMP_LT"), rule("socket", 40, "SCMP_CMP_GT"),
              {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": rules}


def config(seccomp=False, args=("/bin/guest",)):
    spaces = ["pid", "network", "ipc", "uts", "mount"] + (["cgroup"] if lib.cgroup2()[0] else [])
    linux = {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": s} for s in spaces],
        "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
                        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                        "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                          "/proc/sysrq-trigger"]}
    if seccomp:
        linux["seccomp"] = profile()
    caps = {k: KEPT for k in ("bounding", "effective", "permitted")}
    return {"ociVersion": "1.0.2", "hostname": "bench", "mounts": mounts(), "linux": linux,
            "root": {"path": "rootfs", "readonly": True},
            "process": {"args": list(args), "cwd": "/", "env": ["PATH=/bin"],
                        "user": {"uid": 0, "gid": 0}, "capabilities": caps,
                        "noNewPrivileges": True,
                        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]}}


def bundle(where, **kw):
    for d in ("proc", "dev", "sys", "bin"):
        (where / "rootfs" / d).mkdir(parents=True, exist_ok=True)
    shutil.copy(lib.helper("guest"), where / "rootfs/bin/guest")
    (where / "config.json").write_text(json.dumps(config(**kw)))
    return where


def sid_crun():
    """The newest crun that Debian serves, unpacked privately, run by its own loader."""
    top = lib.CACHE / "crun-sid"
    root = top / "root"
    if not (top / "done").exists():
        shutil.rmtree(top, ignore_errors=True)
        for d in ("lists/partial", "cache/archives/partial", "debs"):
            (top / d).mkdir(parents=True)
        keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
        (top / "sources").write_text(
            f"deb [signed-by={keys}] http://deb.debian.org/debian sid main\n")
        opts = [f"-oDir::Etc::sourcelist={top}/sources", "-oDir::Etc::sourceparts=/dev/null",
                "-oDir::Etc::preferencesparts=/dev/null", f"-oDir::State::lists={top}/lists",
                f"-oDir::Cache={top}/cache", "-oAcquire::Languages=none",
                "-oAPT::Sandbox::User=root"]
        lib.check(["apt-get", *opts, "update"], timeout=300)
        said = lib.check(["apt-cache", *opts, "depends", "--recurse", "--no-recommends",
                          "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces",
                          "--no-enhances", "crun"])
        names = sorted(set(re.findall(r"^([a-z0-9][\w.+-]*)$", said, re.M)))
        lib.check(["apt-get", *opts, "download", *names], cwd=top / "debs", timeout=300)
        for deb in (top / "debs").glob("*.deb"):
            lib.check(["dpkg-deb", "-x", deb, root])
        (top / "done").touch()
    loader = next(root.rglob("ld-linux-x86-64.so.2"))
    return [str(loader), "--library-path", str(root / "usr/lib/x86_64-linux-gnu"),
            str(root / "usr/bin/crun")]


def crun():
    """(name, command) of the peer: Debian's newest, else the installed one."""
    try:
        cmd = sid_crun()
        return lib.check([*cmd, "--version"]).split("\n")[0].replace(" version", ""), cmd
    except (RuntimeError, OSError, StopIteration, subprocess.TimeoutExpired) as e:
        lib.progress(f"no crun from sid ({str(e)[:90]}); the installed one")
        lib.need_cmd("crun")
        return lib.check(["crun", "--version"]).split("\n")[0].replace(" version", ""), ["crun"]


def steps_of(cmd, root, where):
    c = [*cmd, "--root", str(root)]
    return [[*c, "create", "--bundle", where, "@"], [*c, "start", "@"],
            [*c, "delete", "--force", "@"]]


def variants(scratch):
    """{name: keyword arguments of lib.spawn} for each runtime that is here, by profile."""
    v2, hybrid = lib.cgroup2()
    plain = bundle(scratch.dir / "plain")
    filtered = bundle(scratch.dir / "filtered", seccomp=True)
    name, cmd = crun()
    # crun refuses a host that has both versions; without the second it is at ease.
    apart = f"umount '{v2}'" if hybrid and v2 else None
    peers = {name: ([*cmd, "--cgroup-manager=cgroupfs"], apart)}
    if shutil.which("runc"):
        peers["runc"] = (["runc"], None)
    if lib.STRATA.exists():
        peers["strata"] = ([str(lib.STRATA), "oci"], None)
    out = {}
    for peer, (base, before) in peers.items():
        for kind, where in (("", plain), (" seccomp", filtered)):
            out[peer + kind] = {"steps": steps_of(base, scratch.dir / f"run-{peer[:4]}", where),
                                "before": before, "guest": True}
    keep = scratch.dir / "floor"
    keep.mkdir()
    floor = lib.helper("floor")
    out["floor"] = {"steps": [[floor, "create", plain / "rootfs", keep, "@", "/bin/guest"],
                              [floor, "start", keep, "@"], [floor, "delete", keep, "@"]],
                    "guest": True, "env": {"FLOOR_CGROUP": v2} if v2 else None}
    return name, out


def rows():
    lib.need_root()
    with lib.Scratch() as scratch:
        name, found = variants(scratch)
        rss = {}

        def measure(kw):
            runs, _ = lib.spawn(runs=RUNS, **kw)
            key = kw["steps"][0][0]
            rss[key] = max(rss.get(key, 0), lib.peak_rss_kib(runs))
            return lib.total_ms(runs)
        ms = lib.alternate(found, ROUNDS, measure)
    for n, values in ms.items():
        lib.progress(f"{n}: median {lib.median(values):.2f} ms, least {min(values):.2f} ms")
    if "strata" not in ms:
        raise lib.Unable("the strata program is not built; peers alone are above")
    ours, peer = lib.median(ms["strata"]), lib.median(ms[name])
    yield lib.Row("OCI create+start+delete", f"{ours:.2f} ms", f"{name} {peer:.2f} ms",
                  lib.paired(ms["strata"], ms[name]), 0.45, 0.45)
    floor = lib.median(ms["floor"])
    yield lib.Row("the same", f"{ours:.2f} ms", f"floor {floor:.2f} ms",
                  lib.paired(ms["strata"], ms["floor"]), float("inf"), 1.5)
    extra = lib.median([a - b for a, b in zip(ms["strata seccomp"], ms["strata"])])
    yield lib.Row("seccomp adds (ms)", f"{extra:.2f} ms",
                  f"{name} {lib.median(ms[name + ' seccomp']) - peer:.2f} ms", extra, 0.5, 0.5)
    kib = rss[os.fspath(lib.STRATA)]
    yield lib.Row("runtime peak RSS (MiB)", f"{kib} KiB", "limit 2 MiB", kib / 1024, 2, 1.5)
