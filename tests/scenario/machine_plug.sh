#!/bin/sh
# A Linux that runs gets processors and memory, and gives processors back: it uses new ones, also
# when it was saved in between, and started again.
# rows: OPS-04
# release
# timeout: 600
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3 gcc
root=${STRATA_LINUX:-/}
linux=$(find "$root/boot" -name 'vmlinuz-*' 2>/dev/null | sort | tail -n 1)
modules=
for name in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk virtio_balloon; do
    modules="$modules $(find "$root/lib/modules" -name "$name.ko" 2>/dev/null | sort | tail -n 1)"
done
[ -n "$linux" ] && [ -n "${modules# }" ] || skip "no Linux kernel with modules below $root (STRATA_LINUX)"

printed() { [ "$(strata logs "$1" | grep -c "$2")" -ge "${3:-1}" ]; }
# tell WORD... - say it to the guest, and wait for the answer, which is left in $OUT.
tell() {
    before=$(strata logs web | wc -l)
    printf '%s\n' "$*" | timeout 1 "$STRATA" --state "$STATE" console web >/dev/null 2>&1 || true
    tries=400
    while [ "$(strata logs web | wc -l)" -le "$before" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "'$*' was not answered: $(strata logs web | tail -5)"
        sleep 0.1
    done
    OUT=$(strata logs web | tail -n +$((before + 1)) | tr -d '\r' | tail -1)
}
now() { strata --json inspect web | python3 -c "import json, sys
m = json.load(sys.stdin)[0]['machine']['processors']
print(m['now'], m['most'])"; }
# says WORD ANSWER - it answers so, perhaps a moment later.
says() {
    tell "$1"
    [ "$OUT" = "$2" ]
}
bytes() { strata --json inspect web | python3 -c "import json, sys
m = json.load(sys.stdin)[0]['machine']['memory']
print(*(m[k] >> 20 for k in ('bytes', 'most', 'given_back')))"; }
# between LEAST MOST - the guest has that many MiB.
between() {
    tell g
    [ "${OUT%% *}" = memory ] && [ "${OUT#memory }" -ge "$1" ] && [ "${OUT#memory }" -le "$2" ]
}
gives() { [ "$(bytes)" = "$1" ]; }
SUM=3644761281

cd "$WORK"
gcc -D_GNU_SOURCE -O2 -static -o init "$TOP/tests/scenario/machine_words.c"
# shellcheck disable=SC2086
python3 "$TOP/tests/virt/monitor/cpio.py" init initrd $modules
strata run -d --name web --as machine --kernel "$linux" --initrd initrd --memory 256M --memory-most 1280M \
    --cpus 1 --cpus-most 4 \
    --stop-timeout 1s --append "console=ttyS0 quiet panic=0" >/dev/null
within 60 printed web ready
is "at first" "$(now)" "1 4"
tell c
is "the guest, at first" "$OUT" "processors: 0, new: 0, on: 1"

# Up: each new one computes.
strata resize web --cpus 3 >/dev/null
is "given" "$(now)" "3 4"
within 20 says c "processors: 0 1 2, new: 0, on: 3"
for cpu in 0 1 2; do
    tell m $cpu
    is "on processor $cpu" "$OUT" "on $cpu: $SUM"
done

# Saved and on with another engine, they are the same; down, and up again.
strata save web >/dev/null
strata start web --engine interpret >/dev/null
is "saved" "$(now)" "3 4"
tell m 2
is "on processor 2, saved" "$OUT" "on 2: $SUM"
strata save web >/dev/null
strata start web --engine translate >/dev/null
strata resize web --cpus 2 >/dev/null
is "given back" "$(now)" "2 4"
tell c
is "the guest, smaller" "$OUT" "processors: 0 1, new: 0, on: 2"
tell m 2
is "one that is not there" "$OUT" "cannot run on 2"
strata resize web --cpus 4 >/dev/null
within 20 says c "processors: 0 1 2 3, new: 0, on: 4"
for cpu in 2 3; do
    tell m $cpu
    is "on processor $cpu, again" "$OUT" "on $cpu: $SUM"
done

# Saved with all of them: more or fewer make no other machine.
strata save web >/dev/null
strata start web >/dev/null
is "saved, all" "$(now)" "4 4"

# Started again, it has what it was given last.
strata reset web >/dev/null
within 60 printed web ready 2
within 20 says c "processors: 0 1 2 3, new: 0, on: 4"
strata stop web >/dev/null
strata resize web --cpus 2 >/dev/null
strata start web >/dev/null
within 60 printed web ready 3
is "a new start" "$(now)" "2 4"
tell c
is "the guest, a new start" "$OUT" "processors: 0 1, new: 0, on: 2"

# A guest that is paused lets go when it goes on.
strata pause web >/dev/null
strata resize web --cpus 1 >/dev/null
is "paused" "$(now)" "2 4"
strata resume web >/dev/null
has_one() { [ "$(now)" = "1 4" ]; }
within 20 has_one

# Memory comes in steps of 128 MiB; what of a step was not asked for, the balloon takes.
between 180 256 || fail "at first: $OUT"
strata resize web --memory 320M >/dev/null
within 20 between 240 400
within 20 gives "384 1280 64"
strata resize web --memory 768M >/dev/null
within 20 between 640 768
is "all of it" "$(bytes)" "768 1280 0"
tell u 450
is "new memory" "$OUT" "used 450, wrong 0"
strata save web >/dev/null
strata start web --engine interpret >/dev/null
is "saved" "$(bytes)" "768 1280 0"
strata save web >/dev/null
strata start web --engine translate >/dev/null
tell u 460
is "new memory, saved" "$OUT" "used 460, wrong 0"
strata resize web --memory 512M >/dev/null
within 20 gives "768 1280 256"
strata resize web --memory 1G >/dev/null
within 20 between 880 1024
strata reset web >/dev/null
within 60 printed web ready 4
within 20 between 880 1024
tell u 600
is "new memory, started again" "$OUT" "used 600, wrong 0"

# A snapshot has the memory of its time, whatever came since.
strata snapshot create web full >/dev/null
strata resize web --memory 1280M >/dev/null
within 20 gives "1280 1280 0"
strata kill web >/dev/null
strata wait web >/dev/null || true
strata snapshot restore web full >/dev/null
strata start web >/dev/null
is "of the snapshot" "$(bytes)" "1024 1280 0"
tell u 610
is "new memory of the snapshot" "$OUT" "used 610, wrong 0"

# What cannot be is refused, and changes nothing.
fails 1 strata resize web --cpus 5
has "too many" "$OUT" "--cpus-most"
fails 1 strata resize web --cpus 4.5
has "a part of one more" "$OUT" "--cpus-most"
is "still" "$(now)" "1 4"
fails 1 strata resize web --memory 1281M
has "too much" "$OUT" "--memory-most"
strata delete --force web >/dev/null
fails 125 strata create --as machine --kernel "$linux" --cpus 4 --cpus-most 2
has "room for fewer" "$OUT" "--cpus-most"
fails 125 strata create --as machine --kernel "$linux" --memory 256M --memory-most 300M
has "room for part of a step" "$OUT" "128M"
fails 125 strata create --as machine --kernel "$linux" --memory 256M --memory-most 1T
has "more than addresses reach" "$OUT" "512G"
fails 125 strata create --cpus-most 2 busybox
has "a container" "$OUT" "cannot use --cpus-most with a container"

# Of a machine from an image, its agent switches on what comes.
need_busybox
strata run -d --name box --as machine --kernel "$linux" --memory 256M --memory-most 512M --cpus-most 3 \
    busybox sleep 1000 >/dev/null
is "programs, at first" "$(strata exec box nproc)" 1
strata resize box --cpus 3 --memory 512M >/dev/null
has_three() { [ "$(strata exec box nproc)" = 3 ]; }
within 20 has_three
more() { [ "$(strata exec box sh -c "free -m | awk '/Mem/ {print \$2}'")" -gt 400 ]; }
within 20 more
strata save box >/dev/null
strata start box >/dev/null
is "programs, saved" "$(strata exec box nproc)" 3
strata resize box --cpus 1 >/dev/null
is "programs, at last" "$(strata exec box nproc)" 1
strata delete --force box >/dev/null
