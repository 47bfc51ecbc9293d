#!/bin/sh
# snap_linux.sh CHAIN IMAGE SOURCES COMPILER HOPS - a distribution's kernel is saved at random moments and goes on under
# another engine, interpret -> translate -> interpret, until HOPS moments were seen; what it computes, it computes natively.
#
# rows: OPS-08
set -eu
chain=$1
image=$2
sources=$3
compiler=$4
wanted=$5
. "$sources/../../linux.sh"
linux_find
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# shellcheck disable=SC2086
$compiler -O2 -static -o "$dir/init" "$sources/snap_init.c" -lm
python3 "$sources/cpio.py" "$dir/init" "$dir/initrd"
"$dir/init" 12 >"$dir/native"
elf=$(echo "{\"state\":\"$dir\",\"file\":\"$linux\"}" | "$image" kernel | sed 's/.*"kernel":"\([^"]*\)".*/\1/')
check() {
    tr -d '\r' <"$dir/out" | grep '^child' >"$dir/is" || true
    grep '^child' "$dir/native" | cmp - "$dir/is" || { cat "$dir/native" "$dir/out" "$dir/err"; exit 1; }
    if grep -q 'BUG:\|Call Trace\|stall\|unstable' "$dir/out"; then
        cat "$dir/out"
        exit 1
    fi
    cat "$dir/err"
}

# Marked at some moment, and back to it again and again: in one boot of a few the kernel was off before the mark.
rewinds=0
boot=0
while [ "$rewinds" -lt "$wanted" ]; do
    boot=$((boot + 1))
    [ "$boot" -lt 20 ] || { echo "never rewound $wanted times" >&2; exit 1; }
    timeout 400 "$chain" "$elf" "$dir/initrd" 'console=ttyS0 quiet panic=-1 rounds=12' 2 $((boot * 65537 + $$)) \
        r"$((wanted * 4))" translate >"$dir/out" 2>"$dir/err" || { cat "$dir/out" "$dir/err"; exit 1; }
    check
    rewinds=$(sed -n 's/.*rewinds \([0-9]*\);.*/\1/p' "$dir/err")
done
hops=0
boot=0
while [ "$hops" -lt "$wanted" ]; do
    boot=$((boot + 1))
    timeout 400 "$chain" "$elf" "$dir/initrd" 'console=ttyS0 quiet panic=-1 rounds=12' 2 $((boot * 7919)) 700 \
        interpret translate >"$dir/out" 2>"$dir/err" || { cat "$dir/out" "$dir/err"; exit 1; }
    check
    hops=$((hops + $(sed -n 's/.*hops \([0-9]*\);.*/\1/p' "$dir/err")))
done
echo "$hops moments in $boot boots"
