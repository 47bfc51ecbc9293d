#!/bin/sh
# What a machine in software takes beyond native is told by cause, and the causes are at least nine tenths of it.
# rows: PRO-10
# release
# timeout: 120
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/linux.sh"
need_cmd python3

python3 "$TOP/tests/scenario/overhead.py" recorded || fail "samples as they were recorded"
need_cmd gcc
linux_find virtio_blk
export STRATA STRATA_LINUX="$below"
python3 "$TOP/tests/scenario/overhead.py" real >"$WORK/out" 2>&1 || {
    [ $? = 77 ] && skip "$(tail -n 1 "$WORK/out")"
    fail "$(tail -n 12 "$WORK/out")"
}
cat "$WORK/out"
