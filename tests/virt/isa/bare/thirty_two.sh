#!/bin/sh
# thirty_two.sh KERNEL ISA SOURCES CC - a processor of 32 bits out of one of 64: on the model `i686` a
# kernel of 32 bits (kernel32.c) finds no long mode, cannot enter it, and runs the bench's programs, compiled
# for an i686, as Linux runs them here; and one of 64 bits does not come up.
# rows: CON-06
set -u
kernel64=$1 isa=$2 sources=$3 cc=$4
here=$(dirname "$0")
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0 compared=0

build() { # OUTPUT OPTIONS SOURCE
    # shellcheck disable=SC2086
    $cc -m32 -march=i686 -mno-sse -mno-mmx -O2 -static -nostdlib -no-pie -fno-pic -ffreestanding \
        -fno-stack-protector -fcf-protection=none -Wl,--build-id=none -Wl,--no-warn-rwx-segments \
        $2 -o "$1" "$3"
}

run() { # KERNEL PROGRAM MODEL ENGINE
    timeout 60 "$isa" run "{\"file\":\"$1\",\"program\":\"$2\",\"model\":\"$3\",\"engine\":\"$4\"}" \
        3>"$work/answer" >"$work/out" 2>&1
}

build "$work/kernel" "-mgeneral-regs-only -Wl,-T,$sources/kernel.ld" "$here/kernel32.c" 2>"$work/why" || {
    echo "skip: no code of 32 bits can be compiled: $(head -n 1 "$work/why" | cut -c1-120)"
    exit 77
}
for name in calls mix lz x87; do
    build "$work/program" -DCPU_DIVISOR=2000 "$sources/$name.c" 2>"$work/why" || { cat "$work/why"; exit 1; }
    "$work/program" >"$work/native" 2>"$work/why" || {
        echo "skip: no program of 32 bits runs here"
        exit 77
    }
    for engine in interpret translate; do
        run "$work/kernel" "$work/program" i686 $engine
        grep -q "lets nobody make code\|not let us" "$work/answer" && continue
        { echo "long mode: not in CPUID, EFER faults"; cat "$work/native"; } >"$work/expected"
        compared=$((compared + 1))
        cmp -s "$work/expected" "$work/out" || {
            echo "$name on $engine: $(cat "$work/out" "$work/answer"), natively $(tail -n 1 "$work/native")"
            failed=1
        }
    done
done
# The same kernel on the larger model finds long mode; the kernel of 64 bits needs it.
run "$work/kernel" "$work/program" v3 interpret
grep -q "long mode: in CPUID, EFER is taken" "$work/out" || { echo "v3: $(cat "$work/out")"; failed=1; }
run "$kernel64" "$work/program" i686 interpret
if grep -q "^sum" "$work/out" || ! grep -q "triple fault" "$work/answer"; then
    echo "64 bits on i686: $(cat "$work/out" "$work/answer")"
    failed=1
fi
echo "$compared runs compared"
exit $failed
