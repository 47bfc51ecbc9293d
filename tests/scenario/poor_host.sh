#!/bin/sh
# A host without user namespaces, without new mount calls, or whose state directory lies on a
# file system that layers cannot stand on: an error that names it, a code, nothing left behind.
# timeout: 180
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox

strata run --rm busybox true # unpacks its layer: the filter is about guests, not about tools
HERE=$(cd "$(dirname "$0")" && pwd)
poor() { # THING COMMAND...
    thing=$1
    shift
    timeout 30 python3 "$HERE/without.py" "$thing" "$STRATA" --state "$STATE" "$@" </dev/null
}
poor userns version >/dev/null 2>&1 || skip "cannot filter system calls here"
fails 1 python3 "$HERE/without.py" userns unshare --user true # the filter works
has "as such a kernel says it" "$OUT" "Invalid argument"

# Everything of a guest that could not start is gone, and one that stays can start later.
nothing() {
    is "$1: no guest" "$(guests)" ""
    is "$1: no directories" "$(ls -A "$STATE/guests" "$STATE/run/guests" "$STATE/run/containers" 2>/dev/null |
        grep -v ':$' | tr -d '\n')" ""
    is "$1: nothing else" "$(left_at_last)" ""
}
refuses() { # THING WORDS
    fails 125 poor "$1" run --rm busybox true
    has "$1: run" "$OUT" "$2"
    is "$1: one line" "$(echo "$OUT" | wc -l)" 1
    nothing "$1: run"
    fails 125 poor "$1" run -d -p 28490:80 -v data:/data busybox true
    nothing "$1: run -d"
    strata create --name later busybox echo came >/dev/null
    fails 1 poor "$1" start later
    has "$1: start names the guest" "$OUT" "'later'"
    has "$1: and why" "$OUT" "$2"
    has "$1: it can be looked at" "$(poor "$1" list)" later
    is "$1: on a better host" "$(strata start --attach later)" came
    poor "$1" delete later >/dev/null || fail "$1: delete"
    nothing "$1: start"
    fails 1 poor "$1" doctor
    has "$1: the doctor" "$OUT" "$3"
}
refuses userns "user namespace" "CONFIG_USER_NS"
refuses fsopen "overlay" "new mount calls"
strata volume delete data >/dev/null 2>&1 || :

# The state directory on an overlay of its own: layers cannot be mounted there.
mkdir "$WORK/under" "$WORK/upon"
mount -t tmpfs none "$WORK/under" 2>/dev/null || skip "cannot mount a tmpfs"
on_exit() {
    umount "$WORK/upon" 2>/dev/null
    umount "$WORK/under"
}
mkdir "$WORK/under/low" "$WORK/under/up" "$WORK/under/work"
mount -t overlay -o "lowerdir=$WORK/under/low,upperdir=$WORK/under/up,workdir=$WORK/under/work" none \
    "$WORK/upon" 2>/dev/null || skip "cannot mount an overlay"
upon() { "$STRATA" --state "$WORK/upon/state" "$@"; }
upon image import "$WORK/.busybox.tar" busybox >/dev/null
fails 125 upon run --rm --network none busybox true
has "names the file system" "$OUT" "$WORK/upon/state/"
has "and that it is the cause" "$OUT" "file system refuses"
is "no guest" "$(upon list --quiet)" ""
is "no directory" "$(ls -A "$WORK/upon/state/guests" "$WORK/upon/state/run/guests" | grep -v ':$' | tr -d '\n')" ""
