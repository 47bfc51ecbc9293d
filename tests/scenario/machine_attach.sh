#!/bin/sh
# Disks come to a machine that runs, and go again: its kernel has them, and they stay through saves,
# engines, resets, snapshots and starts.
# rows: OPS-04 MIO-04
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 400
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/linux.sh"
need_root
need_cmd python3
need_busybox
linux_find

inside() { # SCRIPT
    strata exec web sh -c "$1"
}
device() { # SERIAL - how the guest calls it, if it has it
    inside "d=\$(dirname \$(grep -lx $1 /sys/block/vd?/serial 2>/dev/null) 2>/dev/null) && [ \"\$d\" != . ] && basename \$d"
}
has_it() { [ -n "$(device "$1" 2>/dev/null)" ]; }
lacks() { inside true && [ -z "$(device "$1" 2>/dev/null)" ]; }
put() { # SERIAL TEXT
    inside "echo $2 | dd of=/dev/$(device "$1") bs=512 conv=sync,fsync 2>/dev/null"
}
get() { # SERIAL - past the guest's cache
    inside "echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/$(device "$1") bs=512 count=1 2>/dev/null | head -n 1"
}
came() { strata --json inspect web | python3 -c "import json, sys
print(*(d['serial'] for d in json.load(sys.stdin)[0]['machine']['disks'] if d['came']))"; }
uses() { # FILE - processes that have it open
    find /proc/[0-9]*/fd -lname "$1" 2>/dev/null | wc -l
}

cd "$WORK"
for name in one two three four five six seven; do truncate -s 1M $name; done
strata run -d --name web --as machine --kernel "$linux" --disk seven,serial=seven \
    busybox sh -c 'while :; do sleep 1000; done' >/dev/null
is "at first" "$(came)" ""

# While it runs.
is "it says the name" "$(strata attach web --disk one,serial=one)" web
within 10 has_it one
is "inspect" "$(came)" one
put one hello
is "what it wrote" "$(get one)" hello
is "the file" "$(head -n 1 one)" hello
strata resize web --disk one=2M >/dev/null
is "it grew" "$(inside "cat /sys/block/$(device one)/size")" 4096
fails 1 strata attach web --disk one
has "twice" "$OUT" "guest 'web' has disk '$WORK/one'"
fails 1 strata attach web --disk none
has "no file" "$OUT" "cannot open disk"

# What a disk was made with stays; what came goes, and its file is nobody's.
fails 1 strata detach web seven
has "made with it" "$OUT" "what came by 'attach' can go"
fails 1 strata detach web none
has "unknown" "$OUT" "has no disk or network 'none'"
is "it says the name" "$(strata detach web one)" web
lacks one || fail "the guest still has the disk"
is "inspect" "$(came)" ""
is "open" "$(uses "$WORK/one")" 0
case $(strata --json inspect web) in *"$WORK/one"*) fail "inspect shows what has gone" ;; esac

# Again, another, read only; saved, with another engine; reset.
strata attach web --disk two,serial=two,read-only >/dev/null
strata attach web --disk one,serial=one >/dev/null
within 10 has_it one
within 10 has_it two
is "inspect" "$(came)" "two one"
is "read only" "$(inside "cat /sys/block/$(device two)/ro")" 1
strata save web >/dev/null
fails 1 strata detach web one
has "saved" "$OUT" "it is saved"
strata start web --engine interpret >/dev/null
is "inspect, saved" "$(came)" "two one"
is "saved" "$(get one)" hello
put one again
strata save web >/dev/null
strata start web --engine translate >/dev/null
is "saved again" "$(get one)" again
strata detach web two >/dev/null
lacks two || fail "the guest still has disk two"
strata reset web >/dev/null
within 60 has_it one
is "after a reset" "$(get one)" again

# A snapshot has the disks of its time.
strata snapshot create web then >/dev/null
strata detach web "$WORK/one" >/dev/null
strata attach web --disk three,serial=three >/dev/null
within 10 has_it three
echo changed >one
strata kill web >/dev/null
strata wait web >/dev/null || true
strata snapshot restore web then >/dev/null
strata start web >/dev/null
is "of the snapshot" "$(came)" one
is "what is in it" "$(get one)" again

# Paused, it is told when it goes on; it cannot let go.
strata pause web >/dev/null
strata attach web --disk four,serial=four >/dev/null
fails 1 strata detach web one
has "paused" "$OUT" "it is paused"
strata resume web >/dev/null
within 10 has_it four

# A system that does not listen: bounded, and nothing is changed.
inside 'for s in /sys/firmware/acpi/interrupts/gpe01; do echo disable >$s; done'
fails 1 strata detach web four --timeout 1s
has "deaf" "$OUT" "the guest did not let go of it"
is "still" "$(came)" "one four"

# The command is killed, and the system listens later: nothing goes any more.
timeout -s KILL 2 "$STRATA" --state "$STATE" detach web four --timeout 60s >/dev/null 2>&1 || true
sleep 6
inside 'echo enable >/sys/firmware/acpi/interrupts/gpe01'
strata attach web --disk six,serial=six >/dev/null # the guest looks at all slots for it
within 10 has_it six
sleep 1
is "of a killed command" "$(came)" "one four six"
has_it four || fail "the guest let go of disk four"
strata detach web six >/dev/null
strata save web >/dev/null
strata start web >/dev/null
is "saved" "$(came)" "one four"
inside 'for s in /sys/firmware/acpi/interrupts/gpe01; do echo disable >$s; done'

# Two at once, of which a reset makes an end.
strata attach web --disk five,serial=five >/dev/null
strata detach web four --timeout 90s >/dev/null &
first=$!
strata detach web five --timeout 90s >/dev/null &
sleep 1
strata reset web >/dev/null
wait $first || fail "the first of two did not go"
wait $! || fail "the second of two did not go"
is "both are gone" "$(came)" one
within 60 has_it one
fails 125 strata create --as machine --kernel "$linux" --disk "$WORK/four,slot=24"
has "a slot of its own" "$OUT" "is not said"

# Six at most; marks have none of it.
for name in two three four five six; do strata attach web --disk $name,serial=$name >/dev/null; done
within 20 has_it six
truncate -s 1M eight
fails 1 strata attach web --disk eight
has "no room" "$OUT" "has no room: 6 devices have come"
strata detach web six >/dev/null
strata debug mark web >/dev/null
fails 1 strata attach web --disk six
has "marked" "$OUT" "mark"
fails 1 strata detach web five --timeout 1s
has "marked" "$OUT" "mark"

# While it does not run.
strata kill web >/dev/null
strata wait web >/dev/null || true
strata detach web two >/dev/null
strata attach web --disk six,serial=six >/dev/null
strata start web >/dev/null
is "a new start" "$(came)" "one three four five six"
has_it six || fail "the guest has no disk six"
lacks two || fail "the guest has disk two"
strata detach web six >/dev/null
lacks six || fail "the guest still has disk six"
strata delete --force web >/dev/null
