#!/bin/sh
# UEFI firmware keeps its variables while the machine is off, and shows its shell on a screen.
# release
# timeout: 400
# rows: FV-01, MIO-10
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
[ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || skip "needs the package ovmf"

cd "$WORK"
# Without a network, from which it would try to start first.  Its shell runs this: what is the variable; now it is another; off.
guid=3c9f2a51-7d1e-4c2b-9a56-0d6c5b7e8f90
printf '%s\r\n' "setvar Kept -guid $guid" "setvar Kept -guid $guid -nv -bs =0x6b657074" 'echo it is set' 'reset -s' >script
python3 "$TOP/tests/virt/monitor/fat.py" disk 32 STARTUP.NSH=script
starts() {
    code=0
    timeout -k 5 120 "$STRATA" --state "$STATE" "$@" </dev/null >out 2>err || code=$?
    is "its end ($(cat err))" "$code" 0
    grep -q 'it is set' out || fail "the shell did not run the script: $(tail -n 20 out)"
}
starts run --name kept --as machine --firmware uefi --network none --memory 256M --disk disk
! grep -q '74 70 65 6B' out || fail "the variable was there before it was set"
starts start --attach kept
grep -q '74 70 65 6B' out || fail "the variable is forgotten: $(cat out)"
strata delete kept >/dev/null
starts run --name other --as machine --firmware uefi --network none --memory 256M --disk disk
! grep -q '74 70 65 6B' out || fail "another guest's variable"

# The shell, on a screen.
printf 'echo and it waits\r\n' >script
python3 "$TOP/tests/virt/monitor/fat.py" disk 32 STARTUP.NSH=script
strata run -d --name shown --as machine --firmware uefi --screen --network none --memory 256M --disk disk >/dev/null
within 100 sh -c '"$STRATA" --state "$STATE" logs shown | grep -q "and it waits"'
strata screen shown >shell.png
python3 "$TOP/tests/scenario/picture.py" colors shell.png >colors
[ "$(grep -c ' ' colors)" -ge 3 ] || fail "nothing is on the screen: $(cat colors)"
case $(head -n 1 colors) in
1280x800 | 1024x768 | 800x600) ;;
*) fail "a strange size: $(head -n 1 colors)" ;;
esac
