#!/bin/sh
# A guest that behaves like a server: it boots an init, serves on its own address, and is
# rebooted and shut down from inside, with no effect outside.
# rows: OSL-02 OSL-06 SYS-32 SYS-34
. "$(dirname "$0")/lib.sh"
need_root
need_cmd curl
need_busybox

cat >"$WORK/inittab" <<'INIT'
::sysinit:/bin/sh -c 'mkdir -p /www; date >>/www/boots; echo up >/www/index.html'
::respawn:/bin/httpd -f -p 80 -h /www
::respawn:/bin/telnetd -F -p 23 -l /bin/login
INIT
strata create --name server --cap-add SYS_BOOT --memory 64M --pids 64 --hostname shop busybox \
    /bin/busybox init >/dev/null
strata cp "$WORK/inittab" server:/etc/inittab
before=$(cat /proc/sys/kernel/random/boot_id)
strata start server >/dev/null
address() { strata inspect --json server | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["addresses"][0])'; }
serves() { [ "$(curl -s --max-time 2 "http://$(address)/")" = up ]; }
within 15 serves
is "its name" "$(strata exec server hostname)" shop
logins() { (sleep 1; echo root; sleep 1) | timeout 5 "$STRATA" --state "$STATE" exec -i server telnet 127.0.0.1 23 2>/dev/null | grep -q login; }
within 15 logins
is "boots" "$(strata exec server sh -c 'wc -l </www/boots')" 1

strata exec server reboot -f || : # the call ends every process of the guest
again() { [ "$(strata exec server sh -c 'wc -l </www/boots' 2>/dev/null)" = 2 ]; }
within 20 again
within 15 serves

strata exec server poweroff -f || :
off() { strata list | grep -q 'server.*stopped'; }
within 15 off
is "the host went on" "$(cat /proc/sys/kernel/random/boot_id)" "$before"
