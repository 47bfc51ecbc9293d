#!/bin/sh
# Commands that make a machine with a root disk, keep, put back and copy its disks, killed in between:
# the old or the new, and the next command works.
# rows: OPS-07 OPS-09
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# timeout: 600
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/linux.sh"
need_root
need_cmd python3
need_busybox
linux_find

# Machines of the optimised build; the commands are those that can be killed.
mkdir "$WORK/bin"
for program in "$(dirname "$STRATA")"/*; do
    if [ -f "$program" ] && [ -x "$program" ]; then ln -s "$(linux_program "$program")" "$WORK/bin/"; fi
done
rm "$WORK/bin/strata"
cp "$STRATA" "$WORK/bin/strata" # which finds the others beside itself
STRATA=$WORK/bin/strata

inside() { # GUEST SCRIPT
    strata exec "$1" sh -c "$2"
}
snapshots() { strata --json snapshot list "$1" | python3 -c "import json, sys
print(sorted((s['name'], s.get('parent')) for s in json.load(sys.stdin)))"; }
end() {
    strata kill "$1" >/dev/null
    strata wait "$1" >/dev/null || true
}
killed() { # STEP ARGUMENT...
    step=$1 code=0
    shift
    STRATA_FAULT=kill:$step "$STRATA" --state "$STATE" "$@" >/dev/null 2>&1 || code=$?
    is "killed at $step" $code 137
}

cd "$WORK"
head -c 1048576 /dev/zero >disk
strata run -d --name web --as machine --kernel "$linux" --disk disk busybox sh -c 'while :; do sleep 1000; done' >/dev/null
inside web 'echo one >/file; head -c 3000000 /dev/urandom >/big; mkdir /mnt; mount -t tmpfs none /mnt; echo memory >/mnt/file; sync'
sum=$(inside web 'md5sum /big')
printf one | dd of=disk conv=notrunc 2>/dev/null
strata snapshot create web one >/dev/null
inside web 'echo two >/file; rm /big; sync'
printf two | dd of=disk conv=notrunc 2>/dev/null

for step in life.state.written life.snapshot.state snapshot.copied; do
    killed $step snapshot create web half
    is "after $step it goes on" "$(inside web 'cat /file')" two
    is "after $step" "$(snapshots web)" "[('one', None)]"
done
for step in guest.create.disk life.state.written guest.create.cloned guest.create.filled; do
    killed $step clone web half --memory
    strata system reconcile >/dev/null 2>&1
    strata delete half >/dev/null 2>&1 || true
    is "after $step" "$(strata list -q | wc -l) $(inside web 'cat /file')" "1 two"
done
end web
killed life.restore.copied snapshot restore web one
strata start web >/dev/null
is "not yet" "$(inside web 'cat /file; ls /big 2>/dev/null') $(head -c 3 disk)" "two two"
end web
killed life.restore.disks snapshot restore web one
strata start web >/dev/null
is "already" "$(inside web 'cat /file; md5sum /big') $(head -c 3 disk)" "one
$sum one"
end web
strata snapshot restore web one >/dev/null
strata start web >/dev/null
is "and now" "$(inside web 'cat /file /mnt/file; md5sum /big')" "one
memory
$sum"
strata delete --force web >/dev/null

# While one is made: the next command finishes.
for step in guest.create.disk guest.create.root guest.create.filled launch.made worker.machine; do
    code=0
    STRATA_FAULT=kill:$step timeout 100 "$STRATA" --state "$STATE" run --rm --name half --as machine --kernel "$linux" \
        busybox true </dev/null >/dev/null 2>&1 || code=$?
    [ $code != 0 ] || fail "not killed at $step"
    strata system reconcile >/dev/null 2>&1
    strata delete --force half >/dev/null 2>&1 || true
    is "after $step" "$(strata list -q)$(ls -A "$STATE/guests" "$STATE/run/guests" | grep -v ':$' | tr -d '\n')" ""
done
is "and it works" "$(timeout 100 "$STRATA" --state "$STATE" run --rm --as machine --kernel "$linux" busybox echo well </dev/null)" well
is "no files are left" "$(ls -A "$STATE/guests" "$STATE/run/guests" | grep -v ':$' | tr -d '\n')" ""
[ "$(ls)" = "$(printf 'bin\ndisk\nstate')" ] || fail "files are left: $(ls)"
