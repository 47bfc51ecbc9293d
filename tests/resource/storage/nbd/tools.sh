#!/bin/sh
# The NBD server against clients from Debian: nbdinfo, nbdcopy, qemu-img, qemu-io.
# rows: STO-11
#
#     tools.sh VOLUME-PROGRAM
set -eu
volume=$1
work=$(mktemp -d /var/tmp/nbd-tools-XXXXXX)
pids=
finish() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
fail() {
    echo "FAIL: $*" >&2
    exit 1
}
for tool in nbdinfo nbdcopy qemu-img qemu-io openssl; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done

# serve NAME WORD...: start a server; its socket is $work/NAME.sock
serve() {
    name=$1
    shift
    "$volume" nbd socket="$work/$name.sock" "$@" >"$work/$name.out" 2>&1 &
    pids="$pids $!"
    last=$!
    for i in $(seq 100); do
        [ -S "$work/$name.sock" ] && return 0
        sleep 0.05
    done
    fail "the server does not listen: $(cat "$work/$name.out")"
}

# a file with data, holes, and data at its end
truncate -s 64M "$work/disk"
dd if=/dev/urandom of="$work/disk" bs=64k count=50 conv=notrunc status=none
dd if=/dev/urandom of="$work/disk" bs=64k count=9 seek=800 conv=notrunc status=none
dd if=/dev/urandom of="$work/disk" bs=4096 count=1 seek=16383 conv=notrunc status=none
cp --sparse=always "$work/disk" "$work/same"

for driver in ring crew; do
    serve $driver file="$work/disk" driver=$driver name=data description="a disk" resizable
    uri="nbd+unix:///data?socket=$work/$driver.sock"
    nbdinfo "$uri" >"$work/info"
    grep -q 'export-size: 67108864' "$work/info" || fail "size: $(cat "$work/info")"
    grep -q 'description: a disk' "$work/info" || fail "description"
    for can in flush fua multi_conn trim zero fast_zero df cache; do
        grep -q "can_$can: true" "$work/info" || fail "can $can"
    done
    nbdinfo --list "nbd+unix:///?socket=$work/$driver.sock" | grep -q 'export="data"' || fail "list"
    nbdinfo --map "$uri" >"$work/map"
    awk '$3 == 3 { hole += $2 } { all += $2 } END { exit !(hole > 50000000 && all == 67108864) }' \
        "$work/map" || fail "map: $(cat "$work/map")"
    nbdcopy "$uri" "$work/copy"
    cmp "$work/copy" "$work/same" || fail "$driver: what nbdcopy reads"
    qemu-img compare -f raw -F raw "nbd:unix:$work/$driver.sock:exportname=data" "$work/same" >/dev/null ||
        fail "$driver: what qemu-img reads"

    # it has given up what it does not need
    status=$(cat "/proc/$last/status")
    for line in 'CapEff:.0000000000000000' 'CapBnd:.0000000000000000' 'NoNewPrivs:.1' 'Seccomp:.2'; do
        echo "$status" | grep -q "$line" || [ "$(id -u)" != 0 ] || fail "not confined: $line"
    done
    [ "$(readlink "/proc/$last/ns/net")" != "$(readlink /proc/self/ns/net)" ] || [ "$(id -u)" != 0 ] ||
        fail "not confined: the network"

    # four connections write side by side; then flush, zero, trim, a write with FUA
    dd if=/dev/urandom of="$work/new" bs=1M count=64 status=none
    nbdcopy --connections=4 --requests=32 "$work/new" "$uri"
    cmp "$work/disk" "$work/new" || fail "$driver: what nbdcopy wrote"
    qemu-io -f raw -c 'write -P 7 1M 3M' -c 'write -z 2M 64k' -c 'write -zu 3M 64k' \
        -c 'discard 40M 1M' -c 'write -f -P 9 50M 4k' -c 'write -P 5 513 511' -c flush \
        -c 'read -P 7 1M 1M' -c 'read -P 0 2M 64k' -c 'read -P 0 3M 64k' -c 'read -P 9 50M 4k' \
        "nbd:unix:$work/$driver.sock:exportname=data" >"$work/io" 2>&1 || fail "qemu-io: $(cat "$work/io")"
    ! grep -q 'Pattern verification failed\|error' "$work/io" || fail "qemu-io: $(cat "$work/io")"
    nbdinfo "nbd+unix:///nothing?socket=$work/$driver.sock" >/dev/null 2>&1 && fail "an export of another name"
    kill $last
    wait $last || fail "it ended badly: $(cat "$work/$driver.out")"
    [ ! -e "$work/$driver.sock" ] || fail "the socket is left"
    grep -qx ok "$work/$driver.out" || fail "no ok at the end"
    cp --sparse=always "$work/same" "$work/disk"
done

# read only
serve ro file="$work/same" read-only
nbdinfo --is readonly "nbd+unix:///?socket=$work/ro.sock" >/dev/null || fail "not read only"
qemu-io -f raw -c 'write 0 512' "nbd:unix:$work/ro.sock" >/dev/null 2>&1 && fail "written though read only"

# once: it ends with its client; another server may not have the same file
serve once file="$work/disk" once
"$volume" nbd file="$work/disk" socket="$work/two.sock" >"$work/two.out" 2>&1 && fail "two writers"
grep -q 'another process has it open' "$work/two.out" || fail "two writers: $(cat "$work/two.out")"
nbdinfo --size "nbd+unix:///?socket=$work/once.sock" >/dev/null
wait $last || fail "once: $(cat "$work/once.out")"

# TLS with certificates, and nothing without
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority \
    -keyout "$work/ca-key.pem" -out "$work/ca-cert.pem" 2>/dev/null
for who in server client; do
    openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$work/$who-key.pem" \
        -out "$work/$who.csr" 2>/dev/null
    printf 'subjectAltName=DNS:localhost\n' >"$work/ext"
    openssl x509 -req -days 2 -in "$work/$who.csr" -CA "$work/ca-cert.pem" -CAkey "$work/ca-key.pem" \
        -CAcreateserial -extfile "$work/ext" -out "$work/$who-cert.pem" 2>/dev/null
done
serve tls file="$work/same" read-only tls="$work" tls-verify
uri="nbds+unix://localhost/?socket=$work/tls.sock&tls-certificates=$work"
nbdinfo "$uri" >"$work/info" || fail "TLS"
grep -q 'with TLS' "$work/info" || fail "TLS: $(cat "$work/info")"
nbdcopy "$uri" "$work/copy"
cmp "$work/copy" "$work/same" || fail "what nbdcopy reads through TLS"
nbdinfo "nbd+unix:///?socket=$work/tls.sock" >/dev/null 2>&1 && fail "served without TLS"
mkdir "$work/none"
cp "$work/ca-cert.pem" "$work/none"
nbdinfo "nbds+unix://localhost/?socket=$work/tls.sock&tls-certificates=$work/none" >/dev/null 2>&1 &&
    fail "served a client without a certificate"

# words that make no sense
"$volume" nbd file="$work/disk" 2>/dev/null >"$work/out" && fail "no socket"
grep -q 'no socket is named' "$work/out" || fail "no socket: $(cat "$work/out")"
"$volume" nbd socket=x fil=y >"$work/out" 2>&1 && fail "an unknown word"
grep -q "'fil' is no word" "$work/out" || fail "an unknown word: $(cat "$work/out")"
"$volume" nbd socket=x file="$work/nothing" >"$work/out" 2>&1 && fail "no file"
"$volume" dance >"$work/out" 2>&1 && fail "an unknown operation"
echo ok
