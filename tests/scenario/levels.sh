#!/bin/sh
# One job at every level of virtualization finds the same, and is timed.
# rows: CON-19
# release
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/linux.sh"
need_root
need_cmd python3
linux_find

is "five levels" "$(strata levels --json | grep -c '"level"')" 5
strata levels --run --work 2 --kernel "$linux" --json >"$WORK/rows" || fail "$(cat "$WORK/rows")"
python3 - "$WORK/rows" <<'PY'
import json, sys
rows = {r["guest"] + " " + r["engine"]: r for r in json.load(open(sys.argv[1]))}
for name in "host native", "container native", "machine translate", "machine interpret":
    r = rows[name]
    assert r["result"] == "right", r
    assert r["run_ms"] >= 0 and r["start_ms"] >= 0 and r["memory_bytes"] > 0, r
assert rows["machine kvm"]["result"] == "right" or "not here: " in rows["machine kvm"]["result"], rows
# Times of one order: an interpreted machine is slower than a process, by far.
assert rows["machine interpret"]["run_ms"] > rows["host native"]["run_ms"], rows
PY
is "no guest is left" "$(strata list --json)" "[]"
strata image list --json >"$WORK/images" || fail "image list"
is "no image is left" "$(grep -c levels-job "$WORK/images")" 0

fails 1 strata levels --level machine
has "the level" "$OUT" "cannot find level 'machine'"

# A level without a kernel, and a job that fails, are told apart.
fails 0 strata levels --run --work 1 --level translate --kernel /nonexistent
has "why" "$OUT" "not here:"

# Without a word the kernel is that of the image 'debian', which nothing was made from yet.
mkdir -p "$WORK/root/boot"
cp "$linux" "$WORK/root/boot"
strata image import --format dir "$WORK/root" debian >/dev/null
strata levels --run --work 1 --level translate --json >"$WORK/rows" || fail "$(cat "$WORK/rows")"
has "the image's kernel" "$(cat "$WORK/rows")" '"result": "right"'
need_cmd busybox
mkdir "$WORK/bin"
find "$(dirname "$STRATA")" -maxdepth 1 -type f -perm -u+x -exec cp {} "$WORK/bin" \;
cp "$(command -v busybox)" "$WORK/bin/job" # no such applet
fails 1 "$WORK/bin/strata" --state "$STATE" levels --run --work 1 --level container
has "the host's own fails" "$OUT" "the job did not end on this host"
