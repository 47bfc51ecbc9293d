#!/bin/sh
# instruments.sh ISA KERNEL PROGRAM - counters, trace, the map for perf and the bench's answer.
# rows: FV-05
set -u
isa=$1 kernel=$2 program=$3
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

fail() {
    echo "$1"
    failed=1
}

order() { # MORE
    echo "{\"file\":\"$kernel\",\"program\":\"$program\"$1}"
}

"$isa" run "$(order ',"counters":true,"engine":"interpret"')" 3>"$work/answer" >"$work/out" 2>"$work/err"
[ "$(awk '$1 == "interpreted" { print ($2 > 10000) }' "$work/err")" = 1 ] || fail "no instructions counted"
grep -q '^TLB misses  *[1-9]' "$work/err" || fail "no walks counted"

"$isa" run "$(order ',"trace":true,"engine":"interpret","memory":33554432')" 3>"$work/answer" 2>&1 >"$work/out" |
    head -n 300 >"$work/trace"
[ "$(sed -n 1p "$work/trace" | tr -s ' ')" = "000000000010000c cli" ] ||
    fail "the trace begins with $(sed -n 1p "$work/trace")"
"$isa" run "$(order ',"registers":true,"engine":"interpret","memory":33554432')" 3>"$work/answer" 2>&1 >"$work/out" |
    head -n 300 >"$work/trace"
sed -n 4p "$work/trace" | grep -q 'rsp=' || fail "the trace does not tell of ESP: $(sed -n 4p "$work/trace")"

"$isa" run "$(order ',"perf_map":true')" 3>"$work/answer" >"$work/out" &
pid=$!
wait $pid
if [ -e /tmp/perf-$pid.map ]; then
    grep -Eqx '[0-9a-f]+ [0-9a-f]+ guest_[0-9a-f]+' /tmp/perf-$pid.map || fail "the map for perf is not one"
    grep -Evqx '[0-9a-f]+ [0-9a-f]+ guest_[0-9a-f]+' /tmp/perf-$pid.map && fail "the map has other lines"
    rm -f /tmp/perf-$pid.map
elif grep -q '"error"' "$work/answer"; then
    cat "$work/answer"
else
    fail "there is no map for perf"
fi

"$isa" bench "{\"program\":\"$program\",\"seconds\":1,\"alone\":true}" 3>"$work/answer" >"$work/out"
python3 - "$work/answer" <<'P' || failed=1
import json
import sys

result = json.load(open(sys.argv[1]))["result"]
row = result["kernels"][0]
assert row["problem"] == "", row
assert row["native_s"] > 0 and row["strata_s"] > 0, row
assert abs(row["vs_native"] - row["strata_s"] / row["native_s"]) < 1e-6 * row["vs_native"], row
assert row["qemu_s"] is None and row["vs_qemu"] is None, row
assert abs(result["mean_vs_native"] - row["vs_native"]) < 1e-6 * row["vs_native"], result
P

"$isa" bench '{"kernel":["wide"],"seconds":1,"alone":true}' 3>"$work/answer" >"$work/out"
python3 - "$work/answer" <<'P' || failed=1
import json
import sys

result = json.load(open(sys.argv[1]))["result"]
assert result["kernels"][0]["problem"] == "", result
assert result["translation_wide_mips"] > 0, result
assert result["mean_vs_native"] is None and result["translation_mips"] is None, result
P

"$isa" bench '{"kernel":["nothing"]}' 3>"$work/answer" && fail "a program that is not there is timed"
grep -q "no program 'nothing'" "$work/answer" || fail "the answer is $(cat "$work/answer")"
exit $failed
