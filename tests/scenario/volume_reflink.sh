#!/bin/sh
# Whole clones on a file system that shares blocks (XFS) take no room and no time for
# copying; each goes its own way afterwards.
# rows: STO-03
. "$(dirname "$0")/lib.sh"
need_root
need_cmd mkfs.xfs qemu-io mount
on_exit() { umount -l "$WORK/xfs" 2>/dev/null || true; }
truncate -s 512M "$WORK/disk"
mkfs.xfs -q -m reflink=1 "$WORK/disk" || skip "no XFS with shared blocks"
mkdir "$WORK/xfs"
mount -o loop "$WORK/disk" "$WORK/xfs" 2>/dev/null || skip "cannot mount a file"
used() { df --output=used -k "$WORK/xfs" | tail -1; }
path() { strata volume inspect --json "$1" | sed -n 's/^ *"path": "\(.*\)",$/\1/p'; }
# io NAME COMMAND... - on its file
io() {
    file=$(path "$1")
    shift
    said=$(qemu-io -f raw "$@" "$file") || fail "$file: $said"
    case $said in *"verification failed"*) fail "$file $*: $said" ;; esac
}
strata pool create x --member "$WORK/xfs/member" >/dev/null
strata volume create --pool x --size 300M d >/dev/null
io d -c 'write -P 1 0 100M' -c flush
sync -f "$WORK/xfs"
before=$(used)
strata volume clone --full d c >/dev/null
sync -f "$WORK/xfs"
more=$(($(used) - before))
[ "$more" -lt 4096 ] || fail "a clone took $more KiB"
has "its own" "$(strata volume inspect --json c)" '"format": "raw"'
io c -c 'read -P 1 0 100M' -c 'write -P 2 10M 1M'
io d -c 'read -P 1 0 100M' -c 'write -P 3 20M 1M'
io c -c 'read -P 2 10M 1M' -c 'read -P 1 20M 80M'
strata volume delete d >/dev/null
io c -c 'read -P 1 0 10M' -c 'read -P 2 10M 1M' -c 'read -P 1 11M 89M'
# A linked one takes as little, whatever its source, and stands on it.
strata volume clone c l >/dev/null
has "linked" "$(strata volume inspect --json l)" '"format": "qcow2"'
strata volume delete l >/dev/null
strata volume delete c >/dev/null
