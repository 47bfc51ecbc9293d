#!/bin/sh
# kill -9 at every step of changing guests, their disks and volumes: the next command goes on.
# timeout: 1200
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_crash.sh"

sweep rename running rename g g2
sweep resize running resize --memory 64M g
sweep snapshot made snapshot create g one
sweep snapshot-running running snapshot create g one
sweep restore kept snapshot restore g one
sweep snapshot-delete kept snapshot delete g one
sweep clone made clone g g2
sweep volume-create nothing volume create w
sweep volume-delete owned volume delete w
sweep owner-delete owner delete g

# A command that died while a guest stood still for it does not leave it so.
running
kill_at snapshot.held snapshot create g one
is "it goes on" "$(strata exec g echo yes)" yes
strata pause g >/dev/null # one that was paused before stays so
strata snapshot create g one >/dev/null
has "still paused" "$(strata list)" paused
strata delete --force g >/dev/null

# Nor does one whose guest ended and was started again meanwhile.
running
kill_at snapshot.held snapshot create g one
kill -9 "$(ls -d "$STATE"/run/guests/* | sed 's|.*/||' | while read -r id; do pgrep -f "keeper id=$id "; done)"
strata start g >/dev/null 2>&1
strata pause g >/dev/null
has "its pause is its own" "$(strata list; strata list)" paused
