#!/bin/sh
# Known ways out of a container, each tried by root of a guest, and each blocked.
# rows: OSL-04 OSL-08 OSL-13 OSL-19 SEC-02 SEC-03 CON-14 CON-25
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

echo secret >"$WORK/secret"
inside() { strata run --rm busybox sh -c "$1" 2>&1; }
inside_with() { strata run --rm -v "$1" busybox sh -c "$2" 2>&1; }
blocked() { # NAME COMMAND: the command must fail inside
    if out=$(strata run --rm busybox sh -c "$2" 2>&1); then
        fail "$1 is not blocked: $out"
    fi
}

# The five ways out of a changed root (absolute, .., link, descriptor, second chroot).
blocked "an absolute path" "cat $WORK/secret"
blocked "a way up" "cat ../../../../../../../..$WORK/secret"
blocked "a symbolic link" "ln -s $WORK/secret /l && cat /l"
exec 7<"$WORK"
is "descriptors of the host" "$(inside 'ls /proc/self/fd | sort -n | tr "\n" " "')" "0 1 2 3 "
exec 7<&-
blocked "a second chroot" "mkdir /a; chroot /a /bin/busybox cat ../../../..$WORK/secret"
blocked "the root of process 1" "cat /proc/1/root$WORK/secret"

# What belongs to the host's kernel.
# A file that exists, so that only the call itself can be refused: to root of this host the
# kernel gives another answer, for it reads the file, or knows no modules.
echo 'no module' >"$WORK/evil.ko"
case $(/bin/busybox insmod "$WORK/evil.ko" 2>&1) in
*'not permitted'*) echo "note: this host loads no modules for anybody" ;;
*"can't insert"*) ;;
*) fail "the host's root cannot even try a module" ;;
esac
has "a kernel module" "$(inside_with "$WORK/evil.ko:/evil.ko:ro" 'insmod /evil.ko || :')" "not permitted"
blocked "the clock" "! date -s 2001-01-01 2>&1 | grep -q set.date"
blocked "a raw disk" "mknod /disk b 254 0 && cat /disk"
blocked "a mount" "mount -t tmpfs none /tmp"
blocked "kernel settings" "echo 1 >/proc/sys/kernel/panic"
blocked "sysrq" "echo h >/proc/sysrq-trigger"
blocked "kernel memory" "test -s /proc/kcore"
blocked "the core pattern" "echo '|/bin/sh' >/proc/sys/kernel/core_pattern"
blocked "a release agent" "echo /cmd >/sys/fs/cgroup/memory/release_agent"
blocked "a reboot" "reboot -f"
blocked "its own interface table" "ip link add evil type dummy || ip link add evil type bridge"
blocked "another network namespace" "nsenter -t 1 -n ip addr add 10.99.0.1/24 dev lo"

# The runtime's program (CVE-2019-5736) and leaked directories (CVE-2024-21626).
sum=$(sha256sum <"$STRATA")
blocked "to run the runtime" "/proc/self/exe --help | grep -q strata"
inside 'ln -s /proc/self/exe /bin/evil; echo "#!/proc/self/exe" >/bin/evil2; chmod +x /bin/evil2; /bin/evil2' >/dev/null || :
is "the runtime's program" "$(sha256sum <"$STRATA")" "$sum"
fails 125 strata run --rm --workdir /proc/self/fd/8 busybox true
fails 125 strata run --rm --workdir /proc/self/fd/9 busybox true

# Root inside is nobody outside, and sees nothing of the neighbours.
strata run -d --name victim -e TOKEN=hidden busybox sleep 1000 >/dev/null
pid=$(strata inspect --json victim | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["pid"])')
uid=$(awk '/^Uid/ {print $2}' "/proc/$pid/status")
[ "$uid" -ge 65536 ] || fail "root of the guest is $uid outside"
is "processes" "$(inside 'ps -o comm | grep -c -x sleep || :' | tail -n 1)" 0
is "environments" "$(inside 'cat /proc/[0-9]*/environ 2>/dev/null | grep -c TOKEN=hid[d]en || :' | tail -n 1)" 0
is "serial numbers" "$(inside 'cat /sys/class/dmi/id/product_serial 2>/dev/null || :')" ""
is "the host's secret" "$(inside "ls $WORK /var/lib/strata 2>/dev/null || :")" ""

# The rest of the surface is what the filter lets through, which is told.
has "the filter" "$(inside 'grep Seccomp: /proc/self/status')" "2"
