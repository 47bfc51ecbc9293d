#!/bin/sh
# Volumes at paths of a machine that is made from an image: directories of the host and disks with a file
# system, there before the command and clean after it; read-only ones; links in the guest; what has none.
# rows: STO-04 STO-18 MIO-06
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 400
. "$(dirname "$0")/lib.sh"
need_root
need_cmd mkfs.ext4 dumpe2fs e2fsck
[ -c /dev/loop-control ] || skip "needs loop devices"
need_busybox
. "$TOP/tests/linux.sh"
linux_find virtiofs
cd "$WORK"

machine() { # ARGUMENT...
    timeout 100 "$STRATA" --state "$STATE" run --rm --as machine --network none --kernel "$linux" "$@" </dev/null
}
path() { strata volume inspect --json "$1" | sed -n 's/.*"path": "\(.*\)".*/\1/p' | head -n 1; }

mkdir shared "two words"
echo "words of the host" >shared/told
echo spaced >"two words/told"
strata volume create files >/dev/null
strata volume create --size 64M --filesystem ext4 data >/dev/null
strata volume create --size 16M bare >/dev/null

# Both kinds at once, and again in a container.
is "what is there" "$(machine -v "$WORK/shared:/in/the host" -v data:/var/lib/data -v files:/f busybox sh -c \
    'cat "/in/the host/told"; echo kept >/var/lib/data/file; echo more >/f/file; mkdir "/in/the host/made"
     df -T /var/lib/data | tail -n 1 | grep -c ext4; cut -d " " -f 2,3 /proc/mounts | grep -c virtiofs; sleep 1000 & cd /f')" \
    "words of the host
1
2"
[ -d shared/made ] || fail "nothing was made in the directory"
disk=$(path data)
dumpe2fs -h "$disk" 2>/dev/null | grep -q needs_recovery && fail "the disk was not let go at the end"
e2fsck -fn "$disk" >/dev/null 2>&1 || fail "the file system is damaged"
is "in a container" "$(strata run --rm -v data:/d -v files:/f busybox cat /d/file /f/file)" "kept
more"

# Kept while the machine has it mounted: what its system has not written down yet is in it, and the
# file system is whole.
strata run -d --name keeps --as machine --network none --kernel "$linux" -v data:/d busybox sh -c 'while :; do sleep 1000; done' >/dev/null
strata exec keeps sh -c 'head -c 3000000 /dev/urandom >/d/late; md5sum </d/late' >late.sum
strata volume snapshot data now >/dev/null
strata exec keeps umount /d
strata delete --force keeps >/dev/null
strata volume restore data@now --file late --to "$WORK/late" >/dev/null
is "what was not written down yet" "$(md5sum <late)" "$(cat late.sum)"

# Read-only is both the guest's word and the host's.
is "read-only" "$(machine -v "$WORK/shared:/a:ro" -v data:/b:ro busybox sh -c \
    'cat /a/told /b/file; (echo x >/a/x) 2>/dev/null; (echo x >/b/x) 2>/dev/null; mount -o remount,rw /a; (echo x >/a/x) 2>/dev/null
     ls -1 /a /b/x 2>/dev/null')" "words of the host
kept
/a:
made
told"

# A link in the guest's root leads to a place in the guest; what is mounted later is beside it.
strata create --name linked --as machine --network none --kernel "$linux" -v "$WORK/two words:/etc/place/here" busybox \
    sh -c 'cat /etc/place/here/told; rm -rf /etc/place 2>/dev/null; umount /etc/place/here; rm -rf /etc/place; mkdir -p /else; ln -s /else /etc/place; sync' >/dev/null
for time in one two; do
    is "linked, $time" "$(strata start --attach linked </dev/null 2>&1 | grep spaced)" spaced
    echo spaced >"two words/told"
done
strata delete linked >/dev/null

# What cannot be mounted ends the machine before its command.
fails 125 machine -v bare:/b busybox echo "it ran"
has "no file system" "$OUT" "strata: cannot mount the volume at '/b': it has no file system that is known"
case $OUT in *"it ran"*) fail "its command ran: $OUT" ;; esac
fails 125 machine -v data:/a -v data:/b busybox true
has "twice" "$OUT" "the machine has it already"
strata volume create --size 16M a-name-of-more-than-20-letters >/dev/null
strata volume create --size 16M a-name-of-more-than-20-others >/dev/null
fails 125 machine -v a-name-of-more-than-20-letters:/a -v a-name-of-more-than-20-others busybox true
has "told apart by 20 letters" "$OUT" "begins with the same 20 letters"
fails 125 machine -v "files:/a
b" busybox true
has "a path of two lines" "$OUT" "want a path of at most 36 bytes"
