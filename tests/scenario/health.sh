#!/bin/sh
# Health checks: starting, healthy, unhealthy after N failures, healthy again.
. "$(dirname "$0")/lib.sh"
need_root
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
strata stop -t 0s slow >/dev/null
