#!/bin/sh
# A machine of another monitor and processes of the host use volumes of one pool at once,
# each within the pool's quota.
# rows: STO-04
. "$(dirname "$0")/lib.sh"
need_root
need_cmd qemu-system-x86_64 qemu-io python3
path() { strata volume inspect --json "$1" | sed -n 's/^ *"path": "\(.*\)",$/\1/p'; }
servers=
on_exit() { for pid in $servers; do kill "$pid" 2>/dev/null || true; done; }

strata pool create p --quota 100M --member "$WORK/m" >/dev/null
for name in file net host; do
    strata volume create --pool p --size 32M $name >/dev/null
done
fails 1 strata volume create --pool p --size 32M more
has "quota" "$OUT" "the quota of pool 'p'"
for name in net host; do
    "$STRATA" --state "$STATE" volume export $name --nbd "$WORK/$name.s" >"$WORK/$name.out" 2>&1 &
    servers="$servers $!"
    within 10 grep -qs nbd+unix "$WORK/$name.out"
done

# A boot sector of real mode: read the first block of the second disk over the firmware,
# write it to the second block, and tell on the debug port.
python3 - "$WORK/boot" <<'PY'
import struct, sys
code = bytes.fromhex("31c08ed88ed0bc007c")                       # segments and stack
code += bytes.fromhex("b80102" "bb0080" "b90100" "ba8100" "cd13" "7215")  # read C0 H0 S1 of disk 0x81
code += bytes.fromhex("b80103" "bb0080" "b90200" "ba8100" "cd13" "7206")  # write C0 H0 S2
code += bytes.fromhex("b04f" "e6e9" "ebfe")                      # 'O' on port 0xe9
code += bytes.fromhex("b045" "e6e9" "ebfe")                      # 'E'
open(sys.argv[1], "wb").write(code.ljust(510, b"\0") + b"\x55\xaa")
PY
qemu-io -f raw -c 'write -P 77 0 512' "$(path file)" >/dev/null
qemu-io -f raw -c 'write -P 66 0 512' "nbd:unix:$WORK/net.s" >/dev/null
for disk in "file=$(path file)" "file=nbd:unix:$WORK/net.s"; do
    rm -f "$WORK/debug"
    qemu-system-x86_64 -accel tcg -m 32 -display none -serial none -monitor none -nic none \
        -debugcon "file:$WORK/debug" -drive "file=$WORK/boot,format=raw,if=ide,index=0,snapshot=on" \
        -drive "$disk,format=raw,if=ide,index=1" &
    machine=$!
    servers="$servers $machine"
    qemu-io -f raw -c 'write -P 55 0 1M' "nbd:unix:$WORK/host.s" >/dev/null # meanwhile
    within 60 grep -qs '[OE]' "$WORK/debug"
    case $disk in "file=$WORK"*)
        fails 1 strata volume delete file
        has "in use" "$OUT" "another program has it open"
        ;;
    esac
    kill $machine
    wait $machine 2>/dev/null || true
    case $(cat "$WORK/debug") in *O*) ;; *) fail "the machine: $(cat "$WORK/debug")" ;; esac
done
same() {
    said=$(qemu-io -r -f raw -c "read -P $2 512 512" "$1")
    case $said in *"verification failed"*) fail "$1: what the machine wrote" ;; esac
}
same "$(path file)" 77
same "nbd:unix:$WORK/net.s" 66
said=$(qemu-io -r -f raw -c 'read -P 55 0 1M' "nbd:unix:$WORK/host.s")
case $said in *"verification failed"*) fail "what the host wrote" ;; esac
