#!/bin/sh
# A disk goes from pool to pool while a client writes to it: its name and what it reads stay
# the same, also when the command is killed on the way.
# timeout: 300
# rows: STO-02 DC-21
. "$(dirname "$0")/lib.sh"
need_root
need_cmd qemu-img qemu-io python3
path() { strata volume inspect --json "$1" | sed -n 's/^ *"path": "\(.*\)",$/\1/p'; }
servers=
on_exit() { for pid in $servers; do kill "$pid" 2>/dev/null || true; done; }
io() {
    said=$(qemu-io -f raw "$@" "nbd:unix:$WORK/s") || fail "$*: $said"
    case $said in *"verification failed"*) fail "$*: $said" ;; esac
}

strata pool create here --member "$WORK/here" >/dev/null
strata pool create there --member "$WORK/there" >/dev/null
strata volume create --size 64M --pool here d >/dev/null
"$STRATA" --state "$STATE" volume export d --nbd "$WORK/s" >"$WORK/out" 2>&1 &
servers=$!
within 10 grep -qs nbd+unix "$WORK/out"
io -c 'write -P 1 0 32M'

# Somebody counts up in a block all the time; what was flushed last must be there in the end.
python3 - "$WORK/s" "$WORK/count" <<'PY' &
import os, subprocess, sys
n = 0
while True:
    n += 1
    r = subprocess.run(["qemu-io", "-f", "raw", "-c", f"write -P {n % 250 + 1} 40M 64k", "-c", "flush",
                        f"nbd:unix:{sys.argv[1]}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if r.returncode != 0:
        break
    with open(sys.argv[2] + ".new", "w") as f:
        f.write(str(n % 250 + 1))
    os.replace(sys.argv[2] + ".new", sys.argv[2])
PY
writer=$!
servers="$servers $writer"
within 10 test -s "$WORK/count"
for pool in there here there; do
    strata volume move d $pool >/dev/null
    has "moved" "$(path d)" "$WORK/$pool/layers/"
    io -r -c 'read -P 1 0 32M'
done
is "nothing stays" "$(ls "$WORK/here/layers")" ""
strata volume snapshot d kept >/dev/null # under way: from the new place on
fails 1 strata volume move d here
has "snapshots" "$OUT" "it has snapshots"
strata volume snapshot --delete d kept >/dev/null

# Killed at each step: before both are alike the old one stays, from the record on the next
# command finds out from the server where it is.
if grep -qa STRATA_FAULT "$STRATA"; then
    for step in layer.made move.alike move.announced move.gone-over move.recorded release.announced \
        release.recorded; do
        STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" volume move d here >/dev/null 2>&1 || true
        strata volume resize d 64M >/dev/null || fail "the next command after $step"
        io -r -c 'read -P 1 0 32M'
        is "$step: one place" "$(find "$WORK/here/layers" "$WORK/there/layers" -type f | wc -l)" \
            "$(strata volume inspect --json d | grep -c '"arrangement"')"
        strata volume move d there >/dev/null || fail "moved after $step"
    done
fi
kill $writer
wait $writer 2>/dev/null || true
sleep 1
kill "${servers%% *}"
wait "${servers%% *}" || fail "the server"
within 5 sh -c '"$STRATA" --state "$STATE" volume inspect d | grep -q "state: ok"'
said=$(qemu-io -r -f "$(strata volume inspect --json d | sed -n 's/^ *"format": "\(.*\)",$/\1/p' | head -1)" \
    -c "read -v 40M 512" "$(path d)" | sed -n 's/^[0-9a-f]*:  *\([0-9a-f]*\) .*/\1/p' | head -1)
last=$(cat "$WORK/count")
[ $((0x$said)) = "$last" ] || [ $((0x$said)) = $((last % 250 + 1)) ] || fail "what was flushed: $((0x$said)), not $last"
strata volume delete d >/dev/null
is "nothing is left" "$(find "$WORK/here/layers" "$WORK/there/layers" -type f)" ""
