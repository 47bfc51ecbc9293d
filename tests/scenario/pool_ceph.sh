#!/bin/sh
# A pool of a Ceph cluster (one monitor, one store in memory, a network of their own): disks, snapshots,
# clones, a move under a writer, and an end that leaves nothing.
# timeout: 600
# long
# rows: STO-02 STO-06 DC-21
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

# One tree of names over a directory, a disk and the cluster, as a guest sees it: all paths stay, and are written,
# while the disk goes to another pool and back, and the cluster's to a directory and back.
if [ -x /bin/busybox ] && [ -c /dev/loop-control ] && command -v mkfs.ext4 >/dev/null; then
    need_busybox
    strata volume create files >/dev/null
    strata volume create --pool dir --size 32M --format qcow2 --filesystem ext4 block >/dev/null
    strata volume create --pool p --size 32M --format qcow2 --filesystem ext4 remote >/dev/null
    strata run -d --name tree --network none -v files:/tree/files -v block:/tree/block -v remote:/tree/remote busybox sh -c '
        for d in files block remote; do
            echo $d >/tree/$d/name
            (n=0; while n=$((n + 1)); do echo $n >>/tree/$d/log; [ $((n % 100)) != 0 ] || sync; done) &
        done
        echo ready; wait' >/dev/null
    within 20 sh -c '"$STRATA" --state "$STATE" logs tree | grep -q ready'
    names() { strata exec tree find /tree -type f ! -path '*/lost+found/*' | sort | tr '\n' ' '; }
    lines() { strata exec tree sh -c "wc -l </tree/$1/log"; }
    before=$(names)
    is "one tree" "$before" "/tree/block/log /tree/block/name /tree/files/log /tree/files/name /tree/remote/log /tree/remote/name "
    for step in "block default" "remote dir" "block dir" "remote p"; do
        was=$(lines "${step% *}")
        # shellcheck disable=SC2086
        strata volume move $step >/dev/null || fail "move $step"
        is "where it is" "$(field "${step% *}" pool)" "${step#* }"
        is "the same names" "$(names)" "$before"
        [ "$(lines "${step% *}")" -gt "$was" ] || fail "nobody writes after $step"
    done
    fails 1 strata volume move block p # its server cannot reach one: it is confined
    has "not to the cluster" "$OUT" "cannot use Ceph"
    is "where it stays" "$(field block pool)" dir
    strata stop --timeout 1s tree >/dev/null
    strata delete tree >/dev/null
    is "no line is missing" "$(strata run --rm --network none -v files:/tree/files:ro -v block:/tree/block:ro -v remote:/tree/remote:ro \
        busybox sh -c 'for d in files block remote; do
            [ "$(cat /tree/$d/name)" = $d ] && n=0 && while read -r line; do n=$((n + 1)); [ "$line" = $n ] || { echo "$d: $line, not $n"; break; }; done </tree/$d/log
        done; echo whole')" whole
    for name in block remote; do
        within 10 is_free $name
        strata volume delete $name >/dev/null
    done
    strata volume delete files >/dev/null
fi
strata pool delete p >/dev/null
is "nothing" "$(rbd ls)" ""

# Care of one.
care_of "ceph:rbd,conf=$CEPH_CONF"
is "nothing after care" "$(rbd ls)" ""
