#!/bin/sh
# A thin disk of a machine on a pool that is too small: it takes what is written, the guest hears that no more fits,
# the pool says so, nothing that was acknowledged is lost; discard and more room let it go on.
# rows: STO-32
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 200
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_pool.sh"
. "$TOP/tests/linux.sh"
need_root
need_cmd python3
need_busybox
linux_find

cd "$WORK"
mkdir n1
on_exit() {
    pool_on_exit
    umount -l "$WORK/n1" 2>/dev/null || true
}
mount -t tmpfs -o size=24M tmpfs n1 || skip "cannot mount a tmpfs"
inside() { # SCRIPT, in which `device` prints the disk
    strata exec web sh -c "device() { echo /dev/\$(basename \$(dirname \$(grep -lx d /sys/block/vd?/serial))); }; $1"
}
# fill TEXT MIB AT - whether it was written down, from that MiB on
fill() { inside "yes $1 | head -c $(($2 << 20)) | dd of=\$(device) bs=64k seek=$(($3 * 16)) iflag=fullblock conv=fsync,notrunc 2>/dev/null && echo fine || echo not"; }
sum() { inside "echo 3 >/proc/sys/vm/drop_caches; dd if=\$(device) bs=1M skip=$2 count=$1 2>/dev/null | md5sum | cut -c 1-32"; }
want() { yes "$1" | head -c $(($2 << 20)) | md5sum | cut -c 1-32; }
used() { df -k n1 | awk 'END {print int($3 / 1024)}'; }

strata pool create --member "$WORK/n1/p" small >/dev/null
strata volume create --pool small --size 100G d >/dev/null
strata run -d --name web --as machine --network none --kernel "$linux" -v d busybox sh -c 'while :; do sleep 1000; done' >/dev/null
is "empty" "$(used) $(inside 'cat /sys/block/$(basename $(device))/size')" "0 209715200"
is "what fits" "$(fill a 8 0)" fine
is "takes its room" "$(used)" 8
is "what does not" "$(fill b 32 1000)" not
is "the pool says so" "$(pool small '[p["state"], "pool add" in p["members"][0]["to_do"]]')" "['full', True]"
is "what was written down" "$(sum 8 0)" "$(want a 8)"
inside 'blkdiscard -o $((1000 << 20)) -l $((32 << 20)) $(device)'
is "given back" "$(used) $(pool small 'p["state"]')" "8 ok"
is "it goes on" "$(fill c 12 2000)" fine
is "what is there" "$(sum 8 0) $(sum 12 2000)" "$(want a 8) $(want c 12)"
is "again too much" "$(fill d 16 3000)" not
mount -o remount,size=64M n1
is "more room" "$(fill d 16 3000)" fine
is "all of it" "$(sum 8 0) $(sum 12 2000) $(sum 16 3000)" "$(want a 8) $(want c 12) $(want d 16)"
strata delete --force web >/dev/null
within 10 strata volume delete d >/dev/null
