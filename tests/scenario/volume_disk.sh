#!/bin/sh
# Volumes that are disks: thin, resized, served over NBD with and without a client's
# good manners, kept while somebody uses them.
# rows: STO-11 STO-13 STO-32
. "$(dirname "$0")/lib.sh"
need_root
need_cmd nbdinfo nbdcopy qemu-io mkfs.ext4 blkid

strata volume create --size 100G big >/dev/null
strata volume create files >/dev/null
has "list" "$(strata volume list)" disk
used=$(strata volume inspect --json big)
LAYERS=$STATE/pool/layers
DISK=$(echo "$used" | sed -n 's/^ *"path": "\(.*\)",$/\1/p')
has "its size" "$used" '"size_bytes": 107374182400'
[ "$(du -sB1 "$LAYERS" | cut -f1)" -lt 1073741824 ] || fail "an empty disk takes room"
is "no format, no owner" "$(blkid -p "$DISK" || echo none)" none

# One mistake after the other.
fails 1 strata volume export files --nbd "$WORK/s"
has "a directory" "$OUT" "it is a directory"
fails 1 strata volume export big
has "how" "$OUT" "say how to serve it"
fails 1 strata volume export nothing --nbd "$WORK/s"
has "no such" "$OUT" "volume 'nothing' does not exist"
fails 1 strata volume resize big 1M
has "smaller" "$OUT" "would be lost"
fails 1 strata volume resize big 1000
has "sectors" "$OUT" "no multiple of 512"
fails 1 strata volume resize files 1M
has "a directory" "$OUT" "it is a directory"
if [ -x /bin/busybox ]; then
    need_busybox
    fails 125 strata run --rm --volume big:/data busybox true
    has "a container" "$OUT" "no file system on the disk"
fi

# Served: two file systems in turn, a copy out, and nobody else meanwhile.
"$STRATA" --state "$STATE" volume export big --nbd "$WORK/big.sock" >"$WORK/out" 2>&1 &
server=$!
on_exit() { kill "$server" 2>/dev/null || true; }
within 5 test -S "$WORK/big.sock"
uri="nbd+unix:///?socket=$WORK/big.sock"
within 5 grep -q "$uri" "$WORK/out"
is "size" "$(nbdinfo --size "$uri")" 107374182400
fails 1 strata volume delete big
has "deleted under a client" "$OUT" "it is being served"
fails 1 strata volume export big --nbd "$WORK/big.sock"
has "the same socket" "$OUT" "Address already in use"
fails 1 strata volume export big --once --nbd "$WORK/other.sock"
has "another server" "$OUT" "another process has it open"
truncate -s 64M "$WORK/fs"
for kind in ext4 ext2; do
    "mkfs.$kind" -qF "$WORK/fs"
    nbdcopy --flush "$WORK/fs" "$uri"
    nbdcopy "$uri" - | head -c 67108864 | cmp - "$WORK/fs" || fail "$kind reads back"
    is "$kind" "$(blkid -p -o value -s TYPE "$DISK")" $kind
done
qemu-io -f raw -c 'write -P 3 90G 64M' -c 'discard 90G 64M' "nbd:unix:$WORK/big.sock" >/dev/null
[ "$(du -sm "$LAYERS" | cut -f1)" -lt 80 ] || fail "a discard gives no room back"

# A server that is killed leaves no lock; what was flushed is there.
kill -KILL "$(pgrep -P "$server")"
wait "$server" && fail "a killed server is no success"
has "killed" "$(cat "$WORK/out")" "ended without a word"
is "after the kill" "$(blkid -p -o value -s TYPE "$DISK")" ext2
[ ! -e "$WORK/big.sock" ] || fail "the socket is left"

is "grown" "$(strata volume resize big 200G && strata volume inspect --json big | grep -c 214748364800)" "big
1"
strata volume resize --shrink big 1G >/dev/null
nothing=$("$STRATA" --state "$STATE" volume export --once --read-only --nbd "$WORK/once.sock" big &
    within 5 test -S "$WORK/once.sock"
    nbdinfo --size "nbd+unix:///?socket=$WORK/once.sock"
    wait)
has "once" "$nothing" 1073741824
[ ! -e "$WORK/once.sock" ] || fail "the socket is left"
strata volume delete big files >/dev/null
is "nothing is left" "$(ls "$STATE/volumes" "$LAYERS")" "$LAYERS:

$STATE/volumes:"
