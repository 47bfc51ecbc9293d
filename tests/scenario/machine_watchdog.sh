#!/bin/sh
# A Linux that does not serve its watchdog is reset, ended or held; one that does, or stands in a
# pause, is left alone.
# rows: OPS-15
# release
# timeout: 600
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3 gcc
root=${STRATA_LINUX:-/}
linux=$(find "$root/boot" -name 'vmlinuz-*' 2>/dev/null | sort | tail -n 1)
modules=
for name in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk virtio_balloon \
    watchdog wdat_wdt; do
    modules="$modules $(find "$root/lib/modules" -name "$name.ko" 2>/dev/null | sort | tail -n 1)"
done
[ -n "$linux" ] || skip "no Linux kernel below $root (STRATA_LINUX)"
case $modules in *wdat_wdt*) ;; *) skip "that kernel has no module wdat_wdt" ;; esac

printed() { [ "$(strata logs "$1" | grep -c "$2")" -ge "${3:-1}" ]; }
# tell GUEST WORD... - say it, and wait for the answer, which is left in $OUT.
tell() {
    guest=$1
    shift
    before=$(strata logs "$guest" | wc -l)
    printf '%s\n' "$*" | timeout 1 "$STRATA" --state "$STATE" console "$guest" >/dev/null 2>&1 || true
    tries=400
    while [ "$(strata logs "$guest" | wc -l)" -le "$before" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "'$*' was not answered: $(strata logs "$guest" | tail -5)"
        sleep 0.1
    done
    OUT=$(strata logs "$guest" | tail -n +$((before + 1)) | tr -d '\r' | tail -1)
}
# served WHAT - it is, and from its beginning again, but for a second.
served() {
    tell web k
    case $OUT in "left 8" | "left 7") ;; *) fail "$1: $OUT" ;; esac
}
state() { strata --json inspect "$1" | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['machine']['state'])"; }
is_state() { [ "$(state "$1")" = "$2" ]; }

cd "$WORK"
gcc -D_GNU_SOURCE -O2 -static -o init "$TOP/tests/scenario/machine_words.c"
# shellcheck disable=SC2086
python3 "$TOP/tests/virt/monitor/cpio.py" init initrd $modules
run() { # NAME OPTION...
    name=$1
    shift
    strata run -d --name "$name" --as machine --kernel "$linux" --initrd initrd --memory 256M \
        --stop-timeout 1s --append "console=ttyS0 quiet panic=0" "$@" >/dev/null
    within 60 printed "$name" ready
}

# Nobody serves it: it starts again, and knows why.
run web --watchdog reset
tell web d 3
is "watched" "$OUT" "watched for 3, was well"
within 60 printed web ready 2

# It is served, beyond its time; stands in a pause; is saved meanwhile; is no longer watched.
tell web d 8
is "watched again" "$OUT" "watched for 8, was hung"
for _ in 1 2 3; do
    sleep 3
    served "served"
done
strata pause web >/dev/null
sleep 9
strata resume web >/dev/null
served "paused"
strata save web >/dev/null
sleep 9
strata start web --engine interpret >/dev/null
served "saved"
tell web v
sleep 9
tell web t
is "not watched any more" "${OUT%% *}" time
is "started" "$(strata logs web | grep -c ready)" 2
strata delete --force web >/dev/null

# It is ended; it stands, for who looks at it, and starts again.
run off --watchdog off
tell off d 2
is "ended" "$(timeout 60 "$STRATA" --state "$STATE" wait off)" 142
strata delete off >/dev/null
run held --watchdog hold
tell held d 2
within 60 is_state held crashed
strata debug dump held --file core >/dev/null
[ -s core ] || fail "no dump of a guest that hangs"
strata reset held >/dev/null
within 60 printed held ready 2
is "on again" "$(state held)" running
strata delete --force held >/dev/null

# Without the word there is none; a container has none.
run plain
tell plain d 2
is "none" "$OUT" "no watchdog"
strata delete --force plain >/dev/null
fails 125 strata create --watchdog off busybox
has "a container" "$OUT" "cannot use --watchdog with a container"
