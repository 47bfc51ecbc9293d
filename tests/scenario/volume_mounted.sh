#!/bin/sh
# Disks that guests have mounted: kept while they are written to, so that what is kept is whole,
# resized with their file systems, in redundant pools, encrypted, by partitions; killed commands.
# rows: STO-11 STO-13 STO-32
# timeout: 900
# long
. "$(dirname "$0")/lib.sh"
need_root
need_cmd mkfs.ext4 e2fsck debugfs qemu-img
[ -c /dev/loop-control ] && [ -c /dev/fuse ] || skip "needs loop devices and FUSE"
need_busybox

on_exit() { umount -l "$WORK/xfs" 2>/dev/null; }
may_resize() { [ $((0x$(awk '/CapEff/ { print $2 }' /proc/self/status) >> 24 & 1)) = 1 ]; } # CAP_SYS_RESOURCE
megabytes() { strata exec "$1" df -m /data | awk 'END { print $2 }'; }
# The snapshot is a file system that was unmounted in order, with all that was synced before.
whole() { # VOLUME@SNAPSHOT
    strata volume clone --full "$1" checked >/dev/null
    strata volume export checked --file "$WORK/checked.raw" >/dev/null
    e2fsck -fn "$WORK/checked.raw" >"$WORK/e2fsck" 2>&1 || fail "$1 is not whole: $(cat "$WORK/e2fsck")"
    if dumpe2fs -h "$WORK/checked.raw" 2>/dev/null | grep -q needs_recovery; then fail "$1 has a journal to play"; fi
    strata volume delete checked >/dev/null
    rm "$WORK/checked.raw"
}
goes_on() { # GUEST: its file system takes writes
    timeout 10 "$STRATA" --state "$STATE" exec "$1" sh -c 'echo on >/data/on && sync' || fail "$1 stands still"
}
nothing_frozen() { [ -z "$(find "$STATE" -name '*.frozen' 2>/dev/null)" ]; }

# Kept while it is written to.
strata volume create --size 256M --format qcow2 --filesystem ext4 data >/dev/null
strata run -d --name writer -v data:/data busybox sh -c \
    'i=0; while :; do i=$((i + 1)); echo $i >/data/n; cp /bin/busybox /data/f$((i % 8)); mv /data/n /data/m; done' >/dev/null
for snapshot in one two three; do
    strata volume snapshot data $snapshot >/dev/null
    goes_on writer
done
for snapshot in one two three; do whole data@$snapshot; done
strata volume restore data@two --file m --to "$WORK/m"
[ -s "$WORK/m" ] || fail "nothing was kept"

# Cloned and backed up the same way; both are whole without a journal.
strata volume clone data twin >/dev/null
goes_on writer
strata volume snapshot twin now >/dev/null
whole twin@now
strata volume backup data "$WORK/kept" >/dev/null
strata volume backup data "$WORK/kept" >/dev/null
strata volume restore "$WORK/kept" back >/dev/null
strata volume snapshot back now >/dev/null
whole back@now

# Larger while it is mounted; the file system, too, when that is asked for.
small=$(megabytes writer)
strata volume resize data 512M >/dev/null
is "the same file system" "$(megabytes writer)" "$small"
if may_resize; then
    strata volume resize data 768M --filesystem >/dev/null
    [ "$(megabytes writer)" -gt $((small * 2)) ] || fail "it did not grow: $(megabytes writer)"
fi
fails 1 strata volume resize data 128M --shrink
has "smaller" "$OUT" "it can only grow"
goes_on writer
for kind in btrfs xfs; do
    command -v mkfs.$kind >/dev/null && grep -qw $kind /proc/filesystems || continue
    for format in raw qcow2; do
        strata volume create --size 320M --format $format --filesystem $kind $kind-$format >/dev/null
        strata run -d --name $kind-$format -v $kind-$format:/data busybox sleep 1000 >/dev/null
        small=$(megabytes $kind-$format)
        strata volume resize $kind-$format 640M --filesystem >/dev/null
        [ "$(megabytes $kind-$format)" -gt $((small + 200)) ] || fail "$kind in $format did not grow"
        goes_on $kind-$format
        strata delete --force $kind-$format >/dev/null
    done
    # and while nobody has it mounted
    strata volume resize $kind-qcow2 960M --filesystem >/dev/null
    strata run -d --name large -v $kind-qcow2:/data:ro busybox sleep 1000 >/dev/null
    [ "$(megabytes large)" -gt $((small + 500)) ] || fail "$kind did not grow alone"
    strata delete --force large >/dev/null
done

# Commands that are killed on the way: the file system goes on, and the next command works.
if grep -qa 'STRATA_FAULT' "$STRATA"; then
    for step in live.ready live.frozen live.recorded live.forked live.thawed live.settled freeze.frozen; do
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume snapshot data killed >/dev/null 2>&1 &&
            fail "$step is no step"
        goes_on writer
        within 7 nothing_frozen
        strata volume snapshot data after >/dev/null
        whole data@after
        strata volume snapshot --delete data after >/dev/null
        strata volume snapshot --delete data killed >/dev/null 2>&1 || true
    done
    for step in volume.resized volume.resize.grown; do
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume resize data 900M >/dev/null 2>&1 &&
            fail "$step is no step"
        strata volume resize data 900M >/dev/null
        strata volume resize data 768M --shrink >/dev/null 2>&1 && fail "a mounted disk became smaller"
        goes_on writer
    done
fi
# One that stands still because all who would let it go on were killed.
if command -v fsfreeze >/dev/null && command -v nsenter >/dev/null; then
    keeper=$(pgrep -f "keeper id=.*run-dir=$STATE/" | head -n 1)
    at=$(awk '$5 ~ /\/disks\// { print $5 }' "/proc/$keeper/mountinfo" | head -n 1)
    for way in 'system reconcile' 'volume snapshot data last'; do
        : >"${at%/disks/*}/volumes/data.frozen"
        nsenter -t "$keeper" -m fsfreeze -f "$at"
        # shellcheck disable=SC2086
        strata $way >/dev/null
        goes_on writer
        nothing_frozen || fail "the mark is left by $way"
    done
fi
strata delete --force writer >/dev/null
path=$(strata volume inspect --json data | sed -n 's/.*"path": "\(.*\)".*/\1/p' | head -n 1)
within 5 qemu-img check -q "$path"

# In a pool that keeps everything twice; a member goes and comes back.
strata pool create --member "$WORK/a" --member "$WORK/b" --redundancy mirror twice >/dev/null
strata volume create --size 64M --pool twice --filesystem ext4 both >/dev/null
strata run -d --name both -v both:/data busybox sleep 1000 >/dev/null
strata exec both sh -c 'echo kept >/data/file; sync'
strata volume snapshot both one >/dev/null
strata exec both sh -c 'echo later >/data/file; sync'
whole both@one
strata delete --force both >/dev/null
is "of both" "$(strata run --rm -v both:/data:ro busybox cat /data/file)" later
mv "$WORK/b" "$WORK/away"
is "of one" "$(strata run --rm -v both:/data busybox cat /data/file)" later
mv "$WORK/away" "$WORK/b"
strata volume restore both@one --file file --to "$WORK/of-both" >/dev/null
is "what was kept" "$(cat "$WORK/of-both")" kept

# Encrypted: the guest names the file that has the passphrase.
printf 'a long passphrase' >"$WORK/key"
strata volume create --size 64M --encrypt --key-file "$WORK/key" --filesystem ext4 secret >/dev/null
strata run --rm -v "secret:/data:key-file=$WORK/key" busybox sh -c 'echo h1dd3n >/data/file'
is "encrypted" "$(strata run --rm -v "secret:/data:ro,key-file=$WORK/key" busybox cat /data/file)" h1dd3n
fails 125 strata run --rm -v secret:/data busybox true
has "no passphrase" "$OUT" "it is encrypted"
printf 'another' >"$WORK/wrong"
fails 125 strata run --rm -v "secret:/data:key-file=$WORK/wrong" busybox true
has "another passphrase" "$OUT" "does not open it"
grep -rqa h1dd3n "$STATE/pool" && fail "it can be read in the pool"
strata run -d --name secret -v "secret:/data:key-file=$WORK/key" busybox sleep 1000 >/dev/null
strata volume snapshot secret --key-file "$WORK/key" one >/dev/null
strata exec secret sh -c 'echo more >>/data/file'
strata restart -t 0s secret >/dev/null
is "after a restart" "$(strata exec secret wc -l </dev/null /data/file | cut -d' ' -f1)" 2
strata delete --force secret >/dev/null
strata volume restore secret@one --key-file "$WORK/key" --file file --to "$WORK/of-secret" >/dev/null
is "what was kept of it" "$(cat "$WORK/of-secret")" h1dd3n

# Partitions, each at a place of its own; a word that is none.
if command -v sgdisk >/dev/null; then
    truncate -s 128M "$WORK/parts"
    sgdisk -n 1:2048:+40M -n 2:0:+40M "$WORK/parts" >/dev/null
    truncate -s 40M "$WORK/part"
    mkfs.ext4 -q -F "$WORK/part"
    dd if="$WORK/part" of="$WORK/parts" bs=1M seek=1 conv=notrunc,sparse status=none
    dd if="$WORK/part" of="$WORK/parts" bs=1M seek=41 conv=notrunc,sparse status=none
    strata volume import --format raw "$WORK/parts" parts >/dev/null
    strata run --rm -v parts:/one:partition=1 -v parts:/two:partition=2 busybox sh -c 'echo 1 >/one/n; echo 2 >/two/n'
    is "two partitions" "$(strata run --rm -v parts:/one:ro,partition=1 -v parts:/two:partition=2,ro busybox \
        cat /one/n /two/n)" "1
2"
    fails 125 strata run --rm -v parts:/one:partition=3 busybox true
    has "no partition" "$OUT" "it has no partition 3"
    fails 125 strata run --rm -v parts:/one busybox true
    has "which one" "$OUT" "say which one (partition=N)"
fi
fails 2 strata run --rm -v data:/data:partition=x busybox true
fails 2 strata run --rm -v data:/data:ro,maybe busybox true
fails 125 strata run --rm -v "$WORK:/data:partition=1" busybox true

# A raw disk lies in a file that the kernel has: kept where its file system shares bytes.
strata volume create --size 64M --filesystem ext4 raw >/dev/null
strata run -d --name raw -v raw:/data busybox sh -c 'echo kept >/data/file; sync; sleep 1000' >/dev/null
if [ "$(stat -f -c %T "$STATE")" = ext2/ext3 ]; then
    fails 1 strata volume snapshot raw one
    has "a raw disk" "$OUT" "only a disk of the format qcow2 can be kept meanwhile there"
    goes_on raw
fi
strata delete --force raw >/dev/null
if command -v mkfs.xfs >/dev/null && grep -qw xfs /proc/filesystems; then
    truncate -s 600M "$WORK/sharing"
    mkfs.xfs -q "$WORK/sharing"
    mkdir "$WORK/xfs"
    mount -o loop "$WORK/sharing" "$WORK/xfs"
    strata pool create --member "$WORK/xfs/member" sharing >/dev/null
    strata volume create --size 64M --pool sharing --filesystem ext4 shared >/dev/null
    strata run -d --name shared -v shared:/data busybox sh -c \
        'echo kept >/data/file; while :; do cp /bin/busybox /data/f; done' >/dev/null
    strata volume snapshot shared one >/dev/null
    goes_on shared
    whole shared@one
    if grep -qa 'STRATA_FAULT' "$STRATA"; then
        for step in keep.frozen keep.shared; do
            STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume snapshot shared two >/dev/null 2>&1 &&
                fail "$step is no step"
            goes_on shared
        done
    fi
    strata volume snapshot shared two >/dev/null
    whole shared@two
    strata delete --force shared >/dev/null
    strata volume snapshot --restore shared one >/dev/null
    is "gone back" "$(strata run --rm -v shared:/data busybox cat /data/file)" kept
    strata volume delete --snapshots shared >/dev/null
    strata pool delete sharing >/dev/null
    umount "$WORK/xfs"
fi
