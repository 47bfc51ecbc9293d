#!/bin/sh
# Disks of a machine grow while it runs, and its kernel knows at once; and while it does not.
# rows: OPS-04
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 300
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/linux.sh"
need_root
need_cmd python3
need_busybox
linux_find

inside() { # SCRIPT
    strata exec web sh -c "$1"
}
sectors() { # SERIAL - as the kernel in the guest has it
    inside "cat \$(dirname \$(grep -lx $1 /sys/block/vd?/serial))/size"
}
has_sectors() { [ "$(sectors "$1")" = "$2" ]; }
end() {
    strata kill web >/dev/null
    strata wait web >/dev/null || true
}
last() { # SERIAL - the last sector of the disk, as the device gives it
    inside "d=/dev/\$(basename \$(dirname \$(grep -lx $1 /sys/block/vd?/serial)))
        echo 3 >/proc/sys/vm/drop_caches; dd if=\$d skip=\$((\$(cat /sys/block/\${d##*/}/size) - 1)) count=1 2>/dev/null | head -c 4"
}
mark() { # SERIAL - and write there
    inside "d=/dev/\$(basename \$(dirname \$(grep -lx $1 /sys/block/vd?/serial)))
        echo last | dd of=\$d seek=\$((\$(cat /sys/block/\${d##*/}/size) - 1)) conv=notrunc,fsync 2>/dev/null"
}

cd "$WORK"
head -c 1048576 /dev/zero >disk
head -c 1048576 /dev/zero >book
strata run -d --name web --as machine --kernel "$linux" --disk disk,serial=data --disk book,read-only,serial=book \
    busybox sh -c 'while :; do sleep 1000; done' >/dev/null
inside 'echo kept >/file; sync'
is "at first" "$(sectors data)" 2048

# While it runs.
is "it says the name" "$(strata resize web --disk 20G)" web
within 5 has_sectors root 41943040
strata resize web --disk data=8M --disk root=21G >/dev/null
within 5 has_sectors data 16384
within 5 has_sectors root 44040192
has "the kernel tells" "$(inside dmesg)" "new size: 16384 512-byte"
is "new room is empty" "$(last data | od -An -tx1 | tr -d ' ')" 00000000
mark data
mark root
is "the host's file" "$(stat -c %s disk) $(tail -c 512 disk | head -c 4)" "8388608 last"
is "the root's" "$(last root)" last
within 5 sh -c "[ \"\$('$STRATA' --state '$STATE' exec web cat /file)\" = kept ]"

# Not that.
fails 1 strata resize web --disk data=4M
has "smaller" "$OUT" "cannot resize disk '$WORK/disk' of guest 'web': it has 8388608 bytes"
fails 1 strata resize web --disk book=2M
has "read only" "$OUT" "has no disk book that is a file and can be written"
fails 1 strata resize web --disk none=2M
has "unknown" "$OUT" "has no disk none"
for word in data=1000 data= =0 many; do
    fails 1 strata resize web --disk $word
    has "no size" "$OUT" "cannot use --disk '$word'"
done
fails 1 strata resize web --disk data=16M --disk wrong
is "nothing of it was done" "$(sectors data)" 16384
strata debug mark web >/dev/null
fails 1 strata resize web --disk data=16M
has "while it can go back" "$OUT" "since it was marked"
strata run -d --name box busybox sleep 1000 >/dev/null
fails 1 strata resize box --disk 2G
has "a container" "$OUT" "cannot use --disk with guest 'box': it is a container"
strata delete --force box >/dev/null

# While it does not run; what was there stays; a snapshot has the size of then.
end
strata snapshot create web small >/dev/null
strata resize web --disk 22G --disk data=9M >/dev/null
fails 1 strata resize web --disk root=1G
has "smaller, stopped" "$OUT" "cannot resize disk"
is "the file" "$(stat -c %s disk)" 9437184
strata start web >/dev/null
is "the sizes" "$(sectors root) $(sectors data) $(inside 'cat /file')" "46137344 18432 kept"
is "new room is empty" "$(last root | od -An -tx1 | tr -d ' ')" 00000000
strata save web >/dev/null
fails 1 strata resize web --disk 30G
has "saved" "$OUT" "the guest is saved"
strata start web --fresh >/dev/null
end
strata snapshot restore web small >/dev/null
strata start web >/dev/null
is "the sizes of then" "$(sectors root) $(sectors data) $(last data) $(last root) $(inside 'cat /file')" "44040192 16384 last last kept"
strata delete --force web >/dev/null
