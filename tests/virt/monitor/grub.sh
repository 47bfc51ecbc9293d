#!/bin/sh
# grub.sh MACHINE COMPILER - a disk with GRUB and a distribution's kernel starts by SeaBIOS, to the kernel's first
# process and until it is off.
#
# rows: FV-01
set -eu
machine=$1
compiler=$2
. "$(dirname "$0")/../../linux.sh"
here=$(dirname "$0")
bios=${STRATA_SEABIOS:-/usr/share/seabios/bios-256k.bin}
grub=${STRATA_GRUB:-}/usr/lib/grub/i386-pc
mkimage=${STRATA_GRUB:-}/usr/bin/grub-mkimage
[ -e "$bios" ] || { echo "skipped: there is no $bios (Debian: seabios)"; exit 77; }
[ -e "$grub/boot.img" ] && [ -x "$mkimage" ] ||
    { echo "skipped: there is no GRUB below ${STRATA_GRUB:-/} (Debian: grub-pc-bin, grub-common; STRATA_GRUB)"; exit 77; }
linux_find
machine=$(linux_program "$machine")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "failed: $*"
    cat "$dir/out" "$dir/err" || true
    exit 1
}

mkdir "$dir/files"
cp "$linux" "$dir/files/vmlinuz"
# shellcheck disable=SC2086
$compiler -O2 -static -o "$dir/init" "$here/init.c"
python3 "$here/cpio.py" "$dir/init" "$dir/files/initrd"
cat >"$dir/config" <<'WORDS'
set root=(hd0,msdos1)
linux /vmlinuz console=ttyS0 quiet panic=-1
initrd /initrd
boot
WORDS
"$mkimage" -d "$grub" -O i386-pc -p '(hd0,msdos1)/grub' -c "$dir/config" -o "$dir/core" \
    biosdisk part_msdos ext2 linux
truncate -s 32M "$dir/partition"
/sbin/mke2fs -q -t ext2 -d "$dir/files" "$dir/partition"
python3 "$here/grub.py" "$grub/boot.img" "$dir/core" "$dir/partition" "$dir/disk"

(n=0; until grep -q 'say something' "$dir/out" 2>/dev/null || [ $n -ge 2400 ]; do sleep 0.1; n=$((n + 1)); done
    echo hello) | timeout -k 5 260 "$machine" --engine translate --cpus 2 --firmware "$bios" \
    --disk "$dir/disk,read-only" >"$dir/out" 2>"$dir/err" || fail 'it ended with an error'
for line in 'GRUB loading' 'first process' 'cpus: 2' 'rests by: hlt' 'heard: hello' 'clock: kvm-clock\|clock: tsc'; do
    grep -q "$line" "$dir/out" || fail "no '$line'"
done
