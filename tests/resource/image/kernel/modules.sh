#!/bin/sh
# modules.sh IMAGE AGENT - a distribution's kernel and modules, beside what others read out of them.
#
# rows: FV-01
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
set -eu
image=$1
agent=$2
root=${STRATA_LINUX:-/}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "failed: $*"
    exit 1
}

skip() {
    echo "skipped: $*"
    exit 77
}

linux=$(find "$root/boot" -name 'vmlinuz-*' 2>/dev/null | sort | tail -n 1)
[ -n "$linux" ] || skip "no Linux kernel below $root/boot (STRATA_LINUX)"
release=${linux##*/vmlinuz-}
[ -d "$root/lib/modules/$release" ] || skip "no modules beside $linux"
PATH=$PATH:/sbin:/usr/sbin
command -v depmod >/dev/null && command -v cpio >/dev/null || skip 'depmod (kmod) and cpio are not installed'

make() { # STATE FILE MODULES -> KERNEL INITRD
    mkdir -p "$dir/$1"
    echo "{\"state\":\"$dir/$1\",\"file\":\"$2\",\"modules\":\"$3\",\"agent\":\"$agent\"}" | "$image" kernel >"$dir/out" ||
        fail "$(cat "$dir/out")"
    kernel=$(sed 's/.*"kernel":"\([^"]*\)".*/\1/' "$dir/out")
    initrd=$(sed 's/.*"initrd":"\([^"]*\)".*/\1/' "$dir/out")
}

make one "$linux" "$root/lib/modules/$release"
# The kernel: its segments are what the kernel's own script would find inside.
python3 "$(dirname "$0")/segments.py" "$linux" "$kernel" || fail 'other bytes than those inside the kernel'

# The archive: readable by cpio, each module the package's own, in an order that modprobe would take, too.
mkdir "$dir/tree"
(cd "$dir/tree" && cpio -i --quiet --no-absolute-filenames <"$initrd" 2>/dev/null) || fail 'cpio cannot read it'
cmp "$dir/tree/init" "$agent" || fail 'another agent'
mkdir -p "$dir/base/lib/modules"
cp -r "$root/lib/modules/$release" "$dir/base/lib/modules/"
depmod -b "$dir/base" "$release"
while read -r stage name; do
    case $stage in root | network | files | later) ;; *) fail "stage '$stage'" ;; esac
    modprobe -d "$dir/base" -S "$release" --show-depends "$name" >"$dir/depends" || fail "modprobe does not know '$name'"
    while read -r _ path _; do
        case $path in */*) ;; *) continue ;; esac
        need=$(basename "$path" | sed 's/\.ko.*//; s/-/_/g')
        [ "$need" = "$name" ] || grep -q "^$need$" "$dir/seen" || fail "'$name' comes before '$need', which it needs"
        cmp -s "$path" "$dir/tree/strata/$need.ko" || fail "'$need' is not the package's"
    done <"$dir/depends"
    echo "$name" >>"$dir/seen"
done <"$dir/tree/strata/modules"
for name in virtio_blk virtio_net virtio_console virtio_rng virtio_balloon vmw_vsock_virtio_transport button overlay; do
    grep -q "^$name$" "$dir/seen" || fail "'$name' is not there"
done

# The same from lists that depmod made, again, and from modules that are packed.
make two "$linux" "$dir/base/lib/modules/$release"
cmp "$initrd" "$dir/one/kernels/${initrd##*/}" || fail 'other bytes from the same modules'
find "$dir/base" -name 'virtio*.ko' -exec xz -q {} +
find "$dir/base" -name 'vsock.ko' -exec zstd -q --rm {} +
depmod -b "$dir/base" "$release"
make three "$linux" "$dir/base/lib/modules/$release"
cmp "$initrd" "$dir/one/kernels/${initrd##*/}" || fail 'other bytes from packed modules'

# A damaged module is named.
find "$dir/base" -name 'virtio_ring.ko.xz' -exec truncate -s 4000 {} +
touch "$dir/base/lib/modules/$release/modules.dep"
mkdir "$dir/four"
if echo "{\"state\":\"$dir/four\",\"file\":\"$linux\",\"modules\":\"$dir/base/lib/modules/$release\",\"agent\":\"$agent\"}" |
    "$image" kernel >"$dir/out"; then
    fail 'half a module was taken'
fi
grep -q "virtio_ring" "$dir/out" || fail "no reason was given: $(cat "$dir/out")"
