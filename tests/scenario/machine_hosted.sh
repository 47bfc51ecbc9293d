#!/bin/sh
# A machine is a guest of the host's system: each of its disk requests is a read of its worker's there, and its processors
# are threads of the host's usual class, which share a processor with who works there, and stand while it is paused.
# How long it takes, and how late the host's own programs wake, `make bench BENCH=hosted` measures.
# rows: HYP-07 PRO-08
# timeout: 120
# release
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_linux.sh"
need_root
need_cmd python3 taskset
need_linux virtio_blk
[ -r /proc/self/io ] || skip "this kernel does not count what a process reads"

BLOCKS=1000
cd "$WORK"
linux_initrd initrd <<'SH'
exec 3</dev/vda # else its pages leave the cache with who closes it last
echo up
while read -r verb n; do
    case $verb in
    direct) dd if=/dev/vda of=/dev/null bs=4k count="$n" iflag=direct 2>/dev/null ;;
    cached) dd if=/dev/vda of=/dev/null bs=4k count="$n" 2>/dev/null ;;
    work) while :; do i=$((i + 1)); [ $((i % 2000)) != 0 ] || echo "step $((i / 2000))"; done ;;
    esac
    echo "did $verb $n"
done
SH
dd if=/dev/urandom of=disk bs=4k count=$BLOCKS 2>/dev/null
strata run -d --name hosted --as machine --network none --memory 128M --cpus 1 --kernel "$LINUX" --initrd initrd \
    --append "console=ttyS0 quiet panic=-1" --disk disk >/dev/null
said() { strata logs hosted | tr -d '\r' | grep -q "^$1\$"; }
between() { # WHAT VALUE LEAST MOST
    [ "$2" -ge "$3" ] && [ "$2" -le "$4" ] || fail "$1: $2, not within $3 and $4"
}
within 60 said up
order() { echo "$*" | timeout 1 "$STRATA" --state "$STATE" console hosted >/dev/null || true; }
worker=$(strata inspect --json hosted | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["pid"])')

# Its requests: one read by the worker each, of as many bytes; and none for what the guest's own cache holds.
counter() { sed -n "s/^$1: //p" "/proc/$worker/io"; }
reads() { # VERB N - what the worker read meanwhile: $bytes by $calls calls
    bytes=$(counter rchar) calls=$(counter syscr)
    order "$1 $2"
    within 20 said "did $1 $2"
    bytes=$(($(counter rchar) - bytes)) calls=$(($(counter syscr) - calls))
}
reads direct $BLOCKS
between "bytes that the worker read" "$bytes" $((BLOCKS * 4096)) $((BLOCKS * 4096 + 100000))
between "its calls for them" "$calls" $BLOCKS $((BLOCKS * 4))
reads cached $BLOCKS
between "bytes to fill the guest's cache" "$bytes" $((BLOCKS * 4096 / 2)) $((BLOCKS * 4096 + 100000))
reads cached $((BLOCKS - 1))
between "bytes that the guest had" "$bytes" 0 100000

# Its processor: of the threads the one that works. All are of the usual class, none goes before others.
order work
within 20 said "step 1"
used() { # THREAD - its processor time, ms
    awk '{ print int($1 / 1000000) }' "/proc/$worker/task/$1/schedstat"
}
most=0
for task in /proc/"$worker"/task/*; do
    thread=${task##*/}
    is "class and nice of $thread" "$(awk '{ sub(/.*\) /, ""); print $39, $17 }' "$task/stat")" "0 $(nice)"
    if [ "$(used "$thread")" -gt "$most" ]; then most=$(used "$thread") vcpu=$thread; fi
done

# One processor for it and a process of the host that never rests: it goes on, and gets no more than its part.
taskset -a -p -c "$(sed -n 's/^Cpus_allowed_list:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$worker/status")" "$worker" >/dev/null
one=$(sed -n 's/^Cpus_allowed_list:[^0-9]*//p' "/proc/$worker/task/$vcpu/status")
steps() { strata logs hosted | grep -c '^step'; }
taskset -c "$one" setsid timeout 60 sh -c 'while :; do :; done' &
busy=$!
sleep 0.5
before=$(used "$vcpu") had=$(steps) at=$(date +%s%N)
sleep 3
share=$((($(used "$vcpu") - before) * 100000000 / ($(date +%s%N) - at)))
between "its part of a processor, in hundredths" "$share" 2 65
[ "$(steps)" -gt "$had" ] || fail "it does not go on beside a busy process"
kill "$busy"
wait "$busy" 2>/dev/null || true

# Paused it needs nothing of the host, and no request of its passes.
strata pause hosted >/dev/null
sleep 0.5
before=$(used "$vcpu") had=$(steps)
sleep 1
is "while it is paused" "$(used "$vcpu") $(steps)" "$before $had"
strata resume hosted >/dev/null
goes_on() { [ "$(steps)" -gt "$had" ]; }
within 20 goes_on
