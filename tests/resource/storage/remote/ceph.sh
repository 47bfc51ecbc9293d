#!/bin/sh
# A cluster of one monitor and one store in memory, in a network of its own, and the disks over it.
#
#     ceph.sh RBD-TEST VOLUME-PROGRAM
set -eu
if [ "${3:-}" != inside ]; then
    for tool in ceph-mon ceph-osd ceph rbd monmaptool unshare; do
        command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
    done
    [ "$(id -u)" = 0 ] || { echo "skipped: not root"; exit 77; }
    exec unshare --net --mount --pid --mount-proc --fork --kill-child "$0" "$1" "$2" inside
fi
test=$1
volume=$2
work=$(mktemp -d /var/tmp/ceph-XXXXXX)
finish() {
    for pid in ${mon:-} ${osd:-} ${server:-}; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap finish EXIT
fail() {
    echo "FAIL: $*" >&2
    exit 1
}
ip link set lo up
id=$(cat /proc/sys/kernel/random/uuid)
at='[v2:127.0.0.1:3300,v1:127.0.0.1:6789]'
cat >"$work/ceph.conf" <<END
[global]
fsid = $id
mon host = $at
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data = $work/mon
mon data avail crit = 1
osd data = $work/osd
osd objectstore = memstore
memstore device bytes = 1073741824
ms connection idle timeout = 2
run dir = $work
admin socket = $work/\$name.\$pid.sock
log file = $work/\$name.log
pid file = $work/\$name.pid
END
mkdir "$work/mon" "$work/osd"
export CEPH_CONF="$work/ceph.conf"
{
    monmaptool --create --fsid "$id" --addv a "$at" "$work/map"
    ceph-mon --mkfs -i a --monmap "$work/map"
} >"$work/out" 2>&1 || fail "the monitor cannot be made: $(cat "$work/out")"
ceph-mon -f -i a >"$work/mon.out" 2>&1 &
mon=$!
{
    ceph-osd -i 0 --mkfs --mkkey --osd-uuid "$id"
    timeout 30 ceph osd new "$id" 0
} >"$work/out" 2>&1 || fail "the store cannot be made: $(cat "$work/out")"
ceph-osd -f -i 0 >"$work/osd.out" 2>&1 &
osd=$!
{
    timeout 30 ceph osd pool create rbd 8
    timeout 60 rbd pool init rbd
    timeout 30 rbd namespace create --namespace apart rbd
} >"$work/out" 2>&1 || fail "no pool: $(cat "$work/out")"
timeout 300 "$test" "$CEPH_CONF" "$osd" || fail "the disks"

# What others see: a parent, and the bytes that were written.
rbd info child | grep -q 'parent: rbd/base@' || fail "the clone has no parent: $(rbd info child)"
rbd info child | grep -q 'op_features:.*clone-child' || fail "not a clone of the second format: $(rbd info child)"
rbd export --no-progress child - 2>/dev/null | head -c 1 | grep -q a || fail "the clone's bytes"
echo "ok   what rbd sees"

# A server that is confined, and makes a connection to the store again after an idle one was closed.
command -v qemu-io >/dev/null || exit 0
io() {
    timeout 60 qemu-io -f raw "$@" "nbd+unix:///?socket=$work/socket" >"$work/io" 2>&1 || fail "qemu-io: $(cat "$work/io")"
    ! grep -q 'rror\|failed' "$work/io" || fail "qemu-io: $(cat "$work/io")"
}
rbd create --size 64M served
"$volume" nbd node=d,rbd,pool=rbd,image=served,exclusive,conf="$CEPH_CONF" socket="$work/socket" 3>"$work/said" &
server=$!
for i in $(seq 100); do
    [ ! -S "$work/socket" ] || break
    sleep 0.1
done
io -c 'write -P 7 1M 30M' -c flush
sleep 5
io -c 'read -P 7 1M 30M' -c 'write -P 8 40M 8M' -c flush -c 'read -P 8 40M 8M' -c 'discard 1M 8M' -c 'write -zu 20M 8M'
kill "$server"
wait "$server" || fail "the server ended badly: $(cat "$work/said")"
server=
timeout 60 rbd export --no-progress served "$work/bytes" 2>"$work/out" || fail "no export: $(cat "$work/out")"
od -An -tx1 -j $((40 << 20)) -N 1 "$work/bytes" | grep -q 08 || fail "what was written"
echo "ok   a confined server"
