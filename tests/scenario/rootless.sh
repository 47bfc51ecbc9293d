#!/bin/sh
# An ordinary user, end to end: image, guest, network, published port, exec, delete.
# rows: OSL-01 SEC-03
. "$(dirname "$0")/lib.sh"
need_root # to become another user
need_cmd setpriv curl
need_busybox

need_shared_programs
mkdir "$WORK/home"
cp "$WORK/.busybox.tar" "$WORK/home/root.tar"
chown -R 12345:12345 "$WORK/home"
as_user() {
    (cd "$WORK/home" && setpriv --reuid 12345 --regid 12345 --clear-groups --bounding-set=-all \
        env HOME="$WORK/home" XDG_RUNTIME_DIR="$WORK/home" "$STRATA" --state "$WORK/home/state" "$@")
}
as_user true 2>/dev/null || :
setpriv --reuid 12345 --regid 12345 --clear-groups unshare -U true 2>/dev/null ||
    skip "the host gives users no user namespaces"

as_user image import root.tar busybox >/dev/null
is "root inside" "$(as_user run --rm busybox id -u)" 0
has "one id outside" "$(as_user run --rm busybox cat /proc/self/uid_map)" "12345"
is "the disk is the user's" "$(as_user run --rm busybox sh -c 'echo kept >/f; cat /f')" kept
has "loopback" "$(as_user run --rm --network none busybox ip addr)" 127.0.0.1
fails 125 as_user run --rm --network blue busybox true
has "why not" "$OUT" "only root"

port=$((20000 + $$ % 10000))
as_user run -d --name web -p "127.0.0.1:$port:80" busybox sh -c \
    'mkdir /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www' >/dev/null
served() { [ "$(curl -s --max-time 2 "http://127.0.0.1:$port/")" = served ]; }
within 10 served
is "exec" "$(as_user exec web cat /www/index.html)" served
as_user cp web:/www/index.html "$WORK/home/copy" && is "copy" "$(cat "$WORK/home/copy")" served
as_user snapshot create web before >/dev/null
as_user stop --timeout 0s web >/dev/null
as_user delete web >/dev/null
is "nothing is left" "$(ls "$WORK/home/state/guests" "$WORK/home/state/run/guests" | grep -v : || :)" ""

# A volume that is a directory, backed up while a guest writes to it, and made again.
as_user volume create files >/dev/null
as_user run -d --name box --network none -v files:/data busybox sh -c \
    'echo one >/data/a; ln /data/a /data/b; mkdir /data/d; echo ready; sleep 1000' >/dev/null
ready() { as_user logs box | grep -q ready; }
within 10 ready
is "a backup" "$(as_user volume backup files "$WORK/home/kept")" 0001
as_user exec box sh -c 'echo two >/data/d/more; rm /data/b'
is "what changed" "$(as_user volume backup --json files "$WORK/home/kept" | sed -n 's/.*"kind": "\(.*\)".*/\1/p')" changes
as_user delete --force box >/dev/null
as_user volume delete files >/dev/null
as_user volume restore "$WORK/home/kept" files >/dev/null
is "as it was" "$(as_user run --rm --network none -v files:/data busybox sh -c 'cat /data/a /data/d/more; ls /data')" "one
two
a
d"
as_user volume delete files >/dev/null
as_user volume restore --at 0001 "$WORK/home/kept" files >/dev/null
is "as it was first" "$(as_user run --rm --network none -v files:/data busybox sh -c 'ls /data; ls /data/d; stat -c %h /data/b')" "a
b
d
2"
as_user volume delete files >/dev/null
