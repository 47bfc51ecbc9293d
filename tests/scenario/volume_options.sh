#!/bin/sh
# What stands over and under a disk: limits, a trace, a cache; checksums, equal blocks once,
# tiers.  Each keeps its contents through snapshots, clones, backups, new sizes and moves.
# timeout: 600
# rows: STO-08 STO-09 STO-12
# long
. "$(dirname "$0")/lib.sh"
need_root
need_cmd qemu-img qemu-io nbdcopy fio python3
servers=
on_exit() { for pid in $servers; do kill "$pid" 2>/dev/null || true; done; }
serve() { # serve VOLUME
    rm -f "$WORK/out"
    "$STRATA" --state "$STATE" volume export "$1" --nbd "$WORK/s" >"$WORK/out" 2>&1 &
    server=$!
    servers="$servers $server"
    within 20 grep -qs nbd+unix "$WORK/out" || fail "serve $1: $(cat "$WORK/out")"
}
is_free() { ! strata volume inspect --json "$1" | grep -q '"in use"'; }
unserve() { # unserve VOLUME
    kill "$server"
    wait "$server" || true
    within 10 is_free "$1"
}
io() {
    said=$(qemu-io -f raw "$@" "nbd:unix:$WORK/s") || fail "$*: $said"
    case $said in *"verification failed"*) fail "$*: $said" ;; esac
}
# The disk as a file, by a client: to compare with another time.
dump() { nbdcopy "nbd+unix:///?socket=$WORK/s" "$1"; }
member() { strata volume inspect --json "$1" | python3 -c 'import json,sys
v = json.load(sys.stdin)
v = v[0] if isinstance(v, list) else v
for k in sys.argv[1].split("."):
    v = v.get(k, "") if isinstance(v, dict) else v[int(k)]
print(v)' "$2"; }
# kill -9 of the process that has the disk
kill_worker() {
    for fd in /proc/[0-9]*/fd/*; do
        case $(readlink "$fd" 2>/dev/null) in "$STATE"/*/layers/* | "$WORK"/*/layers/*)
            p=${fd#/proc/}
            kill -9 "${p%%/*}"
            return
            ;;
        esac
    done
    fail "nobody has the disk"
}
layers() { find "$STATE/pool/layers" "$WORK"/*/layers -type f 2>/dev/null | wc -l; }

# ---- limits: changed while in use ----
strata volume create --size 64M --iops 50 d >/dev/null
has "recorded" "$(strata volume inspect --json d)" '"iops": 50'
rate() { # rate SECONDS: requests in a second, by fio
    fio --name=r --ioengine=nbd --uri="nbd+unix:///?socket=$WORK/s" --rw=randread --bs=4k --iodepth=8 \
        --time_based --runtime="$1" --output-format=json 2>/dev/null | sed -n '/^{/,$p' |
        python3 -c 'import json,sys; print(int(json.load(sys.stdin)["jobs"][0]["read"]["iops"]))'
}
can_fio=yes
fio --enghelp 2>/dev/null | grep -qw nbd || can_fio=
serve d
if [ -n "$can_fio" ]; then
    got=$(rate 3)
    [ "$got" -ge 30 ] && [ "$got" -le 75 ] || fail "50 a second are $got"
    strata volume set --iops 400 d >/dev/null
    got=$(rate 3)
    [ "$got" -ge 240 ] && [ "$got" -le 600 ] || fail "400 a second are $got"
    strata volume set --iops none d >/dev/null
    got=$(rate 1)
    [ "$got" -ge 1000 ] || fail "without limits: $got"
fi
fails 1 strata volume set --burst-iops 10 d
has "a burst" "$OUT" "a burst wants a limit"
fails 1 strata volume set d
has "nothing to do" "$OUT" "no option says"
unserve d
is "no limits" "$(member d limits)" ""
serve d # had none when it began to be served
io -c 'write -P 3 0 1M'
strata volume set --bandwidth 1M d >/dev/null
begin=$(date +%s%N)
io -c 'read -P 3 0 1M' -c 'read -P 3 0 1M' -c 'read -P 3 0 1M'
took=$((($(date +%s%N) - begin) / 1000000))
[ $took -ge 900 ] || fail "3 MiB at 1 MiB a second took $took ms"
strata volume snapshot d s >/dev/null # below limits that came under load
io -c 'write -P 4 0 64k'
unserve d
strata volume snapshot --restore d s >/dev/null
serve d
io -c 'read -P 3 0 1M'
strata volume resize d 96M >/dev/null # below the limits
io -c 'write -P 5 95M 64k' -c 'read -P 5 95M 64k'
unserve d
strata volume delete --snapshots d >/dev/null

# ---- a trace, made again ----
echo "not a trace, but mine" >"$WORK/mine"
fails 1 strata volume create --size 8M --log "$WORK/mine" d
has "not over a file" "$OUT" "is no trace"
is "untouched" "$(cat "$WORK/mine")" "not a trace, but mine"
strata volume create --size 8M --log "$WORK/trace" d >/dev/null
strata volume create --size 8M e >/dev/null
serve d
io -c 'write -P 9 0 64k' -c 'read -P 9 0 64k' -c 'write -P 8 1M 64k' -c flush
unserve d
said=$(strata volume replay --json --at-once e "$WORK/trace")
has "reads alone" "$said" '"failed": 0'
serve e
io -c 'read -P 0 0 8M'
unserve e
said=$(strata volume replay --json --at-once --writes e "$WORK/trace")
has "all of it" "$said" '"skipped": 0'
serve e
io -c 'read -P 0x5a 0 64k' -c 'read -P 0x5a 1M 64k' -c 'read -P 0 64k 960k'
fails 1 strata volume replay e "$WORK/trace"
unserve e
fails 1 strata volume replay e "$WORK/mine"
strata volume set --log none d >/dev/null
strata volume delete d e >/dev/null

# ---- caches ----
strata pool create quick --member "$WORK/quick,class=fast" >/dev/null
for mode in write-through write-back; do
    strata volume create --size 64M --cache quick --cache-size 16M --cache-mode $mode d >/dev/null
    serve d
    is "a store" "$(find "$WORK/quick/layers" -type f | wc -l)" 1
    io -c 'write -P 1 0 8M' -c flush -c 'read -P 1 0 8M' -c 'read -P 1 0 64k' -c 'read -P 1 0 64k'
    [ "$(member d figures.cache.hits)" -ge 0 ] || fail "$mode: no figures"
    strata volume snapshot d s >/dev/null # the snapshot has what the cache held back
    io -c 'write -P 2 0 4M' -c 'write -P 2 32M 64k' -c flush
    strata volume clone d@s c >/dev/null
    strata volume backup d "$WORK/kept-$mode" >/dev/null
    io -c 'write -P 3 1M 64k' -c 'discard 6M 1M' -c flush
    kill_worker # what was flushed is in the store, or on the disk
    wait "$server" 2>/dev/null || true
    strata volume export d --file "$WORK/d.raw" >/dev/null
    said=$(qemu-io -r -f raw -c 'read -P 3 1M 64k' -c 'read -P 2 32M 64k' -c 'read -P 2 2M 2M' "$WORK/d.raw")
    case $said in *"verification failed"*) fail "$mode, killed: $said" ;; esac
    rm "$WORK/d.raw"
    said=$(qemu-io -r -f qcow2 -c 'read -P 2 0 4M' -c 'read -P 1 4M 4M' "$WORK/kept-$mode/0001.qcow2")
    case $said in *"verification failed"*) fail "$mode, backup: $said" ;; esac
    serve c
    io -c 'read -P 1 0 8M' -c 'read -P 0 32M 64k'
    unserve c
    serve d
    io -c 'read -P 3 1M 64k' -c 'read -P 2 2M 2M' -c 'read -P 1 4M 2M'
    strata volume resize d 80M >/dev/null
    io -c 'write -P 7 79M 64k'
    unserve d
    strata volume resize d 96M >/dev/null
    serve d
    io -c 'read -P 7 79M 64k' -c 'read -P 0 80M 16M' -c 'read -P 3 1M 64k' -c 'write -P 5 90M 64k'
    unserve d
    strata volume snapshot --restore d s >/dev/null
    serve d
    io -c 'read -P 1 0 8M' -c 'write -P 6 20M 64k'
    fails 1 strata volume set --cache none d
    has "in use" "$OUT" "end its exports"
    unserve d
    strata volume set --cache none d >/dev/null # writes back
    is "no store" "$(find "$WORK/quick/layers" -type f | wc -l)" 0
    serve d
    io -c 'read -P 6 20M 64k' -c 'read -P 1 0 8M'
    unserve d
    strata volume set --cache quick --cache-mode $mode --cache-size 16M d >/dev/null
    serve d
    io -c 'read -P 6 20M 64k' -c 'write -P 8 20M 64k'
    unserve d
    strata volume delete --snapshots c >/dev/null
    strata volume delete --snapshots d >/dev/null
    is "$mode: nothing is left" "$(layers)" 0
done
printf 'a passphrase' >"$WORK/key"
fails 1 strata volume create --size 8M --encrypt --key-file "$WORK/key" --cache quick --cache-mode write-back d
has "held back" "$OUT" "with the passphrase alone"
fails 1 strata volume create --size 8M --cache-size 16M d
fails 1 strata volume create --cache quick files
is "nothing was made" "$(layers)" 0

# ---- a store that is lost is left by force alone ----
strata volume create --size 8M --cache quick --cache-size 16M --cache-mode write-back d >/dev/null
serve d
io -c 'write -P 1 0 1M'
unserve d
dd if=/dev/urandom of="$(find "$WORK/quick/layers" -type f)" bs=4096 count=64 conv=notrunc status=none
fails 1 strata volume snapshot d s
has "said" "$OUT" "cannot be written back"
fails 1 strata volume set --cache none d
strata volume set --cache none --force d >/dev/null
serve d
io -c 'read -P 1 0 1M'
unserve d
strata volume delete d >/dev/null

# ---- checksums ----
# corrupt FILE TEXT [OFFSET]: change one byte so far behind the first place that has the text
corrupt() {
    python3 - "$1" "$2" "${3:-100}" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    data = f.read()
    at = data.find(sys.argv[2].encode())
    if at < 0:
        sys.exit("the text is not there")
    at += int(sys.argv[3])
    f.seek(at)
    f.write(bytes([data[at] ^ 0x40]))
PY
}
text() { # text TEXT: 64 KiB of it in $WORK/text
    python3 -c 'import sys; sys.stdout.write((sys.argv[1] * 65536)[:65536])' "$1" >"$WORK/text"
}
strata volume create --size 32M --checksum d >/dev/null
text "checked and found "
serve d
io -c "write -s $WORK/text 1M 64k" -c 'write -P 7 8M 64k'
unserve d
strata volume check d >"$WORK/rows" || fail "in order: $(cat "$WORK/rows")"
corrupt "$(find "$STATE/pool/layers" -type f)" "checked and found"
code=0
strata volume check d >"$WORK/rows" || code=$?
is "damage" $code 1
grep -q "damaged" "$WORK/rows" || fail "not found: $(cat "$WORK/rows")"
serve d
said=$(qemu-io -f raw -c 'read 1M 64k' "nbd:unix:$WORK/s" 2>&1) && fail "a wrong block was read: $said"
io -c 'read -P 7 8M 64k'
[ "$(member d figures.checksum.wrong_blocks)" -ge 1 ] || fail "not counted"
io -c "write -s $WORK/text 1M 64k" -c "read 1M 64k" # written anew
strata volume snapshot d s >/dev/null
io -c 'write -P 8 8M 4k'
strata volume clone d@s c >/dev/null
strata volume backup d "$WORK/kept-sums" >/dev/null
unserve d
said=$(qemu-io -r -f qcow2 -c 'read -P 8 8M 4k' -c 'read -P 7 8196k 60k' "$WORK/kept-sums/0001.qcow2")
case $said in *"verification failed"*) fail "backup: $said" ;; esac
serve c
io -c 'read -P 7 8M 64k' -c 'write -P 9 0 64k'
unserve c
is "every layer of both" "$(strata volume inspect --json d c | grep -c '"filter": "checksum"')" "$(strata volume inspect --json d c | grep -c '"arrangement"')"
strata volume resize d 64M >/dev/null
serve d
io -c 'read -P 8 8M 4k' -c 'write -P 4 60M 1M'
strata volume resize d 96M >/dev/null # below the image, and the image
io -c 'write -P 4 90M 1M' -c 'read -P 4 60M 1M'
unserve d
strata volume resize --shrink d 32M >/dev/null
strata volume move c default >/dev/null
strata volume snapshot --delete d s >/dev/null
strata volume check d >/dev/null || fail "after a merge"
serve d
io -c 'read -P 8 8M 4k' -c 'read -P 7 8196k 60k'
unserve d
strata volume delete --snapshots c d >/dev/null

# A mirror mends them.
strata pool create pair --redundancy mirror --member "$WORK/left" --member "$WORK/right" >/dev/null
strata volume create --size 32M --checksum --pool pair d >/dev/null
serve d
io -c "write -s $WORK/text 1M 64k" -c flush
unserve d
corrupt "$(find "$WORK/left/layers" -type f)" "checked and found"
code=0
strata volume check d >"$WORK/rows" || code=$?
is "damage of a mirror" $code 1
strata volume check --repair d >"$WORK/rows" || fail "mended: $(cat "$WORK/rows")"
strata volume check d >"$WORK/rows" || fail "still damaged: $(cat "$WORK/rows")"
corrupt "$(find "$WORK/right/layers" -type f)" "checked and found"
corrupt "$(find "$WORK/left/layers" -type f)" "checked and found" 9000
serve d
qemu-img convert -f raw -O raw "nbd:unix:$WORK/s" "$WORK/d.raw"
unserve d
dd if="$WORK/d.raw" bs=65536 skip=16 count=1 status=none | cmp - "$WORK/text" || fail "not mended when read"
strata volume check --repair d >/dev/null || fail "the copies that nobody read"
strata volume resize d 48M >/dev/null
serve d
strata volume resize d 64M >/dev/null
io -c "read 1M 64k" -c 'write -P 5 60M 64k' -c 'read -P 0 32M 28M'
unserve d
strata volume resize --shrink d 16M >/dev/null
strata volume check d >/dev/null || fail "after other sizes"
rm "$WORK/d.raw"
strata volume delete d >/dev/null

# ---- equal blocks once ----
strata volume create --size 64M --dedup d >/dev/null
python3 - "$WORK/blocks" <<'PY'
import random, sys
random.seed(4)
kinds = [random.randbytes(4096) for _ in range(16)]
with open(sys.argv[1], "wb") as f:
    for _ in range(4096):
        f.write(random.choice(kinds))
PY
serve d
nbdcopy "$WORK/blocks" "nbd+unix:///?socket=$WORK/s"
io -c flush
[ "$(member d figures.dedup.logical_blocks)" -ge 4096 ] || fail "logical: $(member d figures.dedup.logical_blocks)"
[ "$(member d figures.dedup.stored_blocks)" -le 20 ] || fail "stored: $(member d figures.dedup.stored_blocks)"
strata volume snapshot d s >/dev/null
io -c 'write -P 1 0 64k' -c flush
kill_worker
wait "$server" 2>/dev/null || true
strata volume check d >/dev/null || fail "references after a kill"
strata volume clone d@s c >/dev/null
strata volume export c --file "$WORK/c.raw" >/dev/null
cmp -n 16777216 "$WORK/blocks" "$WORK/c.raw" || fail "a clone of equal blocks"
strata volume delete c >/dev/null
strata volume snapshot --restore d s >/dev/null
serve d
dump "$WORK/d.raw"
cmp -n 16777216 "$WORK/blocks" "$WORK/d.raw" || fail "restored"
io -c 'discard 0 16M' -c flush
unserve d
[ "$(member d used_bytes)" -le 8000000 ] || fail "16 MiB in 16 kinds of blocks take $(member d used_bytes)"
strata volume delete --snapshots d >/dev/null
strata volume create --size 16M --dedup d >/dev/null
serve d
io -c "write -s $WORK/text 1M 64k" -c 'write -P 6 12M 1M' -c flush
unserve d
corrupt "$(find "$STATE/pool/layers" -type f)" "checked and found"
serve d # the block is not what its address says
said=$(qemu-io -f raw -c 'read 1M 64k' "nbd:unix:$WORK/s" 2>&1) && fail "a wrong block was read: $said"
io -c 'read -P 6 12M 1M'
[ "$(member d figures.dedup.damaged_blocks)" -ge 1 ] || fail "not counted"
io -c 'write -z 1M 64k' -c 'write -P 6 12M 1M'
strata volume resize d 32M >/dev/null
io -c 'write -P 7 31M 1M' -c 'read -P 6 12M 1M' -c 'read -P 0 16M 15M'
unserve d
strata volume resize --shrink d 8M >/dev/null
strata volume resize d 16M >/dev/null
serve d
io -c 'read -P 0 0 16M'
unserve d
strata volume check d >/dev/null || fail "references after other sizes"
strata volume delete d >/dev/null

# ---- tiers ----
strata pool create both --member "$WORK/slow" --member "$WORK/fast,class=fast" >/dev/null
fails 1 strata volume create --size 64M --tier 16M d # default: no fast member
has "no fast member" "$OUT" "class=fast"
strata volume create --size 64M --tier 16M --pool both d >/dev/null
serve d
io -c 'write -P 1 0 64M' -c 'read -P 1 0 64M'
for _ in 1 2 3 4 5 6; do
    set --
    for i in $(seq 1 400); do set -- "$@" -c 'read -P 1 50M 4k'; done
    qemu-io -r -f raw "$@" "nbd:unix:$WORK/s" >/dev/null
done
[ "$(member d figures.tier.moved_up)" -ge 1 ] || fail "nothing moved up"
[ "$(member d figures.tier.moved_down)" -ge 1 ] || fail "nothing made room for it"
io -c 'write -P 2 50M 64k'
strata volume snapshot d s >/dev/null
io -c 'write -P 3 50M 64k' -c 'read -P 1 10M 40M'
kill_worker
wait "$server" 2>/dev/null || true
serve d
io -c 'read -P 1 0 50M'
unserve d
strata volume snapshot --restore d s >/dev/null
serve d
io -c 'read -P 2 50M 64k' -c 'read -P 1 51M 13M'
unserve d
strata volume move d default >/dev/null 2>&1 && fail "snapshots moved"
strata volume delete --snapshots d >/dev/null
strata volume create --size 64M --tier 16M --pool both d >/dev/null
serve d
io -c 'write -P 4 0 32M'
strata volume resize d 96M >/dev/null
io -c 'write -P 5 90M 1M' -c 'read -P 4 0 32M'
unserve d
strata volume delete d >/dev/null
for words in "--checksum --dedup" "--checksum --tier 16M" "--tier 1M --pool both" \
    "--tier 16M --pool pair" "--dedup --encrypt --key-file $WORK/key"; do
    # shellcheck disable=SC2086
    fails 1 strata volume create --size 64M $words d
done
fails 1 strata volume create --size 1000k --dedup --size 1025000 d
is "nothing is left" "$(layers)" 0
