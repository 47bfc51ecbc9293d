#!/bin/sh
# A backup of a directory while a guest writes to it: of one moment where files share bytes (reflink),
# each file for itself elsewhere; and the guest goes on, also when the command is killed.
# timeout: 300
# rows: STO-05
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3 losetup
need_busybox
on_exit() {
    umount -l "$WORK/shared" 2>/dev/null
    losetup -a | sed -n "s|^\(/dev/loop[0-9]*\):.*($WORK/shared.img.*|\1|p" | while read -r dev; do losetup -d "$dev"; done
}
# The guest counts, in two files, one after the other: in one moment they differ by one at most.
counts='i=0; while :; do i=$((i + 1)); echo $i >/data/a.new; mv /data/a.new /data/a; echo $i >/data/z.new; mv /data/z.new /data/z; done'
said() { sed -n "s/^ *\"$1\": \"*\([^\",]*\)\"*,*\$/\1/p" "$WORK/row"; }
fill() { # so that a walk takes its time between the first and the last name
    strata run --rm -v data:/data busybox sh -c \
        'i=0; while [ $i -lt 2000 ]; do echo $i >/data/m$i; i=$((i + 1)); done; dd if=/dev/urandom of=/data/n bs=1M count=64 2>/dev/null'
}
out() { strata volume restore "$WORK/$1" --file "$2" --to "$WORK/out" >/dev/null && cat "$WORK/out"; }
goes_on() {
    was=$(strata exec writer cat /data/z)
    within 10 sh -c '[ "$("$STRATA" --state "$STATE" exec writer cat /data/z)" != "'"$was"'" ]'
}

# Where files share no bytes: each file is whole, and the row says so.
strata volume create data >/dev/null
fill
strata run -d --name writer -v data:/data busybox sh -c "$counts" >/dev/null
within 10 strata exec writer cat /data/z
strata volume backup --json data "$WORK/plain" >"$WORK/row"
case $(said state) in
    "by file") ;;
    snapshot) ;; # the state lies where files share bytes
    *) fail "state: $(cat "$WORK/row")" ;;
esac
goes_on
case $(out plain a) in '' | *[!0-9]*) fail "a: $(cat "$WORK/out")" ;; esac
is "of another" "$(out plain m77)" 77
sleep 0.3
strata volume backup --json data "$WORK/plain" >"$WORK/row"
is "the second" "$(said kind)" changes
[ "$(stat -c %s "$WORK/plain/0002.data")" -lt 100000 ] || fail "all of it again: $(stat -c %s "$WORK/plain/0002.data")"
strata delete --force writer >/dev/null
strata volume backup --json data "$WORK/plain" >"$WORK/row"
is "without its guest" "$(said state)" "at rest"
strata volume delete data >/dev/null

# Where they do.
kind=
for try in xfs btrfs; do
    command -v mkfs.$try >/dev/null && grep -qw $try /proc/filesystems && kind=$try && break
done
[ -n "$kind" ] || skip "needs xfs or btrfs for the rest"
truncate -s 600M "$WORK/shared.img"
mkfs.$kind -q "$WORK/shared.img"
mkdir "$WORK/shared"
mount -o loop "$WORK/shared.img" "$WORK/shared" || skip "cannot mount $kind"
strata pool create --member "$WORK/shared/pool" fast >/dev/null
strata volume create --pool fast data >/dev/null
fill
strata run -d --name writer -v data:/data busybox sh -c "$counts" >/dev/null
within 10 strata exec writer cat /data/z
for n in 1 2 3 4 5; do
    strata volume backup --json data "$WORK/one" >"$WORK/row"
    is "of one moment" "$(said state) $(said changed_files)" "snapshot 0"
    a=$(out one a)
    z=$(out one z)
    [ $((a - z)) -ge 0 ] && [ $((a - z)) -le 1 ] || fail "not of one moment: $a, $z"
    goes_on
done
is "nothing is left there" "$(ls "$WORK/shared/pool/files")" data
is "another guest" "$(strata run --rm -v data:/data busybox cat /data/m5)" 5

# Killed while the guest stands still: it goes on, what was set aside goes, the next backup is made.
if grep -qa STRATA_FAULT "$STRATA"; then
    for step in archive.held archive.scanned archive.packed archive.listed; do
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume backup data "$WORK/one" >/dev/null 2>&1 || true
        strata system reconcile >/dev/null
        goes_on
        is "after $step" "$(ls "$WORK/shared/pool/files")" data
        strata volume backup --json data "$WORK/one" >"$WORK/row"
        is "the next after $step" "$(said state)" snapshot
    done
fi
strata delete --force writer >/dev/null
strata volume restore --pool fast "$WORK/one" again >/dev/null
is "restored" "$(strata run --rm -v again:/data busybox cat /data/m1999)" 1999
strata volume delete again >/dev/null
strata volume delete data >/dev/null
strata pool delete fast >/dev/null
