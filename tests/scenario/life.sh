#!/bin/sh
# The life of a guest: create, start, stop, kill, restart, pause, resume, delete.
# rows: OPS-01 OPS-02 OPS-05 OPS-06
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

state() { strata list --json | python3 -c "import json, sys
for guest in json.load(sys.stdin):
    if guest['name'] == '$1': print(guest['state'])"; }
need_cmd python3

strata create --name web busybox sh -c 'trap "exit 4" TERM; while :; do sleep 0.1; done' >/dev/null
is "created" "$(state web)" created
fails 1 strata stop nobody
has "unknown guest" "$OUT" "'nobody' does not exist"
strata stop web >/dev/null # no error
is "start prints the name" "$(strata start web)" web
is "running" "$(state web)" running
fails 1 strata start web
has "start twice" "$OUT" running
fails 1 strata delete web
has "delete while it runs" "$OUT" "stop it first"

strata pause web >/dev/null
is "paused" "$(state web)" paused
fails 1 strata pause web
fails 125 strata exec web true
strata resume web >/dev/null
is "resumed" "$(state web)" running
fails 1 strata resume web

sleep 0.3 # its handler must be set
strata stop web >/dev/null
is "stopped" "$(state web)" stopped
is "its own code" "$(strata wait web)" 4
strata restart web >/dev/null # of a stopped guest: a start
is "restarted" "$(state web)" running
pid=$(strata inspect --json web | grep -o '"pid": *[0-9]*' | head -n 1)
strata restart -t 0s web >/dev/null
[ "$(strata inspect --json web | grep -o '"pid": *[0-9]*' | head -n 1)" != "$pid" ] ||
    fail "restart kept the process"

strata pause web >/dev/null
strata stop -t 5s web >/dev/null # a paused guest can be stopped
is "stopped while paused" "$(state web)" stopped
strata start web >/dev/null
strata kill web >/dev/null
is "killed" "$(strata wait web)" 137
fails 1 strata kill web
strata start web >/dev/null
strata delete --force web >/dev/null
is "deleted" "$(guests)" ""
is "no files are left" "$(ls -A "$STATE/guests" "$STATE/run/guests" | grep -v ':$' | tr -d '\n')" ""
