#!/bin/sh
# uefi.sh MACHINE COMPILER - OVMF starts a distribution's kernel from a FAT disk, as an EFI program, to the kernel's
# first process and until it is off.
#
# rows: FV-01
set -eu
machine=$1
compiler=$2
. "$(dirname "$0")/../../linux.sh"
here=$(dirname "$0")
rom=${STRATA_OVMF:-/usr/share/ovmf/OVMF.fd}
[ -e "$rom" ] || { echo "skipped: there is no $rom (Debian: ovmf)"; exit 77; }
linux_find
machine=$(linux_program "$machine")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "failed: $*"
    cat "$dir/out" "$dir/err" || true
    exit 1
}

# shellcheck disable=SC2086
$compiler -O2 -static -o "$dir/init" "$here/init.c"
python3 "$here/cpio.py" "$dir/init" "$dir/initrd"
printf 'vmlinuz console=ttyS0 quiet panic=-1 initrd=\\initrd\r\n' >"$dir/script"
python3 "$here/fat.py" "$dir/disk" 32 "VMLINUZ=$linux" "INITRD=$dir/initrd" "STARTUP.NSH=$dir/script"

(n=0; until grep -q 'say something' "$dir/out" 2>/dev/null || [ $n -ge 2400 ]; do sleep 0.1; n=$((n + 1)); done
    echo hello) | timeout -k 5 260 "$machine" --engine translate --memory 512 --firmware "$rom" \
    --disk "$dir/disk,read-only" >"$dir/out" 2>"$dir/err" || fail 'it ended with an error'
! grep 'Exception Type' "$dir/out" || fail 'the firmware met an exception'
for line in 'UEFI Interactive Shell' 'first process' 'rests by: hlt' 'heard: hello' 'clock: kvm-clock\|clock: tsc'; do
    grep -q "$line" "$dir/out" || fail "no '$line'"
done
