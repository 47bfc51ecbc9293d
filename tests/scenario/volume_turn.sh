#!/bin/sh
# A disk that is served leaves one layer for another (a move, the end of a snapshot) while a client
# writes, and command and server are both killed at each step of it: what was flushed is there.
# long
# timeout: 900
# rows: STO-02 STO-32 DC-21
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_turn.sh"
need_root
need_cmd qemu-img python3
strata volume list >/dev/null
grep -qa STRATA_FAULT "$STRATA" || skip "needs a build with fault steps"
layers() { rest | wc -l; }
rest() { find "$WORK/here/layers" "$WORK/there/layers" -type f; }

strata pool create here --member "$WORK/here" >/dev/null
strata pool create there --member "$WORK/there" >/dev/null
for killed in "" turn.alike turn.noted turn.done; do
    count=1 # of layers, afterwards
    for step in "" move.alike move.announced move.gone-over move.recorded; do
        strata volume create --size 8M --pool here d >/dev/null
        turn move "$step" "$killed" volume move d there
    done
    for step in "" release.recorded merge.alike merge.announced merge.gone-down merge.recorded merge.settled; do
        strata volume create --size 8M --pool here d >/dev/null
        strata volume snapshot d s >/dev/null
        turn "end of a snapshot" "$step" "$killed" volume snapshot --delete d s
    done
    count=2
    for step in "" merge.gone-down merge.settled; do # below the top
        strata volume create --size 8M --pool here d >/dev/null
        strata volume snapshot d s >/dev/null
        strata volume snapshot d t >/dev/null
        turn "end of the lower snapshot" "$step" "$killed" volume snapshot --delete d s
    done
done
