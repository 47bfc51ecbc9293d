#!/bin/sh
# Private disk: kept over restarts, one owner. Shared disk: discarded at the end.
# rows: OSL-05 OSL-21 OSL-22
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

digest() { strata image inspect busybox --json | grep -m 1 '"digest"'; }
layers() { find "$STATE/layers" -type f -exec sha256sum {} + | sort | sha256sum; }
before=$(digest)
strata run --rm busybox true # unpacks the layers
base=$(layers)

# Private.
strata run --name own busybox sh -c 'echo setting >/etc/own-setting; rm -f /etc/group' >/dev/null
strata start --attach own >/dev/null
strata create --name look busybox ls /etc >/dev/null
case $(strata start --attach look) in *own-setting*) fail "a neighbour sees the disk" ;; esac
strata cp own:/etc/own-setting "$WORK/conf"
is "kept over a restart" "$(cat "$WORK/conf")" setting
fails 1 strata cp own:/etc/group "$WORK/group"
fails 1 strata run --rm -u 1000 busybox sh -c 'echo x >/etc/own-setting' # no right to write

# One owner at a time of a private volume.
strata volume create --mode private mine >/dev/null
strata run -d --name first -v mine:/data busybox sh -c 'echo 1 >/data/f; sleep 100' >/dev/null
fails 125 strata run --rm -v mine:/data busybox true
has "the second is refused" "$OUT" first
strata delete --force first >/dev/null
is "the next one has it" "$(strata run --rm -v mine:/data busybox cat /data/f)" 1

# Shared: five at once, each sees its own changes; after the restart none.
for i in 1 2 3 4 5; do
    strata run -d --name s$i --disk shared busybox sh -c \
        "cat /mine 2>/dev/null; echo $i >/mine; cat /mine; sleep 100" >/dev/null
done
for i in 1 2 3 4 5; do
    within 5 sh -c "\"\$STRATA\" --state \"\$STATE\" logs s$i | grep -q $i"
    is "guest $i sees its own" "$(strata exec s$i cat /mine)" $i
done
strata restart -t 0s s3 >/dev/null
within 5 sh -c '[ "$("$STRATA" --state "$STATE" logs s3 | wc -l)" -ge 2 ]'
is "back at the default" "$(strata logs s3 | tr '\n' ' ')" "3 3 "
strata stop -t 0s s4 >/dev/null

# Read-only root.
fails 1 strata run --rm --read-only busybox touch /file
is "with a writable place" "$(strata run --rm --read-only --tmpfs /t busybox \
    sh -c 'echo x >/t/f; cat /t/f')" x
is "the image is as it was" "$(digest)" "$before"
is "so are its files" "$(layers)" "$base"
