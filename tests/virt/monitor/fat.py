"""fat.py DISK MEGABYTES NAME=FILE... - a disk without partitions: FAT16 with these files in its root."""

import struct
import sys

SECTOR = 512
CLUSTER = 4 * SECTOR
ENTRIES = 512

disk, megabytes = sys.argv[1], int(sys.argv[2])
sectors = megabytes * 2048
clusters = sectors // 4
fat_sectors = (clusters * 2 + 2 * 2 + SECTOR - 1) // SECTOR
first = 1 + 2 * fat_sectors + ENTRIES * 32 // SECTOR
table = [0xFFF8, 0xFFFF]
root = b""
data = b""
for word in sys.argv[3:]:
    name, path = word.split("=", 1)
    base, _, end = name.partition(".")
    with open(path, "rb") as f:
        content = f.read()
    count = (len(content) + CLUSTER - 1) // CLUSTER
    at = len(table)
    root += (base.ljust(8) + end.ljust(3)).encode() + struct.pack("<B14xHI", 0x20, at, len(content))
    table += [at + i + 1 for i in range(count - 1)] + [0xFFFF]
    data += content.ljust(count * CLUSTER, b"\0")
boot = b"\xeb\x3c\x90STRATA  " + struct.pack("<HBHBHHBHHHII", SECTOR, 4, 1, 2, ENTRIES, 0, 0xF8, fat_sectors, 32, 8, 0, sectors)
boot += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 1, b"NO NAME    ", b"FAT16   ")
fat = b"".join(struct.pack("<H", n) for n in table).ljust(fat_sectors * SECTOR, b"\0")
with open(disk, "wb") as f:
    f.write(boot.ljust(510, b"\0") + b"\x55\xaa" + fat + fat + root.ljust(ENTRIES * 32, b"\0") + data)
    assert f.tell() <= sectors * SECTOR and first * SECTOR + len(data) == f.tell()
    f.truncate(sectors * SECTOR)
