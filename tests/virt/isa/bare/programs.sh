#!/bin/sh
# programs.sh KERNEL ISA SOURCES CC - the bench's programs, compiled in each way, give on both
# engines what they give as Linux processes.
# rows: FV-05 ISA-02
set -u
kernel=$1 isa=$2 sources=$3 cc=$4
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0 compared=0

for options in "-O0" "-O1" "-O2" "-O3" "-O2 -march=x86-64-v3"; do
    for source in "$sources"/*.c; do
        name=$(basename "$source" .c)
        [ "$name" = kernel ] && continue
        # shellcheck disable=SC2086
        $cc $options -DCPU_DIVISOR=1000 -static -nostdlib -no-pie -fno-pic -ffreestanding \
            -fno-stack-protector -fcf-protection=none -Wl,--build-id=none -Wl,--no-warn-rwx-segments \
            -o "$work/$name" "$source" || exit 1
        "$work/$name" >"$work/native" || { echo "$name $options: native run failed"; failed=1; }
        for engine in interpret translate; do
            timeout 120 "$isa" run "{\"file\":\"$kernel\",\"program\":\"$work/$name\",\"engine\":\"$engine\"}" \
                3>"$work/answer" >"$work/out"
            if grep -q "lets nobody make code\|not let us" "$work/answer"; then
                continue
            fi
            compared=$((compared + 1))
            if [ "$name" != spaces ] && ! cmp -s "$work/native" "$work/out"; then
                echo "$name $options on $engine: $(tail -n 1 "$work/out") $(cat "$work/answer")," \
                    "natively $(tail -n 1 "$work/native")"
                failed=1
            fi
        done
    done
done
echo "$compared runs compared"
exit $failed
