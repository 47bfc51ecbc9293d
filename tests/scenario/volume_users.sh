#!/bin/sh
# One pool, three kinds of user at the same time: a machine of a foreign monitor boots from
# a volume, a container has another one mounted, a process of the host writes a third.
# rows: STO-04 STO-11
. "$(dirname "$0")/lib.sh"
need_root
need_busybox
need_cmd qemu-system-x86_64 qemu-io qemu-img as ld mkfs.ext4

mkdir "$WORK/rack"
strata pool create --member "$WORK/rack" --quota 1G rack >/dev/null
for name in machine container host; do
    strata volume create --size 64M --pool rack --format qcow2 $name >/dev/null
done
strata volume delete container >/dev/null
strata volume create --size 64M --pool rack --filesystem ext4 container >/dev/null
fails 1 strata volume create --size 900M --pool rack more
has "quota" "$OUT" "quota"

# A boot sector, and what it is to read.
as --32 -o "$WORK/boot.o" "$TOP/tests/resource/storage/vhost_user/boot.S"
ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o "$WORK/boot.bin" "$WORK/boot.o"
truncate -s 64M "$WORK/disk"
dd if="$WORK/boot.bin" of="$WORK/disk" conv=notrunc status=none
dd if=/dev/urandom of="$WORK/disk" bs=512 seek=8 count=16 conv=notrunc status=none
strata volume delete machine >/dev/null
strata volume import --pool rack --format raw "$WORK/disk" machine >/dev/null

fails 1 strata volume export machine --vhost-user "$WORK/s" --nbd "$WORK/n"
has "one way" "$OUT" "say how to serve it"
"$STRATA" --state "$STATE" volume export machine --vhost-user "$WORK/machine.sock" >"$WORK/out" 2>&1 &
first=$!
"$STRATA" --state "$STATE" volume export host --nbd "$WORK/host.sock" >"$WORK/out2" 2>&1 &
second=$!
on_exit() { kill "$first" "$second" 2>/dev/null || true; }
within 10 grep -q "$WORK/machine.sock" "$WORK/out"
within 10 grep -q "nbd+unix" "$WORK/out2"

strata run --detach --name guest --volume container:/data busybox -- \
    sh -c 'for i in $(seq 200); do echo $i > /data/$i; sleep 0.05; done' >/dev/null
qemu-io -f raw -c 'write -P 7 1M 8M' "nbd+unix:///?socket=$WORK/host.sock" >/dev/null &
writer=$!
code=0
timeout 100 qemu-system-x86_64 -machine q35,accel=tcg -nodefaults -display none -m 64 \
    -object memory-backend-memfd,id=mem,size=64M,share=on -numa node,memdev=mem \
    -chardev "socket,id=c,path=$WORK/machine.sock" -device vhost-user-blk-pci,chardev=c,bootindex=1 \
    -debugcon "file:$WORK/debug" -device isa-debug-exit,iobase=0xf4,iosize=1 >"$WORK/qemu" 2>&1 || code=$?
is "the machine ended by itself" "$code" 159 # 2 * 'O' + 1
is "its word" "$(cat "$WORK/debug")" O
wait "$writer"
within 20 sh -c "[ \"\$('$STRATA' --state '$STATE' exec guest -- cat /data/100)\" = 100 ]"
kill "$first" "$second"
wait "$first" "$second" || true
on_exit() { :; }

# What each wrote is there, and nowhere else.
strata volume export --file "$WORK/after" --format raw machine >/dev/null
dd if="$WORK/disk" bs=512 skip=8 count=16 status=none | LC_ALL=C tr '\000-\376\377' '\001-\377\000' >"$WORK/want"
dd if="$WORK/after" bs=512 skip=64 count=16 of="$WORK/have" status=none
cmp "$WORK/want" "$WORK/have" || fail "what the machine wrote"
dd if=/dev/zero bs=1M count=64 status=none | cmp -s - "$WORK/after" && fail "nothing was written"
strata volume export --file "$WORK/after2" --format raw host >/dev/null
qemu-io -f raw -c 'read -P 7 1M 8M' -c 'read -P 0 9M 55M' "$WORK/after2" >/dev/null
strata delete --force guest >/dev/null
is "after the guest" "$(strata run --rm --volume container:/data:ro busybox -- cat /data/99)" 99
strata volume delete machine container host >/dev/null
strata pool delete rack >/dev/null
