#!/bin/sh
# programs.sh KERNEL ISA SOURCES CC [SEED|all] - the bench's programs, of 64 and of 32 bits, compiled in
# each way, give on both engines what they give as Linux processes.  Two ways for each program, chosen by
# the seed, or all.
# rows: FV-05 ISA-02
set -u
kernel=$1 isa=$2 sources=$3 cc=$4 seed=${5:-1}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0 compared=0 number=0

build() { # OPTIONS SOURCE
    # shellcheck disable=SC2086
    $cc $1 -DCPU_DIVISOR=1000 -static -nostdlib -no-pie -fno-pic -ffreestanding -fno-stack-protector \
        -fcf-protection=none -Wl,--build-id=none -Wl,--no-warn-rwx-segments -o "$work/program" "$2"
}

compare() { # OPTIONS SOURCE
    build "$1" "$2" || { echo "$2 $1: does not compile"; failed=1; return; }
    "$work/program" >"$work/native" || { echo "$2 $1: native run failed"; failed=1; return; }
    for engine in interpret translate; do
        timeout 120 "$isa" run \
            "{\"file\":\"$kernel\",\"program\":\"$work/program\",\"engine\":\"$engine\"}" \
            3>"$work/answer" >"$work/out"
        if grep -q "lets nobody make code\|not let us" "$work/answer"; then
            continue
        fi
        compared=$((compared + 1))
        if [ "$(tail -n 1 "$work/native")" = "not applicable" ]; then # none of Linux's
            cp "$work/out" "$work/native"
        fi
        if ! grep -q "^sum" "$work/out" || ! cmp -s "$work/native" "$work/out"; then
            echo "$2 $1 on $engine: $(tail -n 1 "$work/out") $(cat "$work/answer")," \
                "natively $(tail -n 1 "$work/native")"
            failed=1
        fi
    done
}

# Is that way, number $1 of its kind, chosen for program number $2?
chosen() {
    [ "$seed" = all ] || [ $(((seed + $2 * 3) % 5)) -eq "$1" ]
}

build "-m32 -msse2" "$sources/alu.c" 2>"$work/why" && "$work/program" >"$work/native"
has_32=$?
[ $has_32 -eq 0 ] || echo "no programs of 32 bits: $(head -n 1 "$work/why" | cut -c1-120)"

for source in "$sources"/*.c; do
    [ "$(basename "$source")" = kernel.c ] && continue
    number=$((number + 1)) way=0
    for options in "-O0" "-O1" "-O2" "-O3" "-O2 -march=x86-64-v3"; do
        if chosen $way $number; then
            compare "$options" "$source"
        fi
        if [ $has_32 -eq 0 ] && chosen $way $((number + 1)); then
            compare "-m32 -msse2 $options" "$source"
        fi
        way=$((way + 1))
    done
done
echo "seed $seed: $compared runs compared"
exit $failed
