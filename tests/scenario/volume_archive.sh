#!/bin/sh
# Backups of volumes that are directories: whole, then what changed, restored as of each with all that
# files have; one file; damaged ones are refused; killed at any step nothing is half.
# timeout: 600
# rows: STO-05 STO-32 OPS-10
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
KEPT=$WORK/kept
path() { strata volume inspect --json "$1" | sed -n 's/.*"path": "\(.*\)".*/\1/p' | head -n 1; }
attributes() {
    python3 -c '
import os
for top, dirs, files in os.walk(b"."):
    dirs.sort()
    for name in sorted(dirs + files):
        path = os.path.join(top, name)
        for key in sorted(os.listxattr(path, follow_symlinks=False)):
            print(path, key, os.getxattr(path, key, follow_symlinks=False))'
}
attribute() { python3 -c 'import os,sys; os.setxattr(sys.argv[2], sys.argv[1], bytes.fromhex(sys.argv[3]))' "$@"; }
# everything TREE - that a file has, told by other programs
everything() {
    (cd "$1" && find . ! -type s -printf '%p %y %m %U %G %n %T@ %l %s\n' | sed '/ d /s/ [0-9]*$//' | sort &&
        find . -type f -exec sha256sum {} + | sort -k 2 && attributes &&
        find . \( -type c -o -type b \) -exec stat -c '%n %t %T' {} + | sort &&
        find . -type f -links +1 -printf '%i %p\n' | sort -k 2 | awk '{ print $2, n[$1] ? n[$1] : (n[$1] = $2) }')
}
kind() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1] + "/backups.json"))["backups"][-1]["kind"])' "$1"; }
said() { sed -n "s/^ *\"$1\": \"*\([^\",]*\)\"*,*\$/\1/p" "$WORK/row"; }
backup() { # backup NUMBER
    strata volume backup --json data "$KEPT" >"$WORK/row"
    is "backup $1" "$(said name)" "$1"
    everything "$tree" >"$WORK/was.$1"
}

# A tree with all kinds of files.
strata volume create data >/dev/null
tree=$(path data)
mkdir -p "$tree/a b" "$tree/deep/er" "$tree/a.d" "$tree/empty"
printf 'first' >"$tree/a b/file"
printf 'order' >"$tree/a.d/x"
printf 'odd' >"$tree/odd
\name%41é"
printf '\377raw' >"$tree/$(printf 'no\377utf')"
head -c 3000000 /dev/urandom >"$tree/deep/er/big"
truncate -s 100M "$tree/hole"
printf 'in the middle' | dd of="$tree/hole" bs=1M seek=50 conv=notrunc 2>/dev/null
ln "$tree/a b/file" "$tree/deep/again"
ln -s ../file "$tree/deep/link"
ln -s /etc/passwd "$tree/deep/absolute"
ln "$tree/deep/link" "$tree/deep/link2" 2>/dev/null || true
mkfifo "$tree/deep/pipe"
mknod "$tree/deep/null" c 1 3
: >"$tree/none"
cp /bin/true "$tree/deep/er/root"
chown 1000:2000 "$tree/deep/er/root" "$tree/deep"
chown -h 7:8 "$tree/deep/link"
chmod 6755 "$tree/deep/er/root"
chmod 1777 "$tree/deep/er"
chmod 000 "$tree/none"
attribute user.word "$tree/a b/file" 6b6570
attribute user.of-directory "$tree/empty" ''
attribute security.capability "$tree/deep/er/big" 0100000200200000000000000000000000000000 2>/dev/null || true
touch -d @1000000 "$tree/deep/er" "$tree/a b/file" "$tree/empty"
touch -h -d @-5.5 "$tree/deep/link"
sleep 0.3
chmod 750 "$tree"
backup 0001
is "whole" "$(said kind) $(said state) $(said changed_files)" "whole at rest 0"
[ "$(stat -c %s "$KEPT/0001.data")" -lt 4000000 ] || fail "the hole is kept: $(stat -c %s "$KEPT/0001.data")"
is "its rights" "$(stat -c %a "$KEPT" "$KEPT/0001.data" "$KEPT/0001.list" | tr '\n' ' ')" "700 600 600 "

# What changed, in all ways.
sleep 0.3
backup 0002
is "nothing" "$(said kind) $(stat -c %s "$KEPT/0002.data")" "changes 0"
printf 'more' >>"$tree/a b/file"
printf 'same size, other bytes' >"$tree/swap"
sleep 0.3
backup 0003
printf 'SAME size, other bytes' >"$tree/swap"
touch -d @5 "$tree/swap" # whoever sets the time back does not hide it
rm "$tree/hole"
mv "$tree/deep/er" "$tree/moved"
rm "$tree/deep/pipe"
mkdir "$tree/deep/pipe"
chmod 600 "$tree/none"
python3 -c 'import os,sys; os.removexattr(sys.argv[1], "user.word")' "$tree/a b/file"
chown 5:6 "$tree/empty"
python3 -c 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$tree/sock"
sleep 0.3
backup 0004
is "what changed" "$(said kind)" changes
[ "$(stat -c %s "$KEPT/0004.data")" -lt 3100000 ] || fail "too much: $(stat -c %s "$KEPT/0004.data")"
for i in 1 2 3; do printf '%s' "$i" >"$tree/quick" && strata volume backup data "$KEPT" >/dev/null; done # within one tick
is "of one tick" "$(strata volume restore "$KEPT" --file quick --to "$WORK/quick" >/dev/null && cat "$WORK/quick")" 3
rm "$tree/quick"

# Restored as of each; the original is gone.
strata volume delete data >/dev/null
for n in 0001 0002 0003 0004; do
    strata volume restore --at $n "$KEPT" data >/dev/null
    everything "$(path data)" >"$WORK/now"
    cmp "$WORK/was.$n" "$WORK/now" || fail "restored $n: $(diff "$WORK/was.$n" "$WORK/now")"
    [ $n != 0001 ] || [ "$(du -sk "$(path data)/hole" | cut -f1)" -lt 500 ] || fail "the hole is full"
    strata volume delete data >/dev/null
done
strata pool create --member "$WORK/one" rack >/dev/null
strata volume restore --at 0001 --pool rack --label a=b "$KEPT" data >/dev/null
is "on a pool" "$(path data)" "$WORK/one/files/data/data"
everything "$WORK/one/files/data/data" >"$WORK/now"
cmp "$WORK/was.0001" "$WORK/now" || fail "on a pool"
strata volume backup data "$WORK/other" >/dev/null # another volume: whole, wherever
is "another" "$(kind "$WORK/other")" whole
strata volume backup --json data "$KEPT" >"$WORK/row"
is "of another day" "$(said kind)" whole
fails 1 strata volume restore "$KEPT" data
has "there already" "$OUT" "volume 'data' exists already"
is "nothing beside it" "$(ls "$WORK/one/files")" data
strata volume delete data >/dev/null

# One file, one directory; no link leads out, no owner and no set-id bit comes along.
out() { strata volume restore --at 0001 "$KEPT" "$@"; }
out --file "/a b/file" --to "$WORK/f" >/dev/null
is "a file" "$(cat "$WORK/f")" first
out --file deep/again --to "$WORK/f" >/dev/null
is "by its other name" "$(cat "$WORK/f")" first
mkdir "$WORK/into"
out --file /deep --to "$WORK/into" >/dev/null
is "what is in it" "$(find "$WORK/into" -mindepth 1 -printf '%P\n' | sort | tr '\n' ' ')" \
    "deep deep/absolute deep/again deep/er deep/er/big deep/er/root deep/link deep/link2 deep/pipe "
is "no owner" "$(stat -c '%u %a' "$WORK/into/deep/er/root")" "0 755"
is "a link" "$(readlink "$WORK/into/deep/absolute")" /etc/passwd
out --owners --file moved/none --to "$WORK/x" >"$WORK/row" 2>&1 && fail "what is not there"
has "not there" "$(cat "$WORK/row")" "backup '0001' has no 'moved/none'"
out --owners --file deep --to "$WORK/own" >/dev/null
is "owners" "$(stat -c '%u %g %a' "$WORK/own/er/root" "$WORK/own" | tr '\n' ' ')" "1000 2000 6755 1000 2000 755 "
[ -c "$WORK/own/null" ] || fail "a device, with --owners"
out --file / --to "$WORK/all" >/dev/null
is "all" "$(cat "$WORK/all/a b/file")" first
for bad in ../x a/../../x; do
    fails 1 strata volume restore --at 0001 "$KEPT" --file "$bad" --to "$WORK/x"
done
fails 1 strata volume restore --at 0001 "$KEPT" --file deep/null --to "$WORK/x"
has "a device" "$OUT" "which stays behind"
fails 1 strata volume restore "$KEPT" --file hole --partition 1 --to "$WORK/x"
has "partitions" "$OUT" "has no partitions"
fails 1 strata volume restore "$KEPT" x --key-file "$WORK/f"
has "a key" "$OUT" "not encrypted"
fails 1 strata volume restore --at 0099 "$KEPT" x
has "no such" "$OUT" "there is no backup '0099'"
is "nothing is left" "$(find "$WORK" -maxdepth 1 -name '.????????.*' | wc -l) $(ls -A "$WORK/into")" "0 deep"

# Disks and directories do not share one.
strata volume create --size 1M disk >/dev/null
fails 1 strata volume backup disk "$KEPT"
has "a disk" "$OUT" "has backups of a directory"
strata volume backup disk "$WORK/disks" >/dev/null
strata volume restore "$KEPT" --at 0004 data >/dev/null
sleep 0.3
strata volume backup data "$KEPT" >/dev/null
strata volume backup --json data "$KEPT" >"$WORK/row"
is "one to stand on" "$(said kind)" changes
fails 1 strata volume backup data "$WORK/disks"
has "a directory" "$OUT" "has backups of a disk"
fails 1 strata volume backup --key-file "$WORK/f" data "$KEPT"
has "a key" "$OUT" "without --key-file"
strata volume delete disk >/dev/null

# Damaged: said, and nothing is made.
none() { # none WHAT TEXT
    fails 1 strata volume restore "$WORK/bad" --at 0003 --pool rack broken
    has "$1" "$OUT" "$2"
    fails 1 strata volume inspect broken
    is "$1: nothing is left" "$(ls -A "$WORK/one/files")" ""
}
fresh() { rm -rf "$WORK/bad" && cp -a "$KEPT" "$WORK/bad"; }
fresh
python3 - "$WORK/bad/0001.data" <<'END'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(1000000)
    byte = f.read(1)
    f.seek(1000000)
    f.write(bytes([byte[0] ^ 1]))
END
none "a bit" "backup '0003' is damaged: 'deep/er/big' has other bytes"
strata volume restore "$WORK/bad" --at 0003 --file 'a b/file' --to "$WORK/good" >/dev/null # others are well
is "the rest" "$(cat "$WORK/good")" firstmore
fails 1 strata volume restore "$WORK/bad" --at 0003 --file deep --to "$WORK/half"
[ ! -e "$WORK/half" ] || fail "half a directory"
fresh
truncate -s 2000000 "$WORK/bad/0001.data"
none "cut off" "is cut off"
strata volume backup --json data "$WORK/bad" >"$WORK/row"
is "none to stand on" "$(said kind)" whole
fresh
rm "$WORK/bad/0001.data"
none "missing" "cannot open the backup '0001.data'"
fresh
sed -i 's/"mode":/"mode" :/' "$WORK/bad/0003.list"
none "the list" "backup '0003': its list is damaged: it has another sum"
fresh
head -n 5 "$KEPT/0003.list" >"$WORK/bad/0003.list"
none "half a list" "its list is damaged"
strata volume backup --json data "$WORK/bad" >/dev/null
fresh
printf '{"backups": 5}' >"$WORK/bad/backups.json"
none "no list" "is no list of backups"

# Hostile: whoever writes the sums himself gets nowhere else.
forge() { # forge LINE... - a backup of these entries
    rm -rf "$WORK/bad"
    mkdir "$WORK/bad"
    printf '%s\n' '{"path":".","type":"directory","mode":493,"uid":0,"gid":0,"mtime_ns":0}' "$@" >"$WORK/bad/0003.list"
    printf 'evil' >"$WORK/bad/0003.data"
    printf '{"volume":"data","backups":[{"name":"0003","kind":"whole","of":"directory","file":"0003.list","sha256":"%s"}]}' \
        "$(sha256sum <"$WORK/bad/0003.list" | cut -d' ' -f1)" >"$WORK/bad/backups.json"
}
rest='"mode":420,"uid":0,"gid":0,"mtime_ns":0,"size":4,"data":{"backup":"0003","at":0,"bytes":4,"sha256":"'$(printf evil | sha256sum | cut -d' ' -f1)'"}'
forge "{\"path\":\"x\",\"type\":\"file\",$rest}"
strata volume restore "$WORK/bad" fine >/dev/null
is "the form" "$(cat "$(path fine)/x")" evil
strata volume delete fine >/dev/null
for bad in ../x /etc/x a/../../x x/ . x//y '%2E%2E%2Fx' x%00 %2 ''; do
    forge "{\"path\":\"$bad\",\"type\":\"file\",$rest}"
    fails 1 strata volume restore "$WORK/bad" --at 0003 --pool rack broken
    is "$bad: nothing is left" "$(ls -A "$WORK/one/files")" ""
done
forge '{"path":"l","type":"link","target":"/","mode":511,"uid":0,"gid":0,"mtime_ns":0}' "{\"path\":\"l/x\",\"type\":\"file\",$rest}"
none "through a link" "backup '0003' is damaged: 'l/x' has no place"
forge '{"path":"l","type":"same","of":"../../../../etc/passwd"}'
none "another's" "'l' has no such other name"
forge '{"path":"l","type":"same","of":"l"}'
none "itself" "'l' has no such other name"
for data in '"at":-1,"bytes":4' '"at":0,"bytes":-4' '"at":0,"bytes":99' '"at":9,"bytes":4' '"at":0,"bytes":4,"parts":[[3,4]]' \
    '"at":0,"bytes":4,"parts":[[0,2],[1,2]]' '"at":0,"bytes":4,"parts":[[0,9223372036854775807]]' '"at":0,"bytes":4,"parts":7'; do
    forge "{\"path\":\"x\",\"type\":\"file\",\"mode\":420,\"uid\":0,\"gid\":0,\"mtime_ns\":0,\"size\":4,\"data\":{\"backup\":\"0003\",$data,\"sha256\":\"0\"}}"
    none "$data" "backup '0003' is damaged: 'x'"
done
forge '{"path":"x","type":"whatever","mode":420}'
none "a type" "is of no known type"
forge 'rubbish'
none "rubbish" "line 2 of its list"

# Killed at each step: the next command finds what was there before, or what was asked for.
if grep -qa STRATA_FAULT "$STRATA"; then
    for n in $(seq 1 30); do
        printf '%s' "$n" >"$(path data)/step"
        code=0
        STRATA_FAULT=kill:$n "$STRATA" --state "$STATE" volume backup data "$KEPT" >/dev/null 2>&1 || code=$?
        rm -rf "$WORK/again"
        strata volume restore "$KEPT" --file / --to "$WORK/again" >/dev/null || fail "after a kill at step $n"
        strata volume backup data "$KEPT" >/dev/null
        is "step $n" "$(strata volume restore "$KEPT" --file step --to "$WORK/step" >/dev/null && cat "$WORK/step")" "$n"
        [ $code != 0 ] || break
    done
    [ $code = 0 ] || fail "too many steps of a backup"
    is "nothing but backups" "$(ls -A "$KEPT" | grep -v '^[0-9]*\.\(list\|data\)$')" backups.json
    for n in $(seq 1 40); do
        code=0
        STRATA_FAULT=kill:$n "$STRATA" --state "$STATE" volume restore --at 0001 --pool rack "$KEPT" new >/dev/null 2>&1 || code=$?
        strata system reconcile >/dev/null
        if strata volume inspect new >/dev/null 2>&1; then
            everything "$(path new)" >"$WORK/now"
            cmp "$WORK/was.0001" "$WORK/now" || fail "half a volume at step $n"
            strata volume delete new >/dev/null
        fi
        strata volume restore --at 0001 --pool rack "$KEPT" new >/dev/null || fail "after step $n"
        strata volume delete new >/dev/null
        is "step $n: nothing is left" "$(ls -A "$WORK/one/files")" ""
        [ $code != 0 ] || break
    done
    [ $code = 0 ] || fail "too many steps of a restore"
fi
strata volume delete data >/dev/null
