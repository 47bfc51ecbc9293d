#!/bin/sh
# A disk that is served: by several commands at once,
# while it is kept, cloned, resized, backed up; commands and the server are killed at it.
# timeout: 300
# rows: STO-13 STO-32 OPS-04 OPS-10
. "$(dirname "$0")/lib.sh"
need_root
need_cmd qemu-img qemu-io nbdinfo nbdcopy python3
path() { strata volume inspect --json "$1" | sed -n 's/^ *"path": "\(.*\)",$/\1/p'; }
servers=
on_exit() { for pid in $servers; do kill "$pid" 2>/dev/null || true; done; }
# serve NAME SOCKET [OPTION...] - in the background; its process in $server
serve() {
    name=$1 at=$2
    shift 2
    "$STRATA" --state "$STATE" volume export "$name" --nbd "$WORK/$at" "$@" >"$WORK/$at.out" 2>&1 &
    server=$!
    servers="$servers $server"
    within 10 grep -qs 'nbd+unix' "$WORK/$at.out"
}
io() {
    at=$1
    shift
    said=$(qemu-io -f raw "$@" "nbd:unix:$WORK/$at") || fail "$at: $said"
    case $said in *"verification failed"*) fail "$at $*: $said" ;; esac
}
# The process that has the disks of this state open.
worker() {
    for fd in /proc/[0-9]*/fd/*; do
        case $(readlink "$fd" 2>/dev/null) in "$STATE"/pool/layers/*)
            p=${fd#/proc/}
            echo "${p%%/*}"
            return
            ;;
        esac
    done
}

strata volume create --size 64M d >/dev/null
serve d one
serve d two --read-only
io one -c 'write -P 1 1M 64k'
io two -r -c 'read -P 1 1M 64k'
has "read only" "$(nbdinfo "nbd+unix:///?socket=$WORK/two")" "is_read_only: true"
is "one worker" "$(find "$STATE/run/volumes" -name 'd.sock' | wc -l)" 1
has "in use" "$(strata volume inspect d)" "state: in use"

# Kept and cloned under its clients; the name is that of what was there then.
strata volume snapshot d s1 >/dev/null
io one -c 'write -P 2 1M 64k'
strata volume clone d c1 >/dev/null
strata volume clone d@s1 c2 >/dev/null
io one -c 'write -P 3 1M 64k' -c 'write -P 3 60M 1M'
io two -r -c 'read -P 3 1M 64k'
for want in "c1 2" "c2 1"; do
    said=$(qemu-io -r -f qcow2 -c "read -P ${want#* } 1M 64k" "$(path "${want% *}")")
    case $said in *"verification failed"*) fail "the clone ${want% *}" ;; esac
done
fails 1 strata volume snapshot --restore d s1
has "restored under a client" "$OUT" "it is being served"

# Grown: a client that comes now sees it, one that was there reads on.
strata volume resize d 128M >/dev/null
is "grown" "$(nbdinfo --size "nbd+unix:///?socket=$WORK/one")" 134217728
io one -c 'write -P 4 127M 1M'

# Backed up while it is written; nothing that a client was told is written is missing.
(while :; do qemu-io -f raw -c 'write -P 9 10M 4M' -c flush "nbd:unix:$WORK/one" >/dev/null 2>&1 || break; done) &
writer=$!
servers="$servers $writer"
strata volume backup d "$WORK/kept" >/dev/null
io one -c 'write -P 5 20M 64k'
strata volume backup d "$WORK/kept" >/dev/null
kill $writer
wait $writer 2>/dev/null || true
said=$(qemu-io -r -c 'read -P 5 20M 64k' -c 'read -P 4 127M 1M' "$WORK/kept/0002.qcow2")
case $said in *"verification failed"*) fail "the backup" ;; esac
qemu-img check -q "$WORK/kept/0002.qcow2"

# Snapshots that nobody needs any more go while it is written; what stands on them names
# what they went into, also where that does not change itself.
strata volume create --size 16M m >/dev/null
serve m four
for i in 1 2 3 4; do
    io four -c "write -P $i ${i}M 1M" -c flush
    strata volume snapshot m "s$i" >/dev/null
done
io four -c 'write -P 5 5M 1M' -c flush
chain() { qemu-img info -U --backing-chain "$(path m)" | grep -c '^image:'; }
is "five layers" "$(chain)" 5
for gone in "s1 4" "s4 3" "s2 2" "s3 1"; do
    strata volume snapshot --delete m "${gone% *}" >/dev/null
    is "without ${gone% *}" "$(chain)" "${gone#* }"
    io four -c 'read -P 1 1M 1M' -c 'read -P 2 2M 1M' -c 'read -P 3 3M 1M' -c 'read -P 4 4M 1M' -c 'read -P 5 5M 1M'
done
kill -TERM $server
wait $server || true
within 10 sh -c '"$STRATA" --state "$STATE" volume inspect m | grep -q "state: ok"'
said=$(qemu-io -r -c 'read -P 1 1M 1M' -c 'read -P 5 5M 1M' -c 'read -P 0 6M 10M' "$(path m)")
case $said in *"verification failed"*) fail "merged in use: $said" ;; esac

# A command that is killed on the way leaves what the next one finishes.
if grep -qa STRATA_FAULT "$STRATA"; then
    n=0
    for step in layer.made live.recorded live.forked live.settled; do
        n=$((n + 1))
        io one -c "write -P $((n + 20)) 30M 64k"
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume snapshot d "k$n" >/dev/null 2>&1 || true
        io one -c "write -P $((n + 40)) 30M 64k"
        strata volume clone d "after$n" >/dev/null || fail "the next command after $step"
        io one -c "write -P $((n + 60)) 30M 64k"
        said=$(qemu-io -r -f qcow2 -c "read -P $((n + 40)) 30M 64k" "$(path "after$n")")
        case $said in *"verification failed"*) fail "a clone after a kill at $step" ;; esac
    done
fi

# A worker that is killed: what was flushed is there, and the next export goes on with it.
io one -c 'write -P 7 40M 64k' -c flush
kill -KILL "$(worker)"
within 10 grep -q "ended without a word" "$WORK/one.out"
serve d three
io three -r -c 'read -P 7 40M 64k'
kill -TERM $server
wait $server || fail "an interrupted export is no failure"
[ ! -e "$WORK/three" ] || fail "the socket is left"
within 10 sh -c '"$STRATA" --state "$STATE" volume inspect d | grep -q "state: ok"'
strata volume check d >/dev/null
for file in "$STATE"/pool/layers/*; do
    case $(qemu-img info "$file" | sed -n 's/^file format: //p') in
    qcow2) qemu-img check -q "$file" || fail "qemu-img check" ;;
    esac
done

for name in $(strata volume list --quiet); do
    within 5 "$STRATA" --state "$STATE" volume delete --snapshots "$name" >/dev/null 2>&1
done
is "nothing is left" "$(ls "$STATE/pool/layers")" ""
