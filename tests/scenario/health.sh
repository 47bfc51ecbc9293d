#!/bin/sh
# Health checks: starting, healthy, unhealthy after N failures, healthy again.
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox

health() { strata list --json | grep -o '"health": *"[a-z]*"' | grep -o '[a-z]*"$' | tr -d '"'; }
healthy_is() { [ "$(health)" = "$1" ]; }

strata run -d --name web --health-cmd 'test -e /well' --health-interval 200ms \
    --health-timeout 1s --health-retries 2 busybox sleep 1000 >/dev/null
is "begins" "$(health)" starting
within 10 healthy_is unhealthy
strata exec web touch /well
strata wait --for healthy --timeout 10s web
is "well" "$(health)" healthy
strata exec web rm /well
within 10 healthy_is unhealthy
has "told as an event" "$(strata events)" unhealthy
strata delete --force web >/dev/null

# A check that hangs counts as failed.
strata run -d --name slow --health-cmd 'sleep 100' --health-interval 100ms \
    --health-timeout 300ms --health-retries 1 busybox sleep 1000 >/dev/null
within 10 healthy_is unhealthy
last() { # FIELD - of the last check that inspect shows
    strata inspect --json slow | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['health']['checks'][-1]['$1'])"
}
is "its time was up" "$(last timed_out)" True
left=$(strata exec slow sh -c 'pidof sleep | wc -w') # the guest's own, and perhaps the next check's
[ "$left" -le 2 ] || fail "checks are left running: $left"
strata stop -t 0s slow >/dev/null

# What the checks said: the last five, without a guest's tricks.
strata run -d --name talk --health-cmd 'echo said; printf "\377\033[31m" >&2; exit 3' \
    --health-interval 50ms --health-retries 1 busybox sleep 1000 >/dev/null
within 10 healthy_is unhealthy
five() { [ "$(strata inspect --json talk | grep -c '"exit_code": 3')" = 5 ]; }
within 10 five
is "its output" "$(strata inspect --json talk | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['health']['checks'][-1]['output'] == 'said\\n?\\033[31m')")" True
case $(strata inspect talk) in *"$(printf '\033')"*) fail "escapes reach the terminal" ;; esac
sleep 0.5
five || fail "more are kept"
strata stop -t 0s talk >/dev/null
