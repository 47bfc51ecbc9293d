#!/bin/sh
# Rates of the disk: a limited guest is slower than its neighbour, live, and says what it has.
# rows: OPS-14
# alone
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox

# A state that lies on no disk: one clear line, kept for inspect, and the guest runs.
mkdir "$WORK/mem"
if mount -t tmpfs none "$WORK/mem" 2>/dev/null; then
    on_exit() { umount "$WORK/mem"; }
    disk=$STATE
    STATE=$WORK/mem
    need_busybox
    strata run -d --name mem --network none --io-write 1M busybox sleep 1000 >/dev/null 2>"$WORK/said"
    is "one line" "$(grep -c "guest 'mem' runs without rates of its disk" "$WORK/said")" 1
    has "kept" "$(strata inspect --json mem)" "runs without rates"
    fails 1 strata resize mem --io-write 8M
    has "no disk to limit" "$OUT" "lies on no disk"
    strata delete --force mem >/dev/null
    STATE=$disk
fi

strata run -d --name slow --io-write 1M busybox sleep 1000 >/dev/null 2>"$WORK/said"
strata run -d --name free busybox sleep 1000 >/dev/null
is "it is recorded" "$(strata inspect --json slow | python3 -c \
    'import json, sys; print(json.load(sys.stdin)[0]["limits"]["io_write_bps"])')" 1048576
notes() { strata inspect --json slow | python3 -c 'import json, sys; print(*json.load(sys.stdin)[0]["notes"])'; }
if [ -s "$WORK/said" ]; then # this host cannot: one clear line, kept for inspect
    is "one line" "$(wc -l <"$WORK/said")" 1
    has "kept" "$(notes)" "$(sed 's/^strata: warning: //' "$WORK/said")"
    skip "no rates on this host: $(notes)"
fi
is "nothing is withheld" "$(notes)" ""

took() { # GUEST COUNT - milliseconds that COUNT MiB take, past the cache
    begin=$(date +%s%N)
    strata exec "$1" dd if=/dev/zero of=/f bs=1M count="$2" oflag=direct 2>/dev/null ||
        skip "this file system does not write past its cache"
    echo $((($(date +%s%N) - begin) / 1000000))
}
free=$(took free 4)
slow=$(took slow 4)
[ "$slow" -gt $((free * 2)) ] || fail "slow: $slow ms, free: $free ms"
[ "$slow" -ge 2500 ] || fail "4 MiB at 1 MiB/s in $slow ms"
strata resize slow --io-write 8M >/dev/null
faster=$(took slow 4)
[ "$faster" -lt $((slow / 2)) ] || fail "resized: $faster ms, before: $slow ms"
strata resize slow --io-write none >/dev/null
none=$(took slow 4)
[ "$none" -lt $((slow / 2)) ] || fail "no limit: $none ms, before: $slow ms"
