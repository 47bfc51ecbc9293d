#!/bin/sh
# An encrypted disk in short (volume_key.sh has the rest): nobody reads it without the
# passphrase, a clone needs none to be made, another passphrase opens nothing.
# rows: STO-11
. "$(dirname "$0")/lib.sh"
need_root
need_cmd qemu-io
printf 'a passphrase' >"$WORK/key"
printf 'another' >"$WORK/wrong"
strata volume create --size 16M --encrypt --key-file "$WORK/key" d >/dev/null
file=$(strata volume inspect --json d | sed -n 's/^ *"path": "\(.*\)",$/\1/p')
serve() { # serve VOLUME
    "$STRATA" --state "$STATE" volume export "$1" --key-file "$WORK/key" --nbd "$WORK/$1.sock" >"$WORK/out" 2>&1 &
    server=$!
    within 60 grep -q nbd+unix "$WORK/out"
}
on_exit() { kill "${server:-}" 2>/dev/null || true; }
fails 1 strata volume export d --nbd "$WORK/s"
has "no key" "$OUT" "key-file"
fails 1 strata volume export d --key-file "$WORK/wrong" --nbd "$WORK/s"
[ ! -e "$WORK/s" ] || fail "a wrong passphrase leaves a socket"
serve d
printf 'plain text of nobody' >"$WORK/plain"
truncate -s 512 "$WORK/plain"
qemu-io -f raw -c "write -s $WORK/plain 1M 512" "nbd:unix:$WORK/d.sock" >/dev/null
kill "$server"
wait "$server" || true
grep -q 'text of nobody' "$file" && fail "it lies there in clear"
within 10 strata volume clone d c # while its server ends, it would take the passphrase
serve c
qemu-io -f raw -c 'read 1M 512' -c 'read -v 1M 512' "nbd:unix:$WORK/c.sock" >"$WORK/read"
grep -q 'plain.text.of' "$WORK/read" || fail "the clone reads otherwise"
kill "$server"
wait "$server" || true
within 10 strata volume delete --snapshots c
strata volume delete --snapshots d >/dev/null
