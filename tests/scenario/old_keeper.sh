#!/bin/sh
# An older keeper under a newer command: unknown or missing words in its status.
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

strata run -d --name web busybox sleep 1000 >/dev/null
file=$(ls "$STATE"/run/guests/*/status)
cp "$file" "$WORK/status"
put() { # into the file itself, as a keeper does
    printf '%-511s\n' "$1" | dd of="$file" conv=notrunc status=none
}
pid=$(grep -o '"pid":[0-9]*' "$file" | grep -o '[0-9]*')

put "{\"state\":\"running\",\"pid\":$pid,\"colour\":\"blue\",\"more\":{\"a\":[1,2]}}"
has "unknown words" "$(strata list)" running
strata exec web true
put "{\"state\":\"running\",\"pid\":$pid}"
has "missing words" "$(strata list)" running
strata inspect web >/dev/null
put '{}'
strata list >/dev/null
put 'not json'
has "no sense: it holds the lock, so it runs" "$(strata list)" running
put ''
has "empty" "$(strata list)" running
strata stop -t 0s web >/dev/null # by its socket, whatever the file says
has "stopped" "$(strata list)" stopped
strata start web >/dev/null
is "and again" "$(strata exec web echo yes)" yes
