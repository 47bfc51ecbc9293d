#!/bin/sh
# oracle.sh GUEST ISA - what a kernel observes of privileged state (rights of pages under WP, SMEP, SMAP and
# NXE at two levels, accessed and dirty bits, descriptors of all types, IRET, control and debug registers,
# MSRs, addresses that are not canonical) is the same on both engines and on a second emulator.
# rows: FV-05 ISA-02
set -u
guest=$1 isa=$2
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

for engine in interpret translate; do
    timeout 300 "$isa" run "{\"file\":\"$guest\",\"engine\":\"$engine\",\"memory\":67108864}" \
        3>"$work/answer" >"$work/$engine"
    if grep -q "lets nobody make code\|not let us" "$work/answer"; then
        cp "$work/interpret" "$work/$engine"
    fi
done
if [ "$(tail -n 1 "$work/interpret" | cut -c1-5)" != fetch ]; then
    echo "the guest did not reach its end: $(cat "$work/answer")"
    exit 1
fi
if ! diff "$work/interpret" "$work/translate" >"$work/diff"; then
    echo "interpreter (<) and translator (>) differ:"
    head -n 20 "$work/diff" | cut -c1-300
    exit 1
fi
echo "both engines agree on $(wc -l <"$work/interpret") lines"

if ! command -v qemu-system-x86_64 >/dev/null; then
    echo "skipped: qemu-system-x86_64 is not installed"
    exit 77
fi
timeout 120 qemu-system-x86_64 -accel tcg -cpu max -m 64 -kernel "$guest" -serial "file:$work/qemu" \
    -display none -monitor none -nodefaults -no-reboot \
    -device isa-debug-exit,iobase=0xf4,iosize=0x04 </dev/null >"$work/said" 2>&1
if ! diff "$work/interpret" "$work/qemu" >"$work/diff"; then
    echo "we (<) and QEMU (>) differ: $(cat "$work/said")"
    head -n 20 "$work/diff" | cut -c1-300
    exit 1
fi
echo "QEMU agrees"
