#!/bin/sh
# boot.sh MACHINE IMAGE AGENT - a command as all that a machine does.
#
# rows: FV-01
set -eu
. "$(dirname "$0")/../../linux.sh"
machine=$(linux_program "$1")
image=$2
agent=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "failed: $*"
    od -c "$dir/out" | head -n 40
    exit 1
}

linux_find
[ -x /bin/busybox ] || { echo 'skipped: no /bin/busybox'; exit 77; }
echo "{\"state\":\"$dir\",\"file\":\"$linux\",\"agent\":\"$agent\"}" | "$image" kernel >"$dir/out" || fail 'no initramfs'
elf=$(sed 's/.*"kernel":"\([^"]*\)".*/\1/' "$dir/out")
initrd=$(sed 's/.*"initrd":"\([^"]*\)".*/\1/' "$dir/out")
# Archives behind each other are one file system: busybox comes along ("newc", as cpio.py of the monitor's tests).
python3 - /bin/busybox "$dir/tail" <<'END'
import sys


def entry(number, name, mode, data=b""):
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


with open(sys.argv[1], "rb") as f:
    busybox = f.read()
with open(sys.argv[2], "wb") as f:
    f.write(entry(901, "bin", 0o40755) + entry(902, "bin/sh", 0o100755, busybox) + entry(0, "TRAILER!!!", 0))
END
cat "$initrd" "$dir/tail" >"$dir/initrd"

run() { # WORDS
    code=0
    timeout 100 "$machine" --kernel "$elf" --initrd "$dir/initrd" \
        --append "console=ttyS0 quiet loglevel=1 panic=-1 strata.command=$1" </dev/null >"$dir/out" 2>"$dir/err" || code=$?
}

run 'sh:-c:echo%20%22a%20%20b%22%3B%20printf%20%27x%5Cty%5Cn%27%3B%20exit%207'
[ "$code" = 7 ] || fail "its code is $code"
printf 'a  b\nx\ty\n' | cmp - "$dir/out" || fail 'its output is other bytes'
run 'no-such-thing'
[ "$code" = 127 ] || fail "a command that is not there: $code"
run "sh:-c:kill%20-9%20%24%24"
[ "$code" = 137 ] || fail "a killed command: $code"
run "sh:-c:test%20-c%20/dev/null%20%26%26%20test%20-e%20/proc/1%20%26%26%20test%20-d%20/sys/module/button%20-o%20-d%20/sys/module"
[ "$code" = 0 ] || fail 'no /dev, /proc or /sys'
