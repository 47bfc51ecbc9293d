#!/bin/sh
# Pools of directories: members are recognised by their mark, whatever is at their path;
# classes keep apart what they are for; a member that is full, lost or hangs is shown.
# timeout: 300
# rows: STO-06 STO-07
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3 mount umount
on_exit() {
    for dir in "$WORK"/m*; do
        umount -l "$dir" 2>/dev/null || true
    done
    [ -z "${hung:-}" ] || kill "$hung" 2>/dev/null || true
}
# member POOL PATH KEY - of what `pool inspect` says of the member at that path.
member() {
    strata pool inspect --json "$1" | python3 -c '
import json, sys
print(*[m.get(sys.argv[2], "") for p in json.load(sys.stdin) for m in p["members"] if m["path"].endswith(sys.argv[1])])' "$2" "$3"
}
path() { strata volume inspect --json "$1" | sed -n 's/^ *"path": "\(.*\)",$/\1/p'; }

is "always there" "$(strata pool list --quiet)" default
for i in 1 2 3; do
    mkdir "$WORK/m$i"
    mount -t tmpfs -o size=32M pool "$WORK/m$i"
done

# What a member may not be.
mkdir "$WORK/used"
touch "$WORK/used/file"
fails 1 strata pool create p --member "$WORK/used"
has "used" "$OUT" "it has 'file' in it"
fails 1 strata pool create p --member "$WORK/m1,class=quick"
has "class" "$OUT" "the classes are fast, normal, archive"
fails 1 strata pool create p --member "$WORK/m1" --member "$WORK/m1"
has "twice" "$OUT" "is a member already"
fails 1 strata pool create p --member "$WORK/used/file"
has "no directory" "$OUT" "it is no directory"
fails 1 strata pool create p
has "none" "$OUT" "it wants a member"
fails 1 strata pool create default --member "$WORK/m1"
has "default" "$OUT" "exists already"
is "nothing was claimed" "$(find "$WORK/m1" -mindepth 1)" ""

strata pool create p --member "$WORK/m1,class=fast" --member "$WORK/m2,class=archive" >/dev/null
fails 1 strata pool create q --force --member "$WORK/m1"
has "one of another" "$OUT" "it is one of pool 'p'"
fails 1 strata pool create p --member "$WORK/m3"
has "name" "$OUT" "pool 'p' exists already"
is "not claimed" "$(find "$WORK/m3" -mindepth 1)" ""
is "states" "$(member p /m1 state) $(member p /m2 state)" "ok ok"

# An old device that is for archives gets nothing else; without it nothing else suffers.
strata volume create --pool p --size 1M hot >/dev/null
strata volume create --pool p --size 1M --class archive old >/dev/null
has "hot" "$(path hot)" /m1/
has "old" "$(path old)" /m2/
fails 1 strata pool delete p
has "in use" "$OUT" "volumes lie on it"
umount "$WORK/m2"
is "lost" "$(member p /m2 state)" lost
has "what to do" "$(member p /m2 to_do)" "mount or connect it again"
is "the other" "$(member p /m1 state)" ok
has "its volume" "$(strata volume inspect old)" "state: lost"
has "the other's" "$(strata volume inspect hot)" "state: ok"
fails 1 strata volume snapshot old now
has "says so" "$OUT" "is lost"
fails 1 strata volume create --pool p --size 1M --class archive more
is "nothing below the empty mount point" "$(find "$WORK/m2" -mindepth 1)" ""
strata volume snapshot hot now >/dev/null

# Another disk at the path is not taken for the lost one.
mount -t tmpfs -o size=32M pool "$WORK/m2"
is "foreign" "$(member p /m2 state)" lost
umount "$WORK/m2"

# Full.
dd if=/dev/zero of="$WORK/m1/layers/ballast" bs=1M count=31 2>/dev/null
is "full" "$(member p /m1 state)" full
fails 1 strata volume create --pool p --size 1M late
has "full" "$OUT" "pool 'p' is full for class 'normal': add a member"
strata pool add p --member "$WORK/m3" >/dev/null
strata volume create --pool p --size 1M late >/dev/null
has "the new one" "$(path late)" /m3/
rm "$WORK/m1/layers/ballast"
is "ok again" "$(member p /m1 state)" ok

# A member that hangs is slow, and holds nobody up: a file system whose server never answers.
if [ -e /dev/fuse ]; then
    mkdir "$WORK/m7"
    strata pool create hung --member "$WORK/m7/pool" >/dev/null
    python3 - "$WORK/m7" <<'PY' &
import ctypes, os, sys, time
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
if ctypes.CDLL(None).mount(b"none", sys.argv[1].encode(), b"fuse", 0, options) != 0:
    sys.exit(1)
time.sleep(60)
PY
    hung=$!
    within 5 grep -q " $WORK/m7 fuse" /proc/self/mounts
    begin=$(date +%s)
    is "slow" "$(member hung /m7/pool state)" slow
    has "what to do" "$(member hung /m7/pool to_do)" "did not answer in time"
    [ $(($(date +%s) - begin)) -le 15 ] || fail "a member that hangs held us up"
    kill $hung
    wait $hung 2>/dev/null || true
    umount -l "$WORK/m7"
    is "again" "$(member hung /m7/pool state)" ok
    strata pool delete hung >/dev/null
fi

# A set of disks that fits no member fits the pool, which is nearly full when it says so.
head -c 3145728 /dev/urandom >"$WORK/image"
mkdir "$WORK/m5" "$WORK/m6"
mount -t tmpfs -o size=160M pool "$WORK/m5"
mount -t tmpfs -o size=96M pool "$WORK/m6"
strata pool create filled --member "$WORK/m5" --member "$WORK/m6" >/dev/null
count=0
while strata volume import "$WORK/image" "f$count" --pool filled >/dev/null 2>"$WORK/why"; do
    count=$((count + 1))
    [ $count -lt 200 ] || fail "it is never full"
done
has "full" "$(cat "$WORK/why")" "pool 'filled' is full"
[ $((count * 3)) -gt 230 ] || fail "refused after $((count * 3)) of 256 MiB"
for n in $(seq 0 $((count - 1))); do
    cmp "$WORK/image" "$(path "f$n")" || fail "f$n"
    strata volume delete "f$n" >/dev/null
done
strata pool delete filled >/dev/null

# Quotas count sizes.
mkdir "$WORK/quota"
strata pool create small --quota 10M --member "$WORK/quota" >/dev/null
strata volume create --pool small --size 6M a >/dev/null
fails 1 strata volume create --pool small --size 6M b
has "quota" "$OUT" "the quota of pool 'small' is 10.0 MiB, of which its volumes have 6.00 MiB"
strata volume create --pool small --size 4M b >/dev/null
fails 1 strata volume resize a 7M
has "quota" "$OUT" "the quota of pool"
fails 1 strata volume clone a c
strata volume delete b >/dev/null
strata volume resize a 7M >/dev/null

# What a killed command had marked is in nobody's way.
if grep -qa STRATA_FAULT "$STRATA"; then
    STRATA_FAULT=kill:pool.labelled "$STRATA" --state "$STATE" pool create half --member "$WORK/half" \
        >/dev/null 2>&1 || true
    fails 1 strata pool create half --member "$WORK/half"
    has "unknown" "$OUT" "a pool that is not known here (see '--force')"
    strata pool create half --force --member "$WORK/half" >/dev/null
    STRATA_FAULT=kill:pool.forgotten "$STRATA" --state "$STATE" pool delete half >/dev/null 2>&1 || true
    strata pool create half --force --member "$WORK/half" >/dev/null
    strata pool delete half >/dev/null
fi

# A pool that goes leaves its members as they were.
strata volume delete a >/dev/null
strata pool delete small >/dev/null
is "clean" "$(find "$WORK/quota" -mindepth 1)" ""
strata volume delete --snapshots hot late >/dev/null
fails 1 strata pool delete p # the volume on the lost member
fails 1 strata pool delete default
has "default" "$OUT" "it is always there"
strata volume delete old >/dev/null # its bytes are gone with the member
strata pool delete p >/dev/null
is "all gone" "$(strata pool list --quiet)" default
