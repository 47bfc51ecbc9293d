#!/bin/sh
# `run` in the foreground: output, input, exit codes, signals, nothing kept.
# rows: OPS-01
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

is "output" "$(strata run --rm busybox -- echo hello)" hello
is "standard error apart" "$(strata run --rm busybox sh -c 'echo no >&2; echo yes' 2>/dev/null)" yes
is "input" "$(echo typed | strata run --rm -i busybox cat)" typed
is "no input unless asked" "$(echo typed | strata run --rm busybox cat)" ""
head -c 3000000 /dev/urandom >"$WORK/bytes"
is "bytes, both ways" "$(strata run --rm -i busybox cat <"$WORK/bytes" | sha256sum)" \
    "$(sha256sum <"$WORK/bytes")"

fails 3 strata run --rm busybox sh -c 'exit 3'
fails 127 strata run --rm busybox nonesuch
has "127 names the program" "$OUT" "cannot run 'nonesuch'"
fails 126 strata run --rm busybox /etc/passwd
fails 125 strata run --rm nosuch-image true
has "125 names the image" "$OUT" "nosuch-image"
is "nothing is kept" "$(guests)" ""

# A signal to the command reaches the guest, which may handle it.
"$STRATA" --state "$STATE" run --rm busybox sh -c 'trap "echo caught; exit 9" TERM; echo ready
    while :; do sleep 0.1; done' >"$WORK/out" &
run=$!
within 10 grep -q ready "$WORK/out"
kill -TERM $run
code=0
wait $run || code=$?
is "code of the handler" "$code" 9
is "output of the handler" "$(tail -n 1 "$WORK/out")" caught

strata run -d --rm --name short busybox true >/dev/null
gone() { [ -z "$(guests)" ]; }
within 5 gone
is "no files are left" "$(ls "$STATE/guests" "$STATE/run/guests" | grep -v :)" ""
fails 125 strata run --rm --restart always busybox true
has "contradiction" "$OUT" "--rm"

# A guest in the background keeps nothing of what its caller has open.
echo mine >"$WORK/mine"
exec 7<"$WORK/mine"
strata run -d --name apart -p $((20000 + $$ % 20000)):80 busybox sleep 1000 >/dev/null
exec 7<&-
is "descriptors of the caller" "$(find /proc/[0-9]*/fd -lname "$WORK/mine" 2>/dev/null)" ""
strata delete --force apart >/dev/null
