#!/bin/sh
# Where addresses of a machine lead: what 'debug translate' says of a kernel's mappings is what a walk of the tables in
# the machine's own memory gives, and the bytes there are the same by either address; also behind a save and by another
# engine.
# rows: MIO-02
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 200
. "$(dirname "$0")/lib.sh"
need_root
. "$TOP/tests/scenario/lib_linux.sh"
need_linux virtio_pci
cd "$WORK"

linux_initrd initrd <<'INIT'
echo ready
while :; do sleep 1000; done
INIT
is_ready() { strata logs box | grep -q ready; }
compare() { # WHAT - while it stands
    rm -f core
    strata debug dump box --file core >/dev/null
    strata --json debug regs box >regs
    python3 "$TOP/tests/scenario/walk.py" core regs "$STRATA" "$STATE" box >said || fail "$1: $(tail -n 3 said)"
    [ "$(cat said)" -ge 150 ] || fail "$1: no more than $(cat said) addresses"
}

strata run -d --name box --as machine --network none --memory 256M --kernel "$LINUX" --initrd initrd \
    --append 'console=ttyS0 quiet panic=-1' >/dev/null
within 60 is_ready
strata pause box >/dev/null
compare "at first"
strata resume box >/dev/null
strata save box >/dev/null
strata start box --engine interpret >/dev/null
strata pause box >/dev/null
compare "by the interpreter"
strata kill box >/dev/null
