#!/bin/sh
# A machine whose root user writes all over its ports, its devices' memory and its disk, and who knows the addresses of
# others, changes nothing of two neighbours: not their memory, not their disks, and they are not to be reached.
# rows: FV-13
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 200
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox
. "$TOP/tests/linux.sh"
linux_find virtio_net
cd "$WORK"
inside() { strata exec "$1" sh -c "$2"; }
address() { strata inspect --json "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["addresses"][0])'; }
memory() { # of the first one: what it filled
    for mega in 16 20 24 28 32 36; do
        strata --json debug memory victim --physical $((mega << 20)) 1M
    done | sha256sum
}
sums() { strata logs victim | grep -c '^[0-9a-f]\{8\}$' || true; }
has_sums() { [ "$(sums)" -ge "$1" ]; }

# One neighbour stands on what it wrote to its memory, another one serves on a network of its own.
python3 "$TOP/tests/scenario/multiboot.py" kernel 'say:up\n' fill:24 sum:24 'say:\nready\n' echo:A sum:24 'say:\nend\n' spin
head -c 1048576 /dev/urandom >secret
secret=$(sha256sum <secret)
strata network create red --subnet 10.86.0.0/24 >/dev/null
strata network create blue --subnet 10.87.0.0/24 >/dev/null
strata run -d --name victim --as machine --kernel kernel --memory 64M --disk secret >/dev/null
strata run -d --name server --as machine --network red --kernel "$linux" busybox sh -c \
    'mkdir -p /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www' >/dev/null
truncate -s 1M own
strata run -d --name bad --as machine --network blue --kernel "$linux" --disk own busybox sleep 1000 >/dev/null
within 60 inside bad true
within 60 inside server true
within 30 sh -c '"$STRATA" --state "$STATE" logs victim | grep -q ready'
before=$(memory)
there=$(address server)
is "the server serves" "$(inside server "wget -q -O - http://$there/")" served

# By the network, by name and address; the victim has none.
! inside bad "timeout 5 wget -q -O - http://$there/" || fail "another network is reached"
! inside bad "timeout 5 wget -q -O - http://server/" || fail "another network's names are known"
! inside bad "ip route add 10.86.0.0/24 dev eth0; timeout 5 wget -q -O - http://$there/" || fail "reached past the gateway"

# Its disk, whole; ports of all devices but those that end it; the windows of its devices, and what lies beside its
# memory.  It may fall over by that, and nothing else.
inside bad 'dd if=/dev/urandom of=/dev/vdb bs=64k 2>/dev/null; dd if=/dev/urandom of=/dev/vdc bs=64k 2>/dev/null; sync' || true
inside bad 'mknod /tmp/port c 1 4; mknod /tmp/mem c 1 1
for from in 0 512 1536 2048 8192 49152; do
    dd if=/dev/urandom of=/tmp/port bs=1 seek=$((from + 102)) count=150 conv=notrunc 2>/dev/null
done
for mega in 128 3072 3584 4064 4076 4078 8192 65536; do
    dd if=/dev/urandom of=/tmp/mem bs=4096 seek=$((mega * 256)) count=8 conv=notrunc 2>/dev/null
done' >/dev/null 2>&1 &
attack=$!
sleep 8
kill $attack 2>/dev/null || true
wait $attack 2>/dev/null || true

is "its memory" "$(memory)" "$before"
is "its disk" "$(sha256sum <secret)" "$secret"
is "it runs" "$(strata list --json | python3 -c "import json, sys
print(*sorted(g['name'] for g in json.load(sys.stdin) if g['state'] == 'running' and g['name'] != 'bad'))")" "server victim"
is "the server still serves" "$(inside server "wget -q -O - http://$there/")" served
printf A | timeout 2 "$STRATA" --state "$STATE" console victim >/dev/null || true
within 20 sh -c '"$STRATA" --state "$STATE" logs victim | grep -q end'
is "its own sums" "$(strata logs victim | grep -c '^[0-9a-f]\{8,16\}$')" 2
is "both the same" "$(strata logs victim | grep '^[0-9a-f]\{8,16\}$' | sort -u | wc -l)" 1
