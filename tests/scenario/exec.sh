#!/bin/sh
# Exec: with and without a terminal, user, directory, environment, codes.
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox

tty() { python3 "$TOP/tests/scenario/at_terminal.py" "$STRATA" --state "$STATE" "$@"; }

strata run -d --name web -e COLOUR=blue -w /tmp busybox sleep 1000 >/dev/null
is "output" "$(strata exec web echo hi)" hi
is "its environment and directory" "$(strata exec web sh -c 'echo $COLOUR; pwd' | tr '\n' ' ')" \
    "blue /tmp "
is "added environment" "$(strata exec -e A=1 web sh -c 'echo $A $COLOUR')" "1 blue"
is "directory" "$(strata exec -w /etc web pwd)" /etc
is "user" "$(strata exec -u 1000:2000 web sh -c 'id -u; id -g' | tr '\n' ' ')" "1000 2000 "
is "user by name" "$(strata exec -u bin web id -un)" bin
is "input" "$(echo in | strata exec -i web cat)" in
is "no input unless asked" "$(echo in | strata exec web cat)" ""
is "standard error" "$(strata exec web sh -c 'echo e >&2' 2>&1 >/dev/null)" e
is "same guest" "$(strata exec web hostname)" web
has "same processes" "$(strata exec web ps)" "sleep 1000"
fails 4 strata exec web sh -c 'exit 4'
fails 143 strata exec web sh -c 'kill -TERM $$'
fails 127 strata exec web nonesuch
fails 126 strata exec web /etc/passwd
fails 125 strata exec nobody true
fails 125 strata exec -u nobody-here web true
head -c 300000 /dev/urandom >"$WORK/bytes"
is "bytes, both ways" "$(strata exec -i web cat <"$WORK/bytes" | sha256sum)" \
    "$(sha256sum <"$WORK/bytes")"

tty exec -it web sh >"$WORK/out" <<'EOF' || fail "exec -it: $(cat "$WORK/out")"
expect #
size 30 90
send sleep 0.2; stty size\r
expect 30 90
send exit 0\r
EOF
code=0
printf '%s\n' 'expect #' 'send exit 3\r' | tty exec -it web sh >/dev/null || code=$?
is "code over a terminal" "$code" 3

is "detached returns at once" "$(strata exec -d web sh -c 'sleep 0.3; echo 1 >/tmp/done')" ""
within 5 strata exec web test -e /tmp/done
strata kill web >/dev/null
fails 125 strata exec web true
