#!/bin/sh
# A container has the host's kernel: another one is refused, with the reason and what to do; a machine runs it, from the
# same image.
# rows: OSL-12
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 120
. "$(dirname "$0")/lib.sh"
need_root
need_busybox
. "$TOP/tests/linux.sh"
linux_find
own=$(uname -r)
other=${linux##*/vmlinuz-}
[ "$own" != "$other" ] || skip "the kernel below ${STRATA_LINUX:-/} is the host's"

is "a container's kernel" "$(strata run --rm busybox uname -r)" "$own"
fails 125 strata run --rm --kernel "$linux" busybox uname -r
has "why, and what to do" "$OUT" "cannot use --kernel with a container: a machine boots a kernel (--as machine)"
is "a machine's kernel" "$(strata run --rm --as machine --network none --kernel "$linux" busybox uname -r </dev/null)" "$other"
is "no guest is left" "$(strata list --json)" "[]"
