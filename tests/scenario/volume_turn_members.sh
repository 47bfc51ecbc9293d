#!/bin/sh
# As volume_turn.sh, where the layers lie on several members of their pool or on devices: the end of a
# snapshot of a disk that is served, with command and server killed at each step of it.
# long
# timeout: 900
# rows: STO-02 STO-06 STO-32 DC-21
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_turn.sh"
need_root
need_cmd qemu-img python3 losetup
strata volume list >/dev/null
grep -qa STRATA_FAULT "$STRATA" || skip "needs a build with fault steps"
on_exit() {
    turn_on_exit
    for dev in $loops; do losetup -d "$dev" 2>/dev/null || true; done
}
layers() { records; }
# On directories; of devices the pool says it.
rest() {
    find "$WORK"/m[0-9]/layers -type f 2>/dev/null
    strata pool inspect --json p | python3 -c 'import json, sys
for m in json.load(sys.stdin)[0]["members"]:
    if m["path"].startswith("/dev/") and m["used_bytes"] > 0:
        print(m)'
}
device() {
    truncate -s 200M "$WORK/$1"
    dev=$(losetup --show -f "$WORK/$1") || skip "no loop device"
    loops="$loops $dev"
}
# over KIND MEMBER... - turns of disks of a pool of that redundancy ("": none)
over() {
    kind=$1
    shift
    words=
    for m in "$@"; do words="$words --member $m"; done
    # shellcheck disable=SC2086
    strata pool create --force ${kind:+--redundancy $kind} $words p >/dev/null
    count=1 # of layers, afterwards
    for at in $steps; do
        strata volume create --size 8M --pool p d >/dev/null
        strata volume snapshot d s >/dev/null
        turn "$kind $*: end of a snapshot" "${at%:*}" "${at#*:}" volume snapshot --delete d s
    done
    count=2
    for at in $steps_below; do # below the top
        strata volume create --size 8M --pool p d >/dev/null
        strata volume snapshot d s >/dev/null
        strata volume snapshot d t >/dev/null
        turn "$kind $*: end of the lower snapshot" "${at%:*}" "${at#*:}" volume snapshot --delete d s
    done
    strata pool delete p >/dev/null
}

# COMMAND:SERVER, where each of them is killed; all of them over a mirror, some over the others.
steps=": :turn.noted :turn.done merge.alike: merge.announced: merge.announced:turn.noted merge.gone-down: merge.recorded:"
steps_below=": merge.gone-down: :turn.done"
over mirror "$WORK/m1" "$WORK/m2"
steps=": merge.announced:turn.noted merge.gone-down:"
steps_below=:
over raid5 "$WORK/m1" "$WORK/m2" "$WORK/m3"
over raid10 "$WORK/m1" "$WORK/m2" "$WORK/m3" "$WORK/m4"
over span "$WORK/m1" "$WORK/m2"
device one
device two
# shellcheck disable=SC2086
over "" ${loops% *}
# shellcheck disable=SC2086
over mirror $loops
