#!/bin/sh
# Disk snapshots: create, list, restore, delete; clone, also of a snapshot.
# rows: OPS-09
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

strata run -d --name web busybox sh -c 'echo 1 >/v; sleep 1000' >/dev/null
within 5 strata exec web test -e /v
is "create prints the name" "$(strata snapshot create web one)" one
fails 1 strata snapshot create web one
strata exec web sh -c 'echo 2 >/v; rm /etc/group; ln -s x /link; mkfifo /fifo; chmod 4755 /v
    chown 1000:2000 /v; mkdir /d; touch /d/f'
strata snapshot create web two >/dev/null
has "still running" "$(strata list)" running
has "listed" "$(strata snapshot list web)" one
has "listed" "$(strata snapshot list web)" two
strata create --name bare busybox true >/dev/null
is "those of all guests" "$(strata snapshot list | awk 'NR > 1 { print $1, $2 }' | sort)" "web one
web two"
strata delete bare >/dev/null
fails 1 strata snapshot restore web one
has "not while it runs" "$OUT" running

strata clone web copy >/dev/null
strata clone web copy1 --snapshot one >/dev/null
strata start copy copy1 >/dev/null
is "clone has the disk, but is another" "$(strata exec copy readlink /link; strata exec copy hostname)" "x
copy"
is "clone of a snapshot" "$(strata exec copy1 ls /link 2>&1 | grep -c 'No such')" 1
strata delete --force copy copy1 >/dev/null

strata stop -t 0s web >/dev/null
strata snapshot restore web one >/dev/null
strata cp web:/v "$WORK/v"
is "back at the first" "$(cat "$WORK/v")" 1
strata cp web:/etc/group "$WORK/group" # was deleted after it
strata snapshot restore web two >/dev/null
strata cp web:/v "$WORK/v2"
is "forward to the second" "$(cat "$WORK/v2")" 2
fails 1 strata cp web:/etc/group "$WORK/group2"
is "mode is kept" "$(strata start web >/dev/null; strata exec web stat -c '%a %u:%g' /d)" "755 0:0"

strata snapshot delete web one >/dev/null
case $(strata snapshot list web) in *one*) fail "still listed" ;; esac
fails 1 strata snapshot delete web one
fails 2 strata snapshot restore web '../../x'
strata delete --force web >/dev/null
is "they go with the guest" "$(find "$STATE/guests" -mindepth 1 | wc -l)" 0
