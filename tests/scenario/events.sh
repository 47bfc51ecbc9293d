#!/bin/sh
# The host realm's log: ends by the guest's name, refusals and who asked, exchanged files.
# rows: CON-25
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox

fields() { # GUEST FIELD... - of every event of the guest, as JSON has them
    guest=$1
    shift
    strata events --json "$guest" | python3 -c "import json, sys
for line in sys.stdin:
    event = json.loads(line)
    print(*[event.get(f, '-') for f in sys.argv[1:]])" "$@"
}

# A guest's end is told under its name, although its keeper knows the identifier only.
strata run --name web busybox sh -c 'echo of-the-guest; exit 5' >/dev/null || true
has "died under its name" "$(fields web event exit_code)" "died 5"
strata rename web site >/dev/null
strata start site >/dev/null
strata wait site >/dev/null
has "under the new one" "$(fields site event exit_code)" "died 5"
has "the former one is told" "$(fields site event detail)" "renamed web"
strata delete site >/dev/null
has "also once it is gone" "$(fields site event)" died

# What was refused, to whom: in this log, and not in a guest's.
strata run -d --name busy busybox sh -c 'echo guest-line; sleep 1000' >/dev/null
fails 1 strata delete busy
fails 1 strata start busy
fails 125 strata create --name busy busybox
fails 125 strata run --rm -v nowhere:/data busybox true
has "refused delete" "$(fields busy event operation uid)" "refused delete 0"
has "refused start" "$(fields busy event operation)" "refused start"
has "refused name" "$(fields busy event detail)" "the name is taken"
has "why" "$(strata events)" "volume 'nowhere' does not exist"
within 5 sh -c '"$STRATA" --state "$STATE" logs busy | grep -q guest-line'
case $(strata logs busy) in *refused*) fail "the guest's log has events of the host" ;; esac
case $(strata events) in *guest-line*) fail "the host's log has lines of the guest" ;; esac
fails 1 strata exec busy cat "$STATE/events.log" # and no way to it
strata delete --force busy >/dev/null

# The file is exchanged while somebody follows; and twice between two looks.
fill() { # WORD - more than one file holds, in one write as commands do
    python3 -c "import sys
line = '{\"time\":\"2026-01-02T03:04:05Z\",\"type\":\"guest\",\"event\":\"filler\",\"name\":\"%s\"}\n'
sys.stdout.write(line % sys.argv[1] * 120000)" "$1" >>"$STATE/events.log"
}
"$STRATA" --state "$STATE" events --follow >"$WORK/followed" &
follower=$!
sleep 0.3
strata create --name one busybox true >/dev/null
within 5 grep -q 'one created' "$WORK/followed"
fill x
strata create --name two busybox true >/dev/null
[ -e "$STATE/events.log.1" ] || fail "nothing was exchanged"
within 20 grep -q 'two created' "$WORK/followed"
kill -STOP $follower
strata create --name three busybox true >/dev/null
fill y
strata create --name four busybox true >/dev/null
fill z
strata create --name five busybox true >/dev/null
kill -CONT $follower
for name in three four five; do
    within 20 grep -q "$name created" "$WORK/followed"
    is "once" "$(grep -c "$name created" "$WORK/followed")" 1
done
is "nothing between is lost" "$(grep -c filler "$WORK/followed")" 360000
kill $follower
has "the kept file is read, too" "$(strata events four)" created

# A keeper that has seen many files writes into the newest.
strata run -d --name long busybox sleep 1000 >/dev/null
fill x
strata create --name six busybox true >/dev/null
fill y
strata create --name seven busybox true >/dev/null
strata stop -t 0s long >/dev/null
has "its end is there" "$(strata events long)" died

# A guest that cannot come back: why is told where one looks for it.
strata create --name gone --restart always busybox /t >/dev/null
printf '#!/bin/sh\nrm /t\n' >"$WORK/t"
chmod 755 "$WORK/t"
strata cp "$WORK/t" gone:/t
strata start gone >/dev/null
failed() { strata events gone | grep -q 'restart-failed'; }
within 10 failed
has "why" "$(strata events gone | grep restart-failed)" "'/t'"
within 10 sh -c '"$STRATA" --state "$STATE" list | grep gone | grep -q stopped'
