"""virtio_seeds.py FOLDER - seeds of virtio_fuzz.c: rings with chains that make sense.

The numbers are of VIRTIO 1.2, 2.7, 2.8 and of virtio_fuzz.c."""
import struct
import sys

RING, DRIVER, DEVICE, DATA = 512, 256, 320, 16 * 512


def split(chains):
    """chains: lists of (address, bytes, device writes)."""
    desc, avail, n = b'', b'', 0
    for chain in chains:
        avail += struct.pack('<H', n)
        for i, (at, size, write) in enumerate(chain):
            last = i + 1 == len(chain)
            desc += struct.pack('<QIHH', at, size, (2 if write else 0) | (0 if last else 1), 0 if last else n + 1)
            n += 1
    return desc, struct.pack('<HH', 0, len(chains)) + avail


def packed(chains):
    desc = b''
    for k, chain in enumerate(chains):
        for i, (at, size, write) in enumerate(chain):
            last = i + 1 == len(chain)
            desc += struct.pack('<QIHH', at, size, k, (2 if write else 0) | (0 if last else 1) | 0x80)
    return desc, b''


def seed(device, is_packed, queues, script, data, features=0, flip=0):
    mem = bytearray(DATA + len(data))
    for i, chains in enumerate(queues):
        desc, avail = (packed if is_packed else split)(chains)
        mem[i * RING:i * RING + len(desc)] = desc
        mem[i * RING + DRIVER:i * RING + DRIVER + len(avail)] = avail
    mem[DATA:] = data
    script = bytes(b for pair in script for b in pair)
    return bytes((device, 4 if is_packed else 0, 4, flip)) + struct.pack('<IB', features, len(script)) + script + mem


KICK, TURN, POKE, CONFIG, RESTART = 0, 3, 4, 6, 7


def rng(p):
    return seed(0, p, [[[(DATA, 64, True)], [(DATA + 64, 9000, True)]]], [(KICK, 0), (TURN, 0), (RESTART, 1)], b'')


def net(p):
    frame = bytes(12) + b'\xff' * 6 + bytes(6) + b'\x88\xb5' + bytes(100)
    tso = struct.pack('<BBHHHHH', 1, 1, 54, 1400, 34, 16, 0) + frame[12:] + bytes(3000)
    command = b'\0\0\0' + b'\x55' + b'\1\0' + struct.pack('<I', 1) + bytes(6) + struct.pack('<I', 0) + b'\x55'
    data = frame.ljust(256, b'\0') + command.ljust(256, b'\0') + tso
    at = DATA + 4096
    rx = [[(at + 512 * i, 512, True)] for i in range(12)]
    tx = [[(DATA, 12, False), (DATA + 12, 114, False)], [(DATA + 512, len(tso), False)]]
    ctrl = [[(DATA + 256, 3, False), (DATA + 259, 1, True)], [(DATA + 260, 16, False), (DATA + 276, 1, True)]]
    return seed(1, p, [rx, tx, ctrl], [(KICK, 1), (KICK, 2), (POKE, 90), (POKE, 5), (TURN, 0), (KICK, 0), (TURN, 0),
                                       (POKE, 0), (POKE, 1), (RESTART, 1), (POKE, 200), (TURN, 0)], data.ljust(10000, b'\0'))


def vsock(p):
    def packet(op, data=b'', port=7, flags=0):
        return struct.pack('<QQIIIHHIII', 3, 2, 1000, port, len(data), 1, op, flags, 65536, 0) + data
    data, tx = b'', []
    for one in (packet(1), packet(5, b'hello'), packet(7), packet(4, flags=2), packet(1, port=8), packet(3, port=8), packet(4, flags=3)):
        tx.append([(DATA + len(data), len(one), False)])
        data += one
    rx = [[(DATA + 4096 + 256 * i, 256, True)] for i in range(12)]
    return seed(2, p, [rx, tx, [[(DATA, 8, True)]]], [(KICK, 1), (POKE, 7), (TURN, 0), (POKE, 23), (POKE, 5), (TURN, 0), (RESTART, 1),
                                                      (KICK, 0), (POKE, 55), (TURN, 0)], data.ljust(1000, b'\0'))


def balloon(p):
    pages = struct.pack('<6I', 3, 4, 5, 20, 19, 2)
    stats = struct.pack('<HQHQ', 4, 1000, 5, 2000)
    queues = [[[(DATA, 24, False)]], [[(DATA, 24, False)]], [[(DATA + 24, 20, False)]], [[(0x10000, 0x10000, True)]]]
    return seed(3, p, queues, [(KICK, 0), (KICK, 3), (POKE, 1), (KICK, 2), (CONFIG, 4), (POKE, 8), (RESTART, 1), (POKE, 1), (TURN, 0)],
                pages + stats)


def console(p):
    said = [struct.pack('<IHH', *m) for m in ((0, 0, 1), (0, 3, 1), (1, 3, 1), (1, 6, 1))]
    room = [[(DATA + 1024 + 64 * i, 64, True)] for i in range(8)]
    queues = [room[:1], [[(DATA, 30, False)]], room[1:6], [[(DATA + 8 * i, 8, False)] for i in range(4)], room[6:], [[(DATA, 32, False)]]]
    return seed(4, p, queues, [(KICK, 3), (KICK, 2), (KICK, 5), (POKE, 84), (POKE, 10), (POKE, 7), (CONFIG, 8), (POKE, 5), (TURN, 0),
                               (RESTART, 1), (KICK, 4)], b''.join(said))


for name, make in (('rng', rng), ('net', net), ('vsock', vsock), ('balloon', balloon), ('console', console)):
    for is_packed in (False, True):
        with open(f'{sys.argv[1]}/{name}_{"packed" if is_packed else "split"}', 'wb') as f:
            f.write(make(is_packed).rstrip(b'\0'))
