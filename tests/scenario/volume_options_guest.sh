#!/bin/sh
# What stands over and under a disk while a container has it mounted: limits, a trace, a cache,
# checksums, tiers; and over an encrypted one, of which a cache keeps nothing in clear.
# timeout: 600
# rows: STO-08 STO-09 STO-11 STO-12
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
need_root
need_cmd qemu-io qemu-img python3 mkfs.ext4 e2fsck
[ -c /dev/loop-control ] || skip "needs loop devices"
need_busybox
printf 'a passphrase' >"$WORK/one"
printf 'another' >"$WORK/two"
printf 'plain text of nobody' >"$WORK/plain"
truncate -s 4096 "$WORK/plain"
layers() { find "$WORK/quick/layers" -type f 2>/dev/null | wc -l; }
stopped() { strata inspect --json "$1" | grep -q '"state": "stopped"'; }
# free VOLUME - once its last user's server has ended
free() { within 10 is_free "$1"; }
strata pool create quick --member "$WORK/quick,class=fast" >/dev/null

# Limits are kept, and change while the guest has the disk.
strata volume create --size 64M --filesystem ext4 --bandwidth 1M d >/dev/null
strata run --rm -v d:/data busybox sh -c 'echo kept >/data/file'
free d
strata run -d --name slow -v d:/data busybox sleep 1000 >/dev/null
took() { # took COMMAND... - milliseconds
    begin=$(date +%s%N)
    "$@" >/dev/null 2>&1
    echo $((($(date +%s%N) - begin) / 1000000))
}
ms=$(took strata exec slow dd if=/dev/zero of=/data/big bs=1M count=14 conv=fsync)
[ "$ms" -ge 3000 ] || fail "14 MiB at 1 MiB a second, 10 at once, took $ms ms"
strata volume set --bandwidth none d >/dev/null
ms=$(took strata exec slow dd if=/dev/zero of=/data/big bs=1M count=14 conv=fsync)
[ "$ms" -le 3000 ] || fail "without a limit: $ms ms"
strata volume snapshot d live >/dev/null
is "below" "$(strata exec slow cat /data/file)" kept
strata volume resize d 96M >/dev/null
strata delete --force slow >/dev/null
free d
is "the snapshot" "$(strata volume list --json | grep -c '"name": "d"')" 1
strata volume delete --snapshots d >/dev/null

# A trace, by the guest's own requests.
strata volume create --size 32M --filesystem ext4 --log "$WORK/trace" d >/dev/null
strata run --rm -i -v d:/data busybox sh -c 'cat >/data/file; sync' <"$WORK/plain"
free d
[ "$(wc -c <"$WORK/trace")" -ge 4096 ] || fail "no trace"
grep -q 'text of nobody' "$WORK/trace" && fail "a trace has bytes"
strata volume create --size 32M e >/dev/null
has "made again" "$(strata volume replay --json --at-once e "$WORK/trace")" '"failed": 0'
is "a reader" "$(strata run --rm -v d:/data:ro busybox head -c 10 /data/file)" "plain text"
strata volume delete d e >/dev/null

# A cache: what the guest wrote is there for the next one, for readers, and after a kill.
for mode in write-through write-back; do
    strata volume create --size 64M --filesystem ext4 --cache quick --cache-size 16M --cache-mode $mode d >/dev/null
    strata run --rm -v d:/data busybox sh -c 'echo one >/data/file; dd if=/dev/urandom of=/data/x bs=1M count=4 2>/dev/null; md5sum </data/x >/data/sum'
    is "$mode: a store" "$(layers)" 1
    free d
    for i in 1 2; do strata run -d --name r$i -v d:/data:ro busybox sleep 1000 >/dev/null; done
    for i in 1 2; do is "$mode: reader $i" "$(strata exec r$i cat /data/file)" one; done
    fails 125 strata run --rm -v d:/data busybox true
    has "$mode: a writer" "$OUT" "it is in use"
    for i in 1 2; do strata delete --force r$i >/dev/null; done
    strata run -d --name w -v d:/data busybox sh -c 'echo two >/data/file; sync; echo ready; sleep 1000' >/dev/null
    within 10 sh -c '"$STRATA" --state "$STATE" logs w | grep -q ready'
    strata volume snapshot d s >/dev/null
    strata volume clone d@s c >/dev/null
    is "$mode: the clone" "$(strata run --rm -v c:/data busybox cat /data/file)" two
    kill -9 $(pgrep -f "keeper id=.*run-dir=$STATE/")
    is "$mode: after a kill" "$(strata run --rm -v d:/data busybox sh -c 'cat /data/file; md5sum </data/x | cmp - /data/sum')" two
    strata delete --force w >/dev/null
    free d
    strata volume export d --file "$WORK/d.raw" >/dev/null
    e2fsck -fn "$WORK/d.raw" >/dev/null 2>&1 || fail "$mode: the file system is damaged"
    rm "$WORK/d.raw"
    free c
    strata volume delete c >/dev/null
    strata volume delete --snapshots d >/dev/null
    is "$mode: its store is gone" "$(layers)" 0
done

# Checksums and tiers below the file system; a byte that changed by itself is told.
strata volume create --size 32M --filesystem ext4 --checksum d >/dev/null
strata run --rm -v d:/data busybox sh -c 'dd if=/dev/urandom of=/data/x bs=1M count=4 2>/dev/null; sync'
free d
file=$(find "$STATE/pool/layers" -type f -size +1M)
python3 -c '
import sys
with open(sys.argv[1], "r+b") as f:
    data = f.read()
    at = max(range(0, len(data), 65536), key=lambda i: len(set(data[i:i + 4096])))
    f.seek(at + 100)
    f.write(b"\xff" * 64)' "$file"
strata volume check --json d >"$WORK/said" 2>&1 || true
grep -q '"wrong_blocks": 1' "$WORK/said" || fail "a wrong block: $(cat "$WORK/said")"
strata volume delete d >/dev/null
strata pool create tiers --member "$WORK/t1" --member "$WORK/t2,class=fast" >/dev/null
strata volume create --pool tiers --size 64M --filesystem ext4 --tier 16M --iops 100000 d >/dev/null
strata run --rm -v d:/data busybox sh -c 'echo kept >/data/file'
free d
is "tiers" "$(strata run --rm -v d:/data:ro busybox cat /data/file)" kept
free d
strata volume delete d >/dev/null

# Over an encrypted disk: the cache is encrypted as the disk is, and opens with its passphrases.
fails 1 strata volume create --size 64M --encrypt --key-file "$WORK/one" --cache quick --cache-mode write-back d
has "write-back" "$OUT" "what a cache held back could be written with the passphrase alone"
fails 1 strata volume inspect d
strata volume create --size 64M --encrypt --key-work 1000 --key-file "$WORK/one" --cache quick --cache-size 16M \
    --iops 100000 --log "$WORK/trace2" --checksum d >/dev/null
serve d --key-file "$WORK/one"
live -c "write -s $WORK/plain 5M 4096" -c flush -c 'read 5M 4096' -c 'read 5M 4096' -c 'write -P 7 0 1M' -c 'read -P 7 0 1M'
is "a store" "$(layers)" 1
[ "$(du -sk "$WORK/quick/layers" | cut -f1)" -ge 1024 ] || fail "nothing is in the store"
strata volume key d --key-file "$WORK/one" --key-work 1000 --change "$WORK/two" >"$WORK/rows"
[ "$(grep -c changed "$WORK/rows")" = 2 ] || fail "the disk and its store: $(cat "$WORK/rows")"
live -c 'read -P 7 0 1M' -c flush
stop "$server"
free d
sync
grep -rqs 'text of nobody' "$WORK/quick" "$STATE/pool" "$WORK/trace2" && fail "it lies there in clear"
fails 1 strata volume export d --key-file "$WORK/one" --nbd "$WORK/s"
serve d --key-file "$WORK/two"
live -c 'read -P 7 0 1M' -c 'write -P 9 0 64k' -c 'read -P 9 0 64k'
python3 - "$(strata volume inspect --json d)" <<'END' || fail "the cache is not used"
import json, sys
v = json.loads(sys.argv[1])
v = v[0] if isinstance(v, list) else v
assert v["figures"]["cache"]["hits"] > 0, v["figures"]
END
stop "$server"
free d
strata volume key d --key-file "$WORK/two" --key-work 1000 --add "$WORK/one" >/dev/null # while nobody uses it
serve d --key-file "$WORK/one"
live -c 'read -P 9 0 64k' -c 'read -P 7 64k 960k'
stop "$server"
free d
strata volume resize d 96M >/dev/null # its store is made anew
strata volume snapshot d s >/dev/null
serve d --key-file "$WORK/one"
live -c 'read -P 9 0 64k' -c 'write -P 3 95M 1M'
stop "$server"
free d
strata volume set --cache none d >/dev/null
is "its store is gone" "$(layers)" 0
strata volume set --cache quick --cache-size 8M d >/dev/null # made when it is opened
is "no store yet" "$(layers)" 0
serve d --key-file "$WORK/one" --once
live -c 'read -P 3 95M 1M'
served d
is "a store now" "$(layers)" 1
strata volume delete --snapshots d >/dev/null
is "nothing is left" "$(layers)" 0
strata volume create --size 32M --filesystem ext4 --encrypt --key-work 1000 --key-file "$WORK/one" --cache quick \
    --cache-size 8M d >/dev/null
strata run --rm -i -v "d:/data:key-file=$WORK/one" busybox sh -c 'cat >/data/file; sync; cat /data/file >/dev/null' <"$WORK/plain"
free d
is "in a container" "$(strata run --rm -v "d:/data:key-file=$WORK/one" busybox head -c 10 /data/file)" "plain text"
free d
sync
grep -rqs 'text of nobody' "$WORK/quick" "$STATE/pool" && fail "a guest's cache is in clear"
strata volume delete d >/dev/null

# Killed while the store is made: the next command has the disk, and nothing stays.
if knows_kills; then
    strata volume create --size 8M --encrypt --key-work 1000 --key-file "$WORK/one" --cache quick --cache-size 8M d >/dev/null
    for step in cache.filled cache.recorded layer.made; do
        STRATA_FAULT=kill:$step timeout -k 5 20 "$STRATA" --state "$STATE" volume export d --key-file "$WORK/one" --once \
            --nbd "$WORK/k" >/dev/null 2>&1 || true
        rm -f "$WORK/k"
        serve d --key-file "$WORK/one" --once
        live -c 'read -P 0 0 64k'
        served d
        strata volume set --cache none d >/dev/null # sweeps what the killed one had begun
        is "after $step" "$(layers)" 0
        strata volume set --cache quick --cache-size 8M d >/dev/null
    done
    strata volume delete d >/dev/null
fi
