"""cpio.py INIT OUTPUT [FILE...] - an initramfs of one program, a console, and files beside them.

The format is cpio "newc" (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""
import os
import sys


def entry(number, name, mode, data=b'', device=(0, 0)):
    name = name.encode() + b'\0'
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
    head = b'070701' + b''.join(b'%08X' % f for f in fields) + name
    head += b'\0' * (-len(head) % 4)
    return head + data + b'\0' * (-len(data) % 4)


with open(sys.argv[1], 'rb') as f:
    init = f.read()
with open(sys.argv[2], 'wb') as f:
    f.write(entry(1, 'dev', 0o40755))
    f.write(entry(2, 'dev/console', 0o20600, b'', (5, 1)))
    f.write(entry(3, 'init', 0o100755, init))
    for number, path in enumerate(sys.argv[3:], 4):
        with open(path, 'rb') as more:
            f.write(entry(number, os.path.basename(path), 0o100000 | os.stat(path).st_mode & 0o777, more.read()))
    f.write(entry(0, 'TRAILER!!!', 0))
