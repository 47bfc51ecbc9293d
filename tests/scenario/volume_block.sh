#!/bin/sh
# Disks with blocks of 4096 bytes: so made, or so served, in every way that a disk is served; by
# the word of other clients, and of a guest's kernel.
# rows: STO-11 STO-32
# timeout: 300
# long
. "$(dirname "$0")/lib.sh"
need_root
need_cmd nbdinfo qemu-img

# with VOLUME WAYS... -- COMMAND: the command, while the volume is exported that way.
with() {
    of=$1
    shift
    set -- "$@" --
    way=
    while [ "$1" != -- ]; do
        way="$way $1"
        shift
    done
    shift
    rm -f "$WORK/socket" "$WORK/address"
    # shellcheck disable=SC2086
    "$STRATA" --state "$STATE" volume export $way "$of" >"$WORK/address" 2>&1 &
    server=$!
    within 10 test -s "$WORK/address"
}
end() {
    kill -INT "$server"
    wait "$server" || true
}
nbd_block() { nbdinfo --json "nbd+unix:///?socket=$WORK/socket" | sed -n 's/.*"block_size_minimum": \([0-9]*\).*/\1/p'; }
iscsi_block() { iscsi-readcapacity16 "$(cat "$WORK/address")" | sed -n 's/^LOGICAL BLOCK LENGTH IN BYTES: *//p'; }

strata pool create --member "$WORK/a" --member "$WORK/b" --redundancy mirror twice >/dev/null
strata volume create --size 64M usual >/dev/null
strata volume create --size 64M --format qcow2 image >/dev/null
strata volume create --size 64M --block-size 4096 large >/dev/null
strata volume create --size 64M --block-size 4096 --format qcow2 --pool default limage >/dev/null
strata volume create --size 64M --block-size 4096 --pool twice both >/dev/null
has "inspect" "$(strata volume inspect --json large)" '"block_bytes": 4096'

# Over NBD and iSCSI; what was made so, and what is served so.
for volume in usual image; do
    with $volume --nbd "$WORK/socket"
    is "$volume over NBD" "$(nbd_block)" 512
    end
    with $volume --nbd "$WORK/socket" --block-size 4096
    is "$volume over NBD, by word" "$(nbd_block)" 4096
    qemu-img convert -n -O raw -f raw "nbd+unix:///?socket=$WORK/socket" "$WORK/copy" 2>/dev/null ||
        qemu-img convert -O raw -f raw "nbd+unix:///?socket=$WORK/socket" "$WORK/copy"
    strata volume snapshot $volume now >/dev/null
    is "$volume after a snapshot" "$(nbd_block)" 4096
    fails 1 strata volume export --nbd "$WORK/other" --block-size 512 $volume
    has "$volume with other blocks" "$OUT" "with blocks of 4096 bytes"
    end
done
for volume in large limage both; do
    with $volume --nbd "$WORK/socket"
    is "$volume over NBD" "$(nbd_block)" 4096
    if command -v qemu-io >/dev/null; then
        qemu-io -f raw -c "write -P 7 4096 8192" -c "read -P 7 4096 8192" "nbd+unix:///?socket=$WORK/socket" |
            grep -q 'wrote 8192/8192' || fail "$volume cannot be written"
    fi
    strata volume snapshot $volume now >/dev/null
    end
    strata volume clone $volume@now $volume-twin >/dev/null
    with $volume-twin --nbd "$WORK/socket"
    is "a clone of $volume" "$(nbd_block)" 4096
    end
    if command -v iscsi-readcapacity16 >/dev/null; then
        with $volume --iscsi 127.0.0.1:43260
        is "$volume over iSCSI" "$(iscsi_block)" 4096
        end
    fi
done
fails 1 strata volume export --nbd "$WORK/socket" --block-size 512 large
has "smaller blocks" "$OUT" "it was made with blocks of 4096 bytes"
strata volume create --size 64M --pool twice both512 >/dev/null
fails 1 strata volume export --nbd "$WORK/socket" --block-size 4096 both512
has "in a redundant pool" "$OUT" "it lies on devices or several members"
fails 1 strata volume resize large 65537K
has "resized" "$OUT" "no multiple of 4096"
strata volume resize large 128M >/dev/null
strata volume create --size 5000 odd >/dev/null
fails 1 strata volume export --nbd "$WORK/socket" --block-size 4096 odd
has "an odd size" "$OUT" "no multiple of 4096"

# Copies of all kinds have them, too.
strata volume clone --full limage whole >/dev/null
strata volume move whole twice >/dev/null
strata volume backup limage "$WORK/kept" >/dev/null
strata volume restore "$WORK/kept" back >/dev/null
strata volume export --file "$WORK/file.raw" large >/dev/null
strata volume import --block-size 4096 "$WORK/file.raw" in >/dev/null
for volume in whole back in; do
    has "$volume" "$(strata volume inspect --json $volume)" '"block_bytes": 4096'
done

# On this host, in a container: the kernel sees them.
if [ -c /dev/loop-control ] && [ -c /dev/fuse ] && command -v mkfs.ext4 >/dev/null; then
    need_busybox
    for kind in ext4 xfs btrfs; do
        command -v mkfs.$kind >/dev/null && grep -qw $kind /proc/filesystems || continue
        for format in raw qcow2; do
            strata volume create --size 320M --block-size 4096 --format $format --filesystem $kind fs >/dev/null
            strata run --rm -v fs:/data busybox sh -c 'echo kept >/data/file; sync'
            strata run -d --name sees -v fs:/data busybox sleep 1000 >/dev/null
            device=$(strata exec sees grep ' /data ' /proc/mounts | cut -d' ' -f1)
            is "$kind in $format" "$(cat "/sys/block/${device##*/}/queue/logical_block_size")" 4096
            is "its file" "$(strata exec sees cat /data/file)" kept
            strata delete --force sees >/dev/null
            strata volume snapshot fs now >/dev/null
            strata volume restore fs@now --file file --to "$WORK/of-fs" >/dev/null
            is "its file out of a snapshot" "$(cat "$WORK/of-fs")" kept
            strata volume delete --snapshots fs >/dev/null
        done
    done
fi
