#!/bin/sh
# A pool of a Ceph cluster (one monitor, one store in memory, a network of their own): disks, snapshots,
# clones, a move under a writer, and an end that leaves nothing.
# timeout: 600
# long
# rows: STO-06
if [ "${1:-}" != inside ]; then
    for tool in ceph-mon ceph-osd ceph rbd monmaptool unshare qemu-img qemu-io; do
        command -v "$tool" >/dev/null || { echo "skip: needs the program '$tool'"; exit 77; }
    done
    [ "$(id -u)" = 0 ] || { echo "skip: needs root"; exit 77; }
    exec unshare --net --mount --pid --mount-proc --fork --kill-child sh "$0" inside
fi
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
on_exit() {
    pool_on_exit
    for pid in ${mon:-} ${osd:-}; do kill -9 "$pid" 2>/dev/null || true; done
}

# Words that name no pool never reach the cluster.
for word in ceph: ceph:a/b ceph:-a 'ceph:a,conf=relative' 'ceph:a,rubbish' 'ceph:a,user=' 'ceph:a;b' ceph:../a; do
    fails 1 strata pool create --member "$word" no
    has "$word" "$OUT" "cannot use"
done

ip link set lo up
id=$(cat /proc/sys/kernel/random/uuid)
at='[v2:127.0.0.1:3300,v1:127.0.0.1:6789]'
dir=$WORK/ceph
mkdir "$dir" "$dir/mon" "$dir/osd"
cat >"$dir/ceph.conf" <<END
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
mon data = $dir/mon
mon data avail crit = 1
osd data = $dir/osd
osd objectstore = memstore
memstore device bytes = 1073741824
run dir = $dir
admin socket = $dir/\$name.\$pid.sock
log file = $dir/\$name.log
pid file = $dir/\$name.pid
END
export CEPH_CONF="$dir/ceph.conf"
{
    monmaptool --create --fsid "$id" --addv a "$at" "$dir/map"
    ceph-mon --mkfs -i a --monmap "$dir/map"
} >"$dir/out" 2>&1 || fail "the monitor cannot be made: $(cat "$dir/out")"
ceph-mon -f -i a >"$dir/mon.out" 2>&1 &
mon=$!
{
    ceph-osd -i 0 --mkfs --mkkey --osd-uuid "$id"
    timeout 60 ceph osd new "$id" 0
} >"$dir/out" 2>&1 || fail "the store cannot be made: $(cat "$dir/out")"
ceph-osd -f -i 0 >"$dir/osd.out" 2>&1 &
osd=$!
{
    timeout 60 ceph osd pool create rbd 8
    timeout 150 rbd pool init rbd
} >"$dir/out" 2>&1 || fail "no pool: $(cat "$dir/out")"

timeout 60 rbd create --size 4M theirs
fails 1 strata pool create --member "ceph:rbd,conf=$CEPH_CONF" p
has "shared" "$OUT" "it has images"
timeout 60 rbd rm --no-progress theirs
strata pool create --member "ceph:rbd,conf=$CEPH_CONF" p >/dev/null
fails 1 strata pool create --force --member "ceph:rbd,conf=$CEPH_CONF" q
has "another's" "$OUT" "it is one of pool 'p'"
has "state" "$(strata pool inspect p)" "state: ok"

strata volume create --pool p --size 32M v >/dev/null
io v -c 'write -P 1 0 2M' -c 'write -P 2 15M 1M'
is "what others read" "$(timeout 60 rbd export --no-progress "$(rbd ls | grep -v label)" - 2>/dev/null | head -c 2097152 |
    tr -d '\001' | wc -c)" 0
strata volume snapshot v one >/dev/null
io v -c 'read -P 1 0 2M' -c 'write -P 4 0 1M'
strata volume clone v@one c >/dev/null
io c -c 'read -P 1 0 2M' -c 'read -P 2 15M 1M'
strata volume delete c >/dev/null
strata volume snapshot --delete v one >/dev/null
strata volume check v >/dev/null
strata volume resize v 64M >/dev/null
io v -c 'read -P 4 0 1M' -c 'read -P 2 15M 1M' -c 'write -P 5 60M 64k'

strata pool create --member "$WORK/dir" dir >/dev/null
serve v
for pool in dir p; do
    strata volume move v $pool >/dev/null
    live -c 'read -P 4 0 1M' -c 'read -P 5 60M 64k' -c 'write -P 6 30M 64k' -c flush
done
fails 1 strata volume delete v
has "in use" "$OUT" "being served"
kill "$server"
wait "$server" || true
io v -c 'read -P 6 30M 64k' -c 'read -P 2 15M 1M'
strata volume delete v >/dev/null
is "what is left" "$(rbd ls | grep -cv label)" 0
strata pool delete p >/dev/null
is "nothing" "$(rbd ls)" ""

# Care of one.
care_of "ceph:rbd,conf=$CEPH_CONF"
is "nothing after care" "$(rbd ls)" ""
