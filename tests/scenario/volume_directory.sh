#!/bin/sh
# Volumes that are directories, on pools: where they lie, what happens when their member is lost,
# limits, and moves with all that files have, also when the command is killed.
# rows: STO-32
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

on_exit() { umount -l "$WORK/counted" 2>/dev/null; }
path() { strata volume inspect --json "$1" | sed -n 's/.*"path": "\(.*\)".*/\1/p' | head -n 1; }
everything() { # of a tree, but for what a copy cannot have
    (cd "$1" && find . -printf '%p %y %m %U %G %n %T@ %l %s\n' | sed '/ d /s/ [0-9]*$//' | sort &&
        find . -type f -exec cksum {} + | sort -k 3)
    if command -v getfattr >/dev/null; then (cd "$1" && getfattr -R -d -m - . 2>/dev/null | sort); fi
}

strata pool create --member "$WORK/one" rack >/dev/null
strata pool create --member "$WORK/two" --member "$WORK/three" other >/dev/null
strata volume create --pool rack data >/dev/null
is "its path" "$(path data)" "$WORK/one/files/data/data"
strata run --rm -v data:/data busybox sh -c 'echo kept >/data/file; mkdir /data/d'
is "kept" "$(strata run --rm -v data:/data:ro busybox cat /data/file)" kept
is "on the member" "$(cat "$WORK/one/files/data/data/file")" kept
has "inspect" "$(strata volume inspect --json data)" '"pool": "rack"'
fails 1 strata pool delete rack
fails 1 strata volume create --pool none lost
has "no such pool" "$OUT" "pool 'none' does not exist"
fails 1 strata volume create --pool rack data
has "twice" "$OUT" "volume 'data' exists already"

# A member that is lost: nothing is made in its place, and no guest begins with nothing.
mv "$WORK/one" "$WORK/away"
mkdir "$WORK/one"
fails 125 strata run --rm -v data:/data busybox true
has "a lost member" "$OUT" "lost"
is "nothing is made" "$(ls -A "$WORK/one")" ""
has "its state" "$(strata volume inspect --json data)" '"state": "lost"'
rmdir "$WORK/one"
mv "$WORK/away" "$WORK/one"
is "returned" "$(strata run --rm -v data:/data busybox cat /data/file)" kept

# Moves: all that files have, while no guest has it.
tree=$(path data)
mkdir -p "$tree/deep/er"
ln "$tree/file" "$tree/deep/again"
ln -s ../file "$tree/deep/link"
ln -s /etc/passwd "$tree/deep/absolute"
mkfifo "$tree/deep/pipe"
mknod "$tree/deep/null" c 1 3
truncate -s 1M "$tree/deep/hole"
cp /bin/true "$tree/deep/er/root"
chown 1000:2000 "$tree/deep/er/root" "$tree/deep"
chmod 6755 "$tree/deep/er/root"
chmod 1777 "$tree/deep/er"
command -v setfattr >/dev/null && setfattr -n user.word -v kept "$tree/file"
touch -d @1000000 "$tree/deep/er" "$tree/file"
before=$(everything "$tree")
for pool in other rack default other default; do
    strata volume move data $pool >/dev/null
    now=$(path data)
    is "moved to $pool" "$(everything "$now")" "$before"
    [ ! -e "$tree" ] || fail "it is still at $tree"
    tree=$now
done
case $tree in "$STATE"/*) ;; *) fail "not beside the state: $tree" ;; esac
strata run -d --name has -v data:/data busybox sleep 1000 >/dev/null
fails 1 strata volume move data rack
has "in use" "$OUT" "guest 'has' has it"
strata delete --force has >/dev/null
fails 1 strata volume move data default
has "there already" "$OUT" "it is there already"
strata volume move data rack >/dev/null
fails 1 strata volume delete none
strata pool delete other >/dev/null
is "nothing is left on its members" "$(find "$WORK/two" "$WORK/three" -mindepth 1 2>/dev/null)" ""
strata pool create --member "$WORK/four" other >/dev/null

# Commands that are killed on the way.
if grep -qa 'STRATA_FAULT' "$STRATA"; then
    for step in directory.copying directory.copied directory.recorded; do
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume move data other >/dev/null 2>&1 &&
            fail "$step is no step"
        is "after $step" "$(everything "$(path data)")" "$before"
        strata system reconcile >/dev/null
        is "one of it after $step" "$(ls -d "$WORK"/one/files/* "$WORK"/four/files/* 2>/dev/null | wc -l)" 1
        is "after $step, again" "$(everything "$(path data)")" "$before"
        strata volume move data default >/dev/null
        strata volume move data rack >/dev/null
    done
    for step in volume.create.made volume.create.recorded; do
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume create --pool other new >/dev/null 2>&1 &&
            fail "$step is no step"
        strata volume delete new >/dev/null 2>&1 || true
        strata system reconcile >/dev/null
        is "nothing is left of $step" "$(ls -A "$WORK/four/files")" ""
    done
    for step in volume.delete.forgotten volume.delete.away; do
        strata volume create --pool other new >/dev/null
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume delete new >/dev/null 2>&1 &&
            fail "$step is no step"
        strata system reconcile >/dev/null
        is "nothing is left of $step" "$(ls -A "$WORK/four/files")" ""
        fails 1 strata volume inspect new
    done
fi

# Limits: kept, or refused with what else to do.
fails 1 strata volume create --quota 1M --size 1M both
has "of a disk" "$OUT" "--quota is for directories"
fails 1 strata volume resize data 1G
has "without a limit" "$OUT" "it is a directory without a quota"
if ! mount | grep -q "prjquota"; then
    fails 1 strata volume create --quota 1M limited
    has "not counted" "$OUT" "has no project quota"
    has "what else" "$OUT" "'--size SIZE --filesystem ext4'"
    fails 1 strata volume inspect limited
fi
strata pool create --member "$WORK/five" --quota 10M small >/dev/null
fails 1 strata volume create --pool small free
has "in a pool with a quota" "$OUT" "say '--quota SIZE'"
truncate -s 64M "$WORK/image"
mkdir "$WORK/counted"
if command -v mkfs.ext4 >/dev/null &&
    mkfs.ext4 -q -O quota,project -E quotatype=prjquota "$WORK/image" &&
    mount -o loop,prjquota "$WORK/image" "$WORK/counted" 2>/dev/null; then
    rmdir "$WORK/counted/lost+found"
    strata pool create --member "$WORK/counted/member" counted >/dev/null
    strata volume create --pool counted --quota 4M limited >/dev/null
    has "its limit" "$(strata volume inspect --json limited)" '"quota_bytes": 4194304'
    fails 1 strata run --rm -v limited:/data busybox dd if=/dev/zero of=/data/f bs=1M count=8
    strata run --rm -v limited:/data busybox rm /data/f
    strata run --rm -v limited:/data busybox dd if=/dev/zero of=/data/f bs=1M count=3 2>/dev/null
    strata volume resize limited 12M >/dev/null
    strata run --rm -v limited:/data busybox dd if=/dev/zero of=/data/f bs=1M count=8 2>/dev/null
    fails 1 strata volume move limited rack
    has "a move without limits" "$OUT" "has no project quota"
    strata volume delete limited >/dev/null
    strata pool delete counted >/dev/null
    umount "$WORK/counted"
fi
strata volume delete data >/dev/null
is "nothing is left" "$(ls -A "$WORK/one/files")" ""
for pool in rack other small; do strata pool delete $pool >/dev/null; done
