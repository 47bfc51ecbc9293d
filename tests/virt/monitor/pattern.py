"""pattern.py IMAGE [SHARES] - whether an image holds what disk.c writes with so many processes; without
SHARES, the blocks that it says are kept, on standard input."""
import struct
import sys

BLOCK, SPARSE, MASK = 4096, 37, (1 << 64) - 1


def want(number, salt):
    first = (number + salt) * 0x9E3779B97F4A7C15 & MASK
    return b''.join(struct.pack('<Q', (first + i) & MASK) for i in range(BLOCK // 8))


with open(sys.argv[1], 'rb') as image:
    data = image.read()
blocks, shares = len(data) // BLOCK, int(sys.argv[2]) if len(sys.argv) > 2 else 0
for share in range(shares):
    first = blocks * share // shares
    for b in range(first, blocks * (share + 1) // shares):
        if data[b * BLOCK:(b + 1) * BLOCK] != want(b, (b - first) % SPARSE == 0):
            sys.exit('block %d is not what was written' % b)
kept = [int(line.split()[1]) for line in sys.stdin if line.startswith('kept ') and line.endswith('\n')] if shares == 0 else []
if shares == 0 and not kept:
    sys.exit('nothing was kept')
for b in kept:
    if data[b * BLOCK:(b + 1) * BLOCK] != want(b, False):
        sys.exit('block %d was kept, and is not there' % b)
