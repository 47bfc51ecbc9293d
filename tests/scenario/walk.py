"""walk.py CORE REGS STRATA STATE GUEST - walks page tables of 64-bit mode in a machine's core file, beside the program.

CORE is what `debug dump` wrote of a machine that stands, REGS what `debug regs` says.  Some of all pages that the
tables map, and addresses that they do not, are looked up by `debug translate`; bytes of some by `debug memory`, too.
Prints how many.  Source: Intel SDM volume 3, 4.5 (4-level paging)."""
import json
import random
import struct
import subprocess
import sys

core_path, regs_path, strata, state, guest = sys.argv[1:]
PRESENT, WRITE, USER, LARGE = 1, 2, 4, 1 << 7
NO_EXECUTE = 1 << 63
FRAME = 0x000f_ffff_ffff_f000

core = open(core_path, "rb").read()
regs = json.load(open(regs_path))
loads = []
phoff, = struct.unpack_from("<Q", core, 32)
for i in range(struct.unpack_from("<H", core, 56)[0]):
    kind, _, off, _, physical, size = struct.unpack_from("<IIQQQQ", core, phoff + 56 * i)
    if kind == 1:
        loads.append((physical, size, off))


def bytes_at(physical, n):
    for first, size, off in loads:
        if first <= physical and physical + n <= first + size:
            return core[off + physical - first:off + physical - first + n]
    return None


def leaves(table, level, base, may):
    """(linear, physical, bytes, may) of all that a table maps."""
    entries = bytes_at(table, 4096)
    for i, e in enumerate(struct.unpack("<512Q", entries) if entries else ()):
        if not e & PRESENT:
            continue
        linear = base | i << (12 + 9 * level)
        if level == 3 and i >= 256:
            linear |= 0xffff << 48
        now = (may[0] and bool(e & WRITE), may[1] and bool(e & USER), may[2] and not e & NO_EXECUTE)
        if level == 0 or (e & LARGE and level < 3):
            bytes_ = 1 << (12 + 9 * level)
            yield linear, e & FRAME & ~(bytes_ - 1), bytes_, now
        else:
            yield from leaves(e & FRAME, level - 1, linear, now)


def ask(*words):
    r = subprocess.run([strata, "--state", state, "--json", "debug", *words], capture_output=True, text=True, timeout=60)
    return json.loads(r.stdout) if r.returncode == 0 else None


assert int(regs["cr0"], 16) >> 31 and int(regs["efer"], 16) >> 8 & 1, "no paging of 64-bit mode"
pages = list(leaves(int(regs["cr3"], 16) & FRAME, 3, 0, (True, True, True)))
assert len(pages) > 100, len(pages)
draw = random.Random(7)
mapped = [(p[0] // p[2], p[2]) for p in pages]
checked = 0
for size in sorted({p[2] for p in pages}):
    of_size = [p for p in pages if p[2] == size]
    for linear, physical, bytes_, (writable, user, executable) in draw.sample(of_size, min(60, len(of_size))):
        offset = draw.randrange(bytes_ - 16)
        found = ask("translate", guest, hex(linear + offset))
        want = {"page": bytes_, "writable": writable, "executable": executable, "user": user,
                "physical": hex(physical + offset)}
        assert found and {k: found[k] for k in want} == want, (hex(linear + offset), want, found)
        checked += 1
        there = bytes_at(physical + offset, 16)
        if there and checked % 4 == 0:
            rows = ask("memory", guest, hex(linear + offset), "16")
            assert bytes.fromhex(rows[0]["bytes"].replace(" ", "")) == there, (hex(linear + offset), rows, there.hex())
for _ in range(60):
    linear = draw.randrange(1 << 47) if draw.randrange(2) else draw.randrange(1 << 47) + (0xffff8 << 44)
    if any(linear // size == page for page, size in mapped):
        continue
    assert ask("translate", guest, hex(linear)) is None, hex(linear)
    checked += 1
print(checked)
