"""segments.py BZIMAGE ELF - the ELF file holds the segments of the kernel inside the bzImage.

The payload is unpacked by the system's programs (lz4, xz, gzip, zstd)."""
import struct
import subprocess
import sys

TOOLS = {b"\x02\x21\x4c\x18": ["lz4", "-dc"], b"\x1f\x8b": ["gzip", "-dc"],
         b"\xfd7zXZ\0": ["xz", "-dc"], b"\x28\xb5\x2f\xfd": ["zstd", "-dc"]}


def loads(elf):
    phoff, phentsize, phnum = struct.unpack_from("<Q", elf, 32)[0], *struct.unpack_from("<HH", elf, 54)
    for i in range(phnum):
        kind, _, offset, _, paddr, filesz, memsz, _ = struct.unpack_from("<IIQQQQQQ", elf, phoff + i * phentsize)
        if kind == 1 and memsz:
            yield paddr, filesz, memsz, offset, elf[offset:offset + filesz]


with open(sys.argv[1], "rb") as f:
    image = f.read()
with open(sys.argv[2], "rb") as f:
    made = f.read()
setup = ((image[0x1f1] or 4) + 1) * 512
at, length = struct.unpack_from("<II", image, 0x248)
payload = image[setup + at:setup + at + length]
tool = next(t for magic, t in TOOLS.items() if payload.startswith(magic))
# The plain size, which the kernel's build puts behind the stream, is no part of it.
plain = subprocess.run(tool, input=payload if tool[0] == "gzip" else payload[:-4], capture_output=True).stdout
assert len(plain) == struct.unpack("<I", payload[-4:])[0]
want, have = list(loads(plain)), list(loads(made))
assert [x[:3] + x[4:] for x in want] == [x[:3] + x[4:] for x in have]
assert all(x[3] % 4096 == x[0] % 4096 for x in have)
assert plain[24:32] == made[24:32]
