#!/bin/sh
# Console: attach, detach by keys, several viewers, size of the terminal.
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox

tty() { python3 "$TOP/tests/scenario/at_terminal.py" "$STRATA" --state "$STATE" "$@"; }

# A shell on a terminal; the keys leave it running.
tty run -it --name sh busybox sh >"$WORK/out" <<'EOF' || fail "run -it: $(cat "$WORK/out")"
expect #
send stty size; tty\r
expect 24 80
expect /dev/
size 40 100
send sleep 0.2; stty size\r
expect 40 100
send X=kept\r
expect #
send \x10\x11
EOF
has "it still runs" "$(strata list)" running

tty console sh >"$WORK/out" <<'EOF' || fail "console: $(cat "$WORK/out")"
send echo $X\r
expect kept
send \x10\x11
EOF

# Two viewers see the same.
"$STRATA" --state "$STATE" console --no-input sh >"$WORK/viewer1" &
first=$!
"$STRATA" --state "$STATE" console --no-input sh >"$WORK/viewer2" &
second=$!
sleep 0.3
tty console sh >"$WORK/out" <<'EOF' || fail "third viewer: $(cat "$WORK/out")"
send echo to-$((40+2))-all\r
expect to-42-all
send \x10\x11
EOF
within 5 grep -q to-42-all "$WORK/viewer1"
within 5 grep -q to-42-all "$WORK/viewer2"

# The end of the guest ends them with its code.
tty console sh >"$WORK/out" <<'EOF' && fail "the code of the guest is lost"
send exit 5\r
expect exit
EOF
code=0
wait $first || code=$?
is "code at the first viewer" "$code" 5
code=0
wait $second || code=$?
is "code at the second viewer" "$code" 5
is "code of the guest" "$(strata wait sh)" 5

# Without a terminal: input by a pipe, to its end.
strata run -di --name pipe busybox cat >/dev/null
is "piped console" "$(printf 'a\nb\n' | strata console pipe | tr '\n' ' ')" "a b "
