#!/bin/sh
# Pools of thin pools of LVM, by a program that answers as lvm(8) does and whose volumes are loop
# devices: disks, snapshots, clones, moves under a writer, sizes, and an end that leaves nothing.
# timeout: 300
# long
# rows: STO-06
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-img qemu-io python3 losetup
LVM=$WORK/lvm
on_exit() {
    pool_on_exit
    losetup -a | sed -n "s|^\(/dev/loop[0-9]*\):.*($LVM/.*|\1|p" | while read -r dev; do losetup -d "$dev"; done
}
lvm() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$LVM/lvm" "$@"; }
volumes() { ls "$LVM" | sed -n 's/\.img$//p'; }

mkdir "$LVM"
cp "$TOP/tests/resource/storage/lvm/fake_lvm.py" "$LVM/lvm"
chmod +x "$LVM/lvm"
: >"$LVM/loops"
losetup -f >/dev/null 2>&1 || skip "no loop device"

# Words that name no thin pool never reach the program.
for word in lvm: lvm:vg lvm:/tp lvm:vg/ lvm:-y/tp 'lvm:vg/tp;x' lvm:vg/tp_tdata lvm:vg/a/b lvm:../tp \
    "lvm:vg/tp,program=relative" "lvm:vg/tp,rubbish" "lvm:$(printf 'a%.0s' $(seq 200))/tp"; do
    fails 1 strata pool create --member "$word" no
    has "$word" "$OUT" "cannot use"
done
fails 1 strata pool create --member "lvm:vg/other,program=$LVM/lvm" no
has "unknown" "$OUT" "there is no thin pool 'vg/other'"

# A pool that others use is shared only where one says so.
lvm lvcreate --yes --type thin -V 4194304b --thinpool tp -n theirs vg >/dev/null
fails 1 strata pool create --member "lvm:vg/tp,program=$LVM/lvm" p
has "shared" "$OUT" "it has volumes"
strata pool create --force --member "lvm:vg/tp,program=$LVM/lvm,class=fast" p >/dev/null
fails 1 strata pool create --force --member "lvm:vg/tp,program=$LVM/lvm" q
has "another's" "$OUT" "it is one of pool 'p'"
has "state" "$(strata pool list)" "p "
has "state" "$(strata pool inspect p)" "state: ok"
has "place" "$(strata pool inspect p)" "lvm:vg/tp"

strata volume create --pool p --size 16M v >/dev/null
strata volume create --pool p --size 5M odd >/dev/null
is "formats" "$(field v format) $(field odd format)" "raw qcow2"
io v -c 'write -P 1 0 2M' -c 'write -P 2 15M 1M'
io odd -c 'write -P 3 4M 1M'
is "used" "$([ "$(field v used_bytes)" -ge 3000000 ] && echo yes)" yes
strata volume snapshot v one >/dev/null
io v -c 'read -P 1 0 2M' -c 'write -P 4 0 1M' -c 'discard 15M 1M'
strata volume clone v@one c >/dev/null
io c -c 'read -P 1 0 2M' -c 'read -P 2 15M 1M'
strata volume delete c >/dev/null
strata volume snapshot --restore v one >/dev/null
io v -c 'read -P 1 0 2M' -c 'read -P 2 15M 1M'
strata volume snapshot --delete v one >/dev/null
strata volume check v >/dev/null
io v -c 'read -P 1 0 2M' -c 'read -P 2 15M 1M'

# To a directory and back while a client writes, and larger.
strata pool create --member "$WORK/dir" dir >/dev/null
serve v
for pool in dir p dir p; do
    strata volume move v $pool >/dev/null
    live -c 'read -P 1 0 2M' -c 'write -P 5 8M 64k' -c flush
done
strata volume resize v 32M >/dev/null
live -c 'write -P 6 31M 64k' -c 'read -P 5 8M 64k' -c flush
fails 1 strata volume resize v 33M
has "odd" "$OUT" "a multiple of 4 MiB"
fails 1 strata volume resize --shrink v 16M
has "shrink" "$OUT" "can only grow"
kill "$server"
wait "$server" || true
strata volume resize odd 300M >/dev/null
io odd -c 'read -P 3 4M 1M' -c 'write -P 7 100M 190M' -c 'read -P 7 280M 10M'
io v -c 'read -P 6 31M 64k' -c 'read -P 2 15M 1M'

# A command that was killed is cleaned up behind, and nothing else is.
if grep -qa STRATA_FAULT "$STRATA"; then
    for step in layer.made volume.create.recorded; do
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume create --pool p --size 4M killed >/dev/null 2>&1 || true
        strata volume delete killed >/dev/null 2>&1 || true
    done
    strata volume create --pool p --size 4M next >/dev/null
    strata volume delete next >/dev/null
fi
strata volume delete v >/dev/null
strata volume delete odd >/dev/null
is "what is left" "$(volumes)" "strata-label
theirs"
strata pool delete p >/dev/null
is "theirs stays" "$(volumes)" theirs
lvm lvremove --yes vg/theirs

# Care of one.
care_of "lvm:vg/tp,program=$LVM/lvm"
is "after care" "$(volumes)" ""
