#!/bin/sh
# paging.sh KERNEL ISA SOURCE CC - a guest's kernel pages on demand and swaps between two tiers of its
# memory, with its own tables and page faults: the program's sum is Linux's, and both engines take the same
# faults, more than there are pages.  What a fault costs, the bench reports (costs.c).
# rows: MIO-03
set -u
kernel=$1 isa=$2 source=$3 cc=$4
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0 before=

$cc -O2 -DCPU_DIVISOR=20 -static -nostdlib -no-pie -fno-pic -ffreestanding -fno-stack-protector \
    -fcf-protection=none -Wl,--build-id=none -o "$work/program" "$source" || exit 1
"$work/program" >"$work/native" || exit 1
for engine in interpret translate; do
    timeout 60 "$isa" run "{\"file\":\"$kernel\",\"program\":\"$work/program\",\"engine\":\"$engine\",\"counters\":true}" \
        3>"$work/answer" >"$work/out" 2>"$work/counters"
    grep -q "lets nobody make code\|not let us" "$work/answer" && continue
    cmp -s "$work/native" "$work/out" || {
        echo "$engine: $(cat "$work/out" "$work/answer"), natively $(cat "$work/native")"
        failed=1
    }
    faults=$(awk '$1 == "exceptions" { print $2 }' "$work/counters")
    echo "$engine: $faults faults"
    if [ "${faults:-0}" -le 512 ] || [ "${before:-$faults}" != "$faults" ]; then
        echo "faults: $faults, before $before"
        failed=1
    fi
    before=$faults
done
exit $failed
