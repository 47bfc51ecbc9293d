"""The processor in software: the kernels of bench/cpu against native and against QEMU's TCG, by
`strata isa bench --json`.  QEMU is a peer that is only started; where it is not installed, the
one of the host's own Debian is unpacked privately, without a trace in the package database.
rows: ISA-07 ISA-08 MIO-03"""
import json
import math
import os
import shutil

import lib

SECONDS = 120  # more rounds than `strata isa bench` makes by itself
PEERS = ["qemu-system-x86_64", "qemu-x86_64"]
PACKAGES = ["qemu-system-x86", "qemu-user"]
NONE = float("inf")
HOT_LOOPS = ["sieve", "mix", "branchy"]
HOT_SECONDS = 10


def private_qemu():
    """A directory with scripts that start QEMU out of build/bench/qemu."""
    top = lib.CACHE / "qemu"
    if not (top / "done").exists():
        shutil.rmtree(top, ignore_errors=True)
        (top / "archives/partial").mkdir(parents=True)
        (top / "bin").mkdir()
        lib.check(["apt-get", "install", "--download-only", "--no-install-recommends", "-y", "-q",
                   f"-oDir::Cache::archives={top}/archives", "-oDebug::NoLocking=1",
                   "-oAPT::Sandbox::User=root", *PACKAGES], timeout=600)
        for deb in (top / "archives").glob("*.deb"):
            lib.check(["dpkg-deb", "-x", deb, top / "root"])
        shutil.rmtree(top / "archives")
        for name in PEERS:
            libraries = ":".join(f"{top}/root/{d}/x86_64-linux-gnu" for d in ("usr/lib", "lib"))
            script = top / "bin" / name
            script.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} '
                              f'exec {top}/root/usr/bin/{name} "$@"\n')
            script.chmod(0o755)
        lib.check([top / "bin" / PEERS[0], "--version"])
        (top / "done").touch()
    return str(top / "bin")


def path_with_qemu():
    if all(shutil.which(p) for p in PEERS):
        return os.environ["PATH"]
    try:
        return private_qemu() + ":" + os.environ["PATH"]
    except (RuntimeError, OSError) as e:
        shutil.rmtree(lib.CACHE / "qemu", ignore_errors=True)
        raise lib.Unable(f"no QEMU is installed or can be fetched ({str(e)[-90:]})") from e


def measure():
    env = {**os.environ, "PATH": path_with_qemu()}
    version = lib.check([PEERS[0], "--version"], env=env).split("\n")[0]
    said = json.loads(lib.check([lib.need_strata(), "isa", "bench", "--seconds", SECONDS, "--json"],
                                env=env))
    lib.progress(version)
    for k in said["kernels"]:
        lib.progress("  ".join([k["name"].ljust(13)] + [
            f"{name} {k[name]:.4g}" if k[name] else f"{name} -"
            for name in ("native_s", "strata_s", "qemu_s", "qemu_user_s", "vs_native", "vs_qemu")]
            + [k["peer"], k["runs"], k["problem"]]))
    return said


def times(figure, seconds, ours, peer, reach, stretch):
    """`ratio` is 1 / "times as fast": lower is better, as everywhere in the table."""
    return lib.Row(figure, f"{ours * 1e3:.1f} ms", f"{peer} {seconds * 1e3:.1f} ms",
                   ours / seconds, 1 / reach, 1 / stretch)


def against_qemu(by_name):
    slower = {n: k["qemu_s"] / k["native_s"] for n, k in by_name.items()
              if k["qemu_s"] and k["native_s"]}
    for n, k in by_name.items():
        if not k["qemu_s"] or not k["strata_s"]:
            continue
        if n.startswith("jit_"):
            yield times(f"{n}: 1 / times as fast as QEMU", k["qemu_s"], k["strata_s"], k["peer"],
                        5, 20)
        elif n == "spaces":
            yield times("switch of four address spaces: 1 / rate", k["qemu_s"], k["strata_s"],
                        k["peer"], 10, 10)
        elif n == "paging":
            yield times("page faults with swap: 1 / rate", k["qemu_s"], k["strata_s"], k["peer"],
                        1, 3)
        else:
            reach = 1.5 if slower.get(n, 0) > 2 else 1
            yield times(f"{n}: 1 / times as fast as QEMU", k["qemu_s"], k["strata_s"], k["peer"],
                        reach, max(reach, 3))


def against_native(by_name):
    limits = {"scalar_double": (2.5, 1.5), "vector_float": (2.5, 1.5), "copy_rep": (1.5, 1.1),
              "copy_sse": (1.5, 1.1)}
    for n, (reach, stretch) in limits.items():
        k = by_name[n]
        if k["vs_native"]:
            yield lib.Row(f"{n}: native time", f"{k['strata_s'] * 1e3:.1f} ms",
                          f"native {k['native_s'] * 1e3:.1f} ms", k["vs_native"], reach, stretch)


def rate(figure, mips, reach, stretch):
    return lib.Row(figure, f"{mips:.1f} M/s", f"wanted {reach} M/s", reach / mips, 1,
                   reach / stretch)


def engines(costs):
    """Interpretation against translation: start, steady speed, crossing, a page fault."""
    for n in costs["lengths"]:
        lib.progress(f"{n['instructions']:>9} instructions: interpreted "
                     f"{n['interpret_s'] * 1e3:.3f} ms, translated {n['translate_s'] * 1e3:.3f} ms")
    for name in ("interpret", "translate"):
        e = costs[name]
        lib.progress(f"{name}: start {e['start_s'] * 1e6:.0f} us, steady {e['steady_mips']:.0f} M/s, "
                     f"page fault {e['page_fault_s'] * 1e6:.2f} us")
    lib.progress(f"translation is quicker from {costs['crossing_instructions']:.0f} instructions on")
    short, long = costs["lengths"][0], costs["lengths"][-1]
    yield lib.Row(f"interpreter / translator at {short['instructions']} instructions",
                  f"{short['interpret_s'] * 1e6:.0f} us", f"translator {short['translate_s'] * 1e6:.0f} us",
                  short["interpret_s"] / short["translate_s"], 1, 1)
    yield lib.Row(f"translator / interpreter at {long['instructions']} instructions",
                  f"{long['translate_s'] * 1e3:.0f} ms", f"interpreter {long['interpret_s'] * 1e3:.0f} ms",
                  long["translate_s"] / long["interpret_s"], 1 / 5, 1 / 5)


def adaptation():
    """Hot loops where hot code is made better, against the first tier alone, by turns."""
    seconds = {}
    for _ in range(3):
        for engine in ("translate", "quick"):
            said = json.loads(lib.check([lib.need_strata(), "isa", "bench", "--alone", "--engine", engine,
                                         "--seconds", HOT_SECONDS, "--json", *HOT_LOOPS]))
            for k in said["kernels"]:
                if k["problem"]:
                    raise RuntimeError(f"{k['name']} with {engine}: {k['problem']}")
                seconds.setdefault((k["name"], engine), []).append(k["strata_s"])
    ratios = []
    for name in HOT_LOOPS:
        well, quick = min(seconds[name, "translate"]), min(seconds[name, "quick"])
        ratios.append(well / quick)
        lib.progress(f"{name}: adaptive {well * 1e3:.1f} ms, first tier alone {quick * 1e3:.1f} ms")
    mean = math.prod(ratios) ** (1 / len(ratios))
    yield lib.Row("hot loops: adaptive / first tier alone", f"{mean:.2f}", "first tier 1", mean, 1 / 1.3,
                  1 / 1.3)


def rows():
    said = measure()
    by_name = {k["name"]: k for k in said["kernels"]}
    for name, k in by_name.items():
        if k["problem"]:
            raise RuntimeError(f"{name}: {k['problem']}")
    for peer, key, reach, stretch in (("QEMU system", "mean_vs_qemu", 3, 5),
                                      ("QEMU user mode", "mean_vs_qemu_user", NONE, NONE)):
        if said[key]:
            yield lib.Row(f"geometric mean: 1 / times as fast as {peer}",
                          f"{said[key]:.2f} times", "1", 1 / said[key],
                          1 / reach if reach != NONE else NONE,
                          1 / stretch if stretch != NONE else NONE)
    yield from against_qemu(by_name)
    yield from against_native(by_name)
    if said.get("costs"):
        yield from engines(said["costs"])
    yield rate("interpreter: 60 M/s / its rate", said["interpreter_mips"], 60, 120)
    yield rate("translation: 3 M/s / its rate", said["translation_mips"], 3, 8)
    yield rate("translation of much code: 3 M/s / its rate", said["translation_wide_mips"], 3, 8)
    yield from adaptation()
