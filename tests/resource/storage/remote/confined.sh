#!/bin/sh
# A server of a remote disk, confined as it is, finds a target again that was killed.
#
#     confined.sh VOLUME-PROGRAM ISCSI-SERVE-PROGRAM
set -eu
volume=$1
serve=$2
work=$(mktemp -d /var/tmp/remote-confined-XXXXXX)
target='' server=''
finish() {
    for pid in $target $server; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
fail() {
    echo "FAIL: $*" >&2
    exit 1
}
command -v qemu-io >/dev/null || { echo "skipped: qemu-io is not installed"; exit 77; }
port=$((20000 + $$ % 20000))
start() {
    "$serve" portal=127.0.0.1:$port user=me secret=a-secret-of-16-b target=iqn.2024-01.t:a file="$work/disk" \
        >"$work/out" 2>&1 &
    target=$!
    for i in $(seq 100); do
        grep -q ready "$work/out" && return 0
        sleep 0.05
    done
    fail "no target: $(cat "$work/out")"
}
io() {
    qemu-io -f raw "$@" "nbd+unix:///?socket=$work/socket" >"$work/io" 2>&1 || fail "qemu-io: $(cat "$work/io")"
    ! grep -q 'rror\|failed' "$work/io" || fail "qemu-io: $(cat "$work/io")"
}
truncate -s 16M "$work/disk"
start
# `localhost` is looked up before, and its address is what counts afterwards.
"$volume" nbd "node=d,iscsi,url=iscsi://me%a-secret-of-16-b@localhost:$port/iqn.2024-01.t:a/0" \
    socket="$work/socket" 3>"$work/said" &
server=$!
for i in $(seq 100); do
    [ ! -S "$work/socket" ] || break
    sleep 0.05
done
io -c 'write -P 7 1M 1M' -c flush
kill -9 "$target"
wait "$target" 2>/dev/null || true
io -c 'read -P 7 1M 1M' -c 'write -P 8 2M 1M' -c flush -c 'read -P 8 2M 1M' &
waiting=$!
sleep 1
start
wait "$waiting" || fail "no answer after the target came back"
kill "$server"
wait "$server" || fail "the server ended badly: $(cat "$work/said")"
server=''
od -An -tx1 -j 2097152 -N 1 "$work/disk" | grep -q 08 || fail "what was written is not there"
