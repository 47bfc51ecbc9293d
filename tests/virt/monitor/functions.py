"""functions.py OURS PEER - the functions of two machines' PCI buses, as disk.c shows them: where both
machines are to be alike, they are."""
import sys

HOST, LPC, DISK = '808629c0', '80862918', '1af41042'


def functions(path):
    found = {}
    with open(path, encoding='utf-8', errors='replace') as f:
        for words in (line.split() for line in f):
            if len(words) == 3 and words[0] == 'pci' and len(words[2]) == 512:
                config = bytes.fromhex(words[2])
                found[config[1::-1].hex() + config[3:1:-1].hex()] = config
    return found


def capabilities(config):
    """Kinds of capabilities; of virtio's the type, too."""
    kinds, at = set(), config[0x34]
    while at and config[6] & 0x10:
        kinds.add((config[at], config[at + 3] if config[at] == 9 else 0))
        at = config[at + 1]
    return kinds


def looks(config, which):
    look = {'header': config[14] & 0x7f}
    if which != DISK:  # whose class VIRTIO leaves open
        look.update(kind=config[9:12].hex())
    if which == LPC:
        look.update(power_base=config[0x40:0x44].hex(), power_on=config[0x44] & 0x80, more=config[14] & 0x80)
    if which == HOST:
        look.update(smram=config[0x9d] & 7, esmramc=config[0x9e])
    if which == DISK:
        caps = capabilities(config)
        look.update(subsystem_vendor=config[0x2c:0x2e].hex(), revision=config[8], pin=config[0x3d],
                    structures=sorted(t for k, t in caps if k == 9), vectors=(0x11, 0) in caps,
                    registers=config[0x20] & 7, table=config[0x14] & 7)
    return look


ours, peer = functions(sys.argv[1]), functions(sys.argv[2])
for which in (HOST, LPC, DISK):
    if which not in ours or which not in peer:
        sys.exit('%s is missing' % which)
    mine, other = looks(ours[which], which), looks(peer[which], which)
    if mine != other:
        sys.exit('%s: %s here, %s there' % (which, mine, other))
