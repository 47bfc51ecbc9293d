#!/bin/sh
# Machines on disk: saved and gone on with, whatever engine; damaged files; snapshots as a tree,
# going back, clones.
# rows: OPS-05 OPS-07 OPS-08 OPS-09
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3

kernel() { python3 "$TOP/tests/scenario/multiboot.py" "$@"; }
printed() { [ "$(strata logs "$1" | grep -c "$2")" -ge "${3:-1}" ]; }
state() { strata list --json | python3 -c "import json, sys
for guest in json.load(sys.stdin):
    if guest['name'] == '$1': print(guest['state'])"; }
engine() { strata --json inspect "$1" | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['machine']['engine'])"; }
type_to() { printf '%s' "$2" | timeout 2 "$STRATA" --state "$STATE" console "$1" >/dev/null || true; }
place() { echo "$STATE/guests/$(strata --json inspect "$1" | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['id'])")"; }

# What it has in memory comes back, on another engine and back; the disk it had is still its own.
cd "$WORK"
head -c 1048576 /dev/zero >disk
kernel guest 'say:up\n' fill:24 'say:first\n' echo:A 'say:second\n' echo:B sum:24 'say:\n' exit:7
sum=$(printf AB | timeout 60 "$STRATA" --state "$STATE" run --rm --as machine --kernel guest | tail -1)
is "the sum" "${#sum}" 8
strata run -d --name web --as machine --kernel guest --engine interpret --memory 64M --disk disk --network none >/dev/null
within 30 printed web first
is "save prints the name" "$(strata save web)" web
is "it ended" "$(state web) $(strata wait web)" "stopped 0"
[ -f "$(place web)/saved/memory" ] || fail "no file of memory"
strata start web --engine translate >/dev/null
within 10 sh -c "[ \"\$('$STRATA' --state '$STATE' list | grep -c running)\" = 1 ]"
is "the other engine" "$(engine web)" translate
[ ! -e "$(place web)/saved" ] || fail "what was used is still there"
printf A | timeout 2 "$STRATA" --state "$STATE" console web >/dev/null &
within 10 printed web second
strata pause web >/dev/null # one that was paused goes on when it is started
strata save web >/dev/null
strata start web --engine interpret >/dev/null
is "back again" "$(engine web)" interpret
type_to web B
is "its code" "$(strata wait web)" 7
is "its memory" "$(strata logs web | tail -1)" "$sum"
is "it began once" "$(strata logs web | grep -c up)" 1

# Cut anywhere, or changed: refused before anything changes; whole again it goes on.
strata start web >/dev/null
within 30 printed web first 2
strata save web >/dev/null
saved=$(place web)/saved
cp -r "$saved" whole
bytes=$(stat -c %s whole/state)
for at in 0 1 63 64 100 $((bytes / 3)) $((bytes / 2)) $((bytes - 33)) $((bytes - 1)); do
    head -c "$at" whole/state >"$saved/state"
    fails 1 strata start web
    has "cut at $at" "$OUT" "cannot start guest 'web': "
    is "cut at $at: it does not run" "$(state web)" stopped
    [ -f "$saved/memory" ] || fail "cut at $at: its memory is gone"
done
python3 - whole/state "$saved/state" <<'PY'
import sys
b = bytearray(open(sys.argv[1], "rb").read())
b[len(b) // 2] ^= 4
open(sys.argv[2], "wb").write(b)
PY
fails 1 strata start web
has "a changed bit" "$OUT" "cannot start guest 'web': "
cp whole/state "$saved/state"
for at in 0 4096 5000000 67108864 67112959; do
    truncate -s "$at" "$saved/memory"
    fails 1 strata start web
    has "memory cut at $at" "$OUT" "its memory is cut"
    cp whole/memory "$saved/memory"
done
strata start web >/dev/null
(type_to web A && type_to web B) || true
type_to web B
is "it went on" "$(strata wait web)" 7
is "... with its memory" "$(strata logs web | tail -1)" "$sum"

# Thrown away instead.
strata start web >/dev/null
within 30 printed web first 3
strata save web >/dev/null
strata start web --fresh >/dev/null
within 30 printed web first 4
strata kill web >/dev/null
strata wait web >/dev/null || true
strata start web >/dev/null
within 30 printed web first 5

# Snapshots of one that runs, with its disk; it goes on. Back to the first, to the second.
printf one | dd of=disk conv=notrunc 2>/dev/null
is "a snapshot" "$(strata snapshot create web one)" one
is "it goes on" "$(state web)" running
printf two | dd of=disk conv=notrunc 2>/dev/null
type_to web A &
within 10 printed web second 3
strata snapshot create web two >/dev/null
fails 1 strata snapshot restore web one
has "while it runs" "$OUT" running
strata kill web >/dev/null
strata wait web >/dev/null || true
printf bad | dd of=disk conv=notrunc 2>/dev/null
strata snapshot restore web one >/dev/null
is "the disk of then" "$(head -c 3 disk)" one
strata snapshot create web three >/dev/null
is "a tree" "$(strata --json snapshot list web | python3 -c "import json, sys
print(sorted((s['name'], s.get('parent')) for s in json.load(sys.stdin)))")" \
    "[('one', None), ('three', 'one'), ('two', 'one')]"
strata start web >/dev/null
is "it stands at the first question" "$(strata logs web | grep -c up)" 5
(type_to web A) &
within 10 printed web second 4
strata kill web >/dev/null
strata wait web >/dev/null || true
strata snapshot restore web two >/dev/null
is "the disk of the second" "$(head -c 3 disk)" two
strata start web --engine translate >/dev/null
type_to web B
is "from the second question on" "$(strata wait web)" 7
is "... with its memory" "$(strata logs web | tail -1)" "$sum"
strata snapshot delete web one >/dev/null
is "who came from it" "$(strata --json snapshot list web | python3 -c "import json, sys
print(sorted((s['name'], s.get('parent')) for s in json.load(sys.stdin)))")" \
    "[('three', None), ('two', None)]"

# One that is deleted at its end is not saved.
strata run -d --rm --name brief --as machine --kernel guest --network none >/dev/null
fails 1 strata save brief
has "it would be gone" "$OUT" "cannot save guest 'brief': it is to be deleted at its end"
strata kill brief >/dev/null

# Clones: of a snapshot with its memory, of a machine as it is; with disks of their own.
strata clone web twin --snapshot two --memory >/dev/null
strata clone web plain --snapshot two >/dev/null
printf xyz | dd of=disk conv=notrunc 2>/dev/null
twin=$(strata --json inspect twin | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['config']['disks'][0])")
is "its own disk" "$(head -c 3 "$twin")" two
strata start twin >/dev/null
type_to twin B
is "the twin went on" "$(strata wait twin) $(strata logs twin | tail -1)" "7 $sum"
strata start plain >/dev/null
within 30 printed plain up
strata clone plain live --memory >/dev/null
strata start live >/dev/null
[ "$(strata logs live | grep -c up)" = 0 ] || fail "the copy began anew"
for name in web twin plain live; do strata delete --force $name >/dev/null; done
is "no files are left" "$(ls -A "$STATE/guests" "$STATE/run/guests" | grep -v ':$' | tr -d '\n')" ""
[ -f disk ] || fail "the disk of the user is gone"
