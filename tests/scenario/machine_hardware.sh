#!/bin/sh
# The hardware's virtualization, by the host's kernel: with /dev/kvm a guest runs by its memory and its scheduler, and stock
# kernels where that is of use; without, the engine that runs instead is named with the reason. How large each one is.
# rows: SYS-19
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 200
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3 unshare
need_busybox
. "$TOP/tests/linux.sh"
linux_find virtio_net
cd "$WORK"
python3 "$TOP/tests/scenario/multiboot.py" small 'say:up\n' fill:24 'say:ready\n' spin
python3 "$TOP/tests/scenario/multiboot.py" ends 'say:up\n' exit:7

of_machine() { # GUEST KEY
    strata inspect --json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["machine"][sys.argv[1]])' "$2"
}
ready() { strata logs "$1" | grep -q ready; }

# Without the interface: by name it is refused, and by itself another engine runs; both say why.
cat >absent <<'SH'
mount --bind "$WORK/nothing" /dev/kvm || exit 77
strata() { "$STRATA" --state "$STATE" "$@"; }
strata run --name chosen --as machine --network none --kernel ends </dev/null
echo $? >code
strata run --rm --as machine --network none --kernel ends --engine kvm </dev/null >refused 2>&1
echo $? >>code
SH
: >nothing
[ -e /dev/kvm ] || : >absent
if [ -e /dev/kvm ]; then
    code=0
    unshare -m sh absent >said 2>&1 || code=$?
    [ "$code" != 77 ] || skip "cannot cover /dev/kvm"
else
    strata run --name chosen --as machine --network none --kernel ends </dev/null >/dev/null || echo $? >code
    strata run --rm --as machine --network none --kernel ends --engine kvm </dev/null >refused 2>&1 || echo $? >>code
fi
is "codes" "$(tr '\n' ' ' <code)" "7 125 "
is "what runs instead" "$(of_machine chosen engine)" translate
has "why" "$(of_machine chosen why)" /dev/kvm
has "by name" "$(cat refused)" /dev/kvm
strata delete chosen >/dev/null

# With it: a guest's memory is the worker's, its processor a thread that the host's scheduler counts.
if (: <>/dev/kvm) 2>/dev/null; then
    strata run -d --name hard --as machine --network none --kernel small --memory 64M --engine kvm >/dev/null
    within 60 ready hard
    strata inspect --json hard | python3 -c "import json, sys
m = json.load(sys.stdin)[0]['machine']
assert m['engine'] == 'kvm' and m['instructions']['interpreted'] == 0 and m['instructions']['translated']['blocks'] == 0, m" ||
        fail "software executes it"
    pid=$(strata inspect --json hard | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["pid"])')
    resident=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
    [ "$resident" -ge 24576 ] || fail "the guest filled 24 MiB, and $resident KiB are there"
    spent() { cat /proc/"$pid"/task/*/stat | sed 's/.*) //' | awk '{ n += $12 + $13 } END { print n }'; }
    one=$(spent)
    sleep 2
    [ $(($(spent) - one)) -ge 20 ] || fail "its processor is no thread of the host's"
    strata pause hard >/dev/null
    one=$(spent)
    sleep 1
    [ $(($(spent) - one)) -le 5 ] || fail "it computes while it stands"
    strata delete --force hard >/dev/null
    # What is of use is found out by a guest that runs; then stock kernels run by it, too.
    strata run --name chosen --as machine --network none --kernel ends </dev/null >/dev/null || true
    if [ "$(of_machine chosen engine)" = kvm ]; then
        is "a stock kernel" "$(strata run --name stock --as machine --network none --engine kvm --kernel "$linux" busybox \
            uname -r </dev/null)" "${linux##*/vmlinuz-}"
        is "by hardware" "$(of_machine stock engine)" kvm
    else
        has "why it is of no use here" "$(of_machine chosen why)" /dev/kvm
        is "a stock kernel, all the same" "$(strata run --rm --as machine --network none --kernel "$linux" busybox \
            uname -r </dev/null)" "${linux##*/vmlinuz-}"
        echo "stock kernels by hardware are not tried: $(of_machine chosen why)"
    fi
fi

# What each back end is of this project; the rest of a machine is the same for both.
lines() { find "$@" -name '*.[ch]' -exec cat {} + | wc -l; }
hardware=$(lines "$TOP/src/virt/monitor/kvm")
own=$(lines "$TOP/src/virt/isa/x86" "$TOP/src/virt/isa/ir" "$TOP/src/virt/isa/emit")
echo "lines: $hardware of the back end for the host's kernel, $own of the processors in software"
[ "$hardware" -gt 0 ] && [ "$own" -gt $((hardware * 5)) ] || fail "$hardware lines by hardware, $own in software"
