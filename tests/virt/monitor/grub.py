"""grub.py BOOT CORE PARTITION DISK - a disk as grub-bios-setup makes it: the boot sector with a table of one
partition, the core image behind it, and the partition at 1 MiB."""

import struct
import sys

SECTOR = 512
FIRST = 2048  # the partition's
TABLE = 446

boot, core, partition = (open(path, "rb").read() for path in sys.argv[1:4])
assert len(core) <= (FIRST - 1) * SECTOR and len(partition) % SECTOR == 0
entry = struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\xff\xff\xff", FIRST, len(partition) // SECTOR)
head = boot[:TABLE] + entry + bytes(48) + b"\x55\xaa"
with open(sys.argv[4], "wb") as disk:
    disk.write(head + core)
    disk.seek(FIRST * SECTOR)
    disk.write(partition)
