#!/bin/sh
# The root disk of a machine made from an image: snapshots as a tree, with the memory and without,
# going back, copies that go their own ways.
# rows: OPS-07 OPS-08 OPS-09
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 600
. "$(dirname "$0")/lib.sh"
. "$TOP/tests/linux.sh"
need_root
need_cmd python3
need_busybox
linux_find

inside() { # GUEST SCRIPT
    strata exec "$1" sh -c "$2"
}
snapshots() { strata --json snapshot list "$1" | python3 -c "import json, sys
print(sorted((s['name'], s.get('parent')) for s in json.load(sys.stdin)))"; }
root_of() { echo "$STATE/guests/$(strata --json inspect "$1" | python3 -c "import json, sys
print(json.load(sys.stdin)[0]['id'])")/disk/root.qcow2"; }
end() {
    strata kill "$1" >/dev/null
    strata wait "$1" >/dev/null || true
}
# Read whole by a guest that ran on it: every byte of a file that is spread over the disk.
big() { inside "$1" 'md5sum </big | cut -d" " -f1'; }

cd "$WORK"
head -c 4194304 /dev/zero >disk
echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM anna@here' >key
strata run -d --name web --as machine --kernel "$linux" --disk disk --ssh-key key busybox \
    sh -c 'while :; do sleep 1000; done' >/dev/null
inside web 'echo one >/file; head -c 3000000 /dev/urandom >/big; mkdir /mnt; mount -t tmpfs none /mnt; echo memory >/mnt/file; sync
    for d in /sys/block/vd?; do
    [ "$(cat $d/size)" = 8192 ] && printf one | dd of=/dev/${d##*/} conv=notrunc,fsync 2>/dev/null; done; true'
is "the other disk" "$(head -c 3 disk)" one
sum=$(big web)

# Of one that runs; it goes on, and what it does then is not in it.
is "a snapshot" "$(strata snapshot create web one)" one
inside web 'echo two >/file; echo more >/added; echo other >/mnt/file; rm /big; sync'
printf two | dd of=disk conv=notrunc 2>/dev/null
strata snapshot create web two >/dev/null
inside web 'echo three >/file; head -c 3000000 /dev/urandom >/big; sync'
end web
strata snapshot restore web one >/dev/null
strata start web >/dev/null
is "the file of then" "$(inside web 'cat /file; ls /added 2>/dev/null')" one
is "the memory of then" "$(inside web 'cat /mnt/file')" memory
is "the other disk of then" "$(head -c 3 disk)" one
is "all of it" "$(big web)" "$sum"
inside web 'echo 3 >/proc/sys/vm/drop_caches'
is "all of it, from the disk" "$(big web)" "$sum"

# Without the memory; a tree; from another branch.
end web
strata snapshot create web cold >/dev/null
strata snapshot restore web two >/dev/null
strata snapshot create web four >/dev/null
is "a tree" "$(snapshots web)" "[('cold', 'one'), ('four', 'two'), ('one', None), ('two', 'one')]"
strata start web >/dev/null
is "the second" "$(inside web 'cat /file /added /mnt/file; ls /big 2>/dev/null')" "two
more
other"
end web
strata snapshot restore web cold >/dev/null
strata start web >/dev/null
is "booted anew" "$(inside web 'cat /file; ls /mnt')" one
is "... with all of it" "$(big web)" "$sum"

# Copies: of a running one with and without its memory, of a snapshot. Each goes its own way.
inside web 'mkdir -p /mnt; mount -t tmpfs none /mnt; echo live >/mnt/file; echo shared >/file; sync'
strata clone web twin --memory >/dev/null
strata clone web plain >/dev/null
strata clone web old --snapshot two >/dev/null
[ "$(root_of web)" != "$(root_of twin)" ] || fail "they have one disk"
strata start twin >/dev/null
is "it goes on" "$(inside twin 'cat /mnt/file /file')" "live
shared"
inside twin 'echo twin >/file; rm /big; sync'
inside web 'echo web >/file; sync'
is "the original" "$(inside web 'cat /file')" web
is "the twin" "$(inside twin 'cat /file')" twin
end twin
strata start plain >/dev/null
is "the copy of the disk" "$(inside plain 'cat /file; ls /mnt; hostname')" "shared
plain"
is "... is whole" "$(big plain)" "$sum"
is "... with the keys of the first" "$(inside plain 'cat /root/.ssh/authorized_keys')" "$(cat key)"
end plain
strata start old >/dev/null
is "the copy of a snapshot" "$(inside old 'cat /file; cat /added')" "two
more"
end old
strata start twin >/dev/null
is "the twin after a restart" "$(inside twin 'cat /file; ls /big 2>/dev/null')" twin
end twin
is "the image stays as it was" "$(strata run --rm busybox sh -c 'ls /file /big 2>/dev/null; echo ran')" ran
for name in twin plain old; do strata delete $name >/dev/null; done
is "the original goes on" "$(big web)" "$sum"

# An image's name may go to another: copies stand on what the original stands on.
strata image tag busybox first >/dev/null
printf 'FROM busybox\nRUN echo new >/new\n' >Containerfile
strata image build . --file Containerfile --tag busybox >/dev/null 2>&1
strata clone web same >/dev/null
strata start same >/dev/null
is "it stands on the same" "$(inside same 'ls /new 2>/dev/null; cat /file')" web
end same
strata delete same >/dev/null

strata delete --force web >/dev/null
is "no files are left" "$(ls -A "$STATE/guests" "$STATE/run/guests" | grep -v ':$' | tr -d '\n')" ""
