#!/bin/sh
# `strata oci` as engines call it: descriptors handed on, a root without pivot, figures,
# capabilities and groups of one more program, and where failures are told.
# rows: OSL-10 OSL-11
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_oci.sh"
need_root
need_cmd python3

# Descriptors: those that are asked for, and no others.
echo handed >"$WORK/three"
echo on >"$WORK/four"
open_three() { exec 3<"$WORK/three" 4<"$WORK/four" 5<"$WORK/four"; }
bundle fds "sh('cat <&3; cat <&4; ls /proc/self/fd | grep -c .; echo [\$LISTEN_FDS \$LISTEN_PID]')"
open_three
is "two are handed on" "$(oci run --bundle "$WORK/fds" --preserve-fds 2 one | tr '\n' ' ')" \
    "handed on 6 [ ] "
open_three
is "sockets of a service manager" \
    "$(LISTEN_FDS=1 oci run --bundle "$WORK/fds" --preserve-fds 1 two | tr '\n' ' ')" \
    "handed on 6 [1 1] "
exec 3<&- 4<&- 5<&-
fails 1 oci run --bundle "$WORK/fds" --preserve-fds 40 three
has "what is missing" "$OUT" "it is not open"

# One more program has its own.
bundle web "args('/bin/sleep', '1000')"
oci create --bundle "$WORK/web" --pid-file "$WORK/pid" web
is "state" "$(oci state web | python3 -c 'import json,sys; print(json.load(sys.stdin)["status"])')" created
oci start web
exec 3<"$WORK/three"
is "exec hands on" "$(oci exec --preserve-fds 1 web /bin/sh -c 'cat <&3')" handed
exec 3<&-
caps() { oci exec "$@" web /bin/grep CapEff /proc/self/status | cut -f 2; }
own=$(caps)
more=$(caps --cap CAP_SYS_PTRACE)
is "one more capability" "$((0x$more & ~0x$own))" "$((1 << 19))"
fails 0 oci exec --cap CAP_NONSENSE web /bin/true # runtime-spec: a warning
is "no capability" "$(echo "$OUT" | grep -c "'CAP_NONSENSE' is unknown")" 1
is "user and group" "$(oci exec --user 7:8 web /bin/id -u -g 2>/dev/null || oci exec --user 7:8 web /bin/sh -c 'echo $(id -u)')" 7
is "more groups" "$(oci exec --user 7:8 -g 9 -g 10 web /bin/id -G)" "8 9 10"
is "more groups of its own user" "$(oci exec -g 9 web /bin/id -G)" "0 9"
is "environment" "$(oci exec -e A=1 --env B=2 web /bin/sh -c 'echo $A$B')" 12
is "directory" "$(oci exec --cwd /tmp web /bin/sh -c 'echo $PWD')" /tmp
fails 5 oci exec web /bin/sh -c 'exit 5'
fails 127 oci exec web /no/such/program
fails 126 oci exec web /etc

# Figures, once and until the end.
once=$(oci events --stats web)
is "figures" "$(echo "$once" | python3 -c '
import json, sys
e = json.loads(sys.stdin.read())
assert e["type"] == "stats" and e["id"] == "web", e
print(e["data"]["pids"]["current"] == 1 and e["data"]["cpu"]["usage"]["total"] > 0)')" True
oci events --interval 100ms web >"$WORK/events" &
events=$!
lines() { [ "$(grep -c stats "$WORK/events")" -ge 3 ]; }
within 10 lines
oci pause web
fails 1 oci exec web /bin/true
has "paused" "$OUT" paused
oci resume web
oci kill web KILL
wait "$events" || fail "the events did not end with the container"
fails 1 oci kill web TERM
has "the words that engines look for" "$OUT" "not running"
oci delete web
fails 1 oci state web
oci delete --force web # fine when there is none

# Memory that ran out is told, too: the second program is ended for it, the first goes on.
bundle hog "sh('while [ ! -e /go ]; do sleep 0.1; done; dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 1000')
c['linux'].setdefault('resources', {})['memory'] = {'limit': 16 << 20, 'swap': 16 << 20}"
[ -e "$WORK/hog/rootfs/bin/dd" ] || ln -s busybox "$WORK/hog/rootfs/bin/dd"
oci create --bundle "$WORK/hog" hog
oci start hog
if [ "$(oci events --stats hog | python3 -c 'import json,sys
print(json.load(sys.stdin)["data"]["memory"]["usage"].get("limit"))')" = $((16 << 20)) ]; then
    oci events --interval 100ms hog >"$WORK/ooms" &
    events=$!
    : >"$WORK/hog/rootfs/go"
    within 10 grep -q '"type":"oom","id":"hog"' "$WORK/ooms"
    oci kill hog KILL
    wait "$events" || fail "the events did not end with the container"
    is "told once" "$(grep -c '"oom"' "$WORK/ooms")" 1
fi
oci delete --force hog

# A root that cannot be exchanged, and what cannot be said in the log file.
bundle ram "sh('ls / | grep -c bin; ls /../../../$WORK 2>&1 | grep -c No')"
is "without pivot" "$(oci run --bundle "$WORK/ram" --no-pivot ram | tr '\n' ' ')" "1 1 "
fails 1 "$STRATA" oci --root "$OCI_ROOT" --log "$WORK/log" --log-format json run --bundle "$WORK/none" none
is "the log" "$(python3 -c 'import json,sys; print(json.loads(open(sys.argv[1]).readline())["level"])' "$WORK/log")" error
