"""other_kernel.py BZIMAGE ELF MODULES VERSION OUT ROWS - another kernel as a package would bring it.

The kernel of BZIMAGE, which ELF is without its packing, and what it needs of MODULES (its
lib/modules/RELEASE) for the modules that ROWS names, below OUT: the same but for its version, a text of
the same length.  The payload is packed by gzip; what unpacks it in a real machine is that of the first."""
import gzip
import os
import re
import struct
import sys

bzimage, elf, modules, version, out, rows = sys.argv[1:]
old = os.path.basename(os.path.realpath(modules)).encode()
new = version.encode()
assert len(old) == len(new)


def read(path):
    with open(path, 'rb') as f:
        return f.read()


def write(path, data):
    path = os.path.join(out, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as f:
        f.write(data)


# Behind a module, Linux, include/linux/module_signature.h: 12 bytes, the length of the signature last, and a text.
MAGIC = b'~Module signature appended~\n'


def unsigned(data):
    if data.endswith(MAGIC):
        data = data[:-len(MAGIC)]
        data = data[:-12 - struct.unpack('>I', data[-4:])[0]]
    return data


# Linux, Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length.
image = read(bzimage)
start = (image[0x1f1] + 1) * 512 + struct.unpack_from('<I', image, 0x248)[0]
payload = gzip.compress(read(elf).replace(old, new), 5)
head = bytearray(image[:start].replace(old, new))
struct.pack_into('<I', head, 0x24c, len(payload))
write(f'boot/vmlinuz-{version}', bytes(head) + payload)

# A module says in itself, behind "depends=", what it needs.
files = {}
for folder, _, names in os.walk(modules):
    for name in names:
        if name.endswith('.ko'):
            files[name[:-3].replace('-', '_')] = os.path.relpath(os.path.join(folder, name), modules)
wanted = re.findall(r'^MODULE\("(\w+)"', read(rows).decode(), re.M)
seen = set()
while wanted:
    name = wanted.pop().replace('-', '_')
    if name in files and name not in seen:
        seen.add(name)
        data = unsigned(read(os.path.join(modules, files[name])))
        write(f'lib/modules/{version}/{files[name]}', data.replace(old, new))
        wanted += [one.decode() for one in re.search(rb'\0depends=([^\0]*)\0', data)[1].split(b',') if one]
for name in os.listdir(modules):
    if name.startswith('modules.'):
        write(f'lib/modules/{version}/{name}', read(os.path.join(modules, name)))
