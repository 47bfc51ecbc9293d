#!/bin/sh
# The calendar of a machine with an agent is the host's again when it goes on: after a pause, from disk,
# back at a mark; an agent that does not answer is not waited for long.
# rows: OPS-06
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_root
need_busybox
. "$TOP/tests/linux.sh"
linux_find
cd "$WORK"

now() { strata exec box date +%s; }
# right WHAT - within two seconds, and the time that the question takes.
right() {
    before=$(date +%s)
    theirs=$(now)
    after=$(date +%s)
    [ "$theirs" -ge $((before - 2)) ] && [ "$theirs" -le $((after + 2)) ] || fail "$1: $theirs is not from $before to $after"
}
strata run -d --name box --as machine --network none --kernel "$linux" busybox sleep 10000 >/dev/null
within 30 now
right "at first"
strata debug mark box >/dev/null
strata pause box >/dev/null
sleep 5
strata resume box >/dev/null
right "after a pause"
strata exec box sh -c 'while :; do date +%s; sleep 0.1; done >/run/ticks' &
ticks=$!
sleep 1
strata debug rewind box >/dev/null
kill $ticks 2>/dev/null || true
wait $ticks 2>/dev/null || true
right "back at a mark"
strata stop -t 1s box >/dev/null
strata start box >/dev/null
within 30 now
strata save box >/dev/null
sleep 5
strata start box >/dev/null
right "from disk"

# A clock that somebody has set is the host's again.
strata exec box date -s "@$(($(date +%s) + 3600))" >/dev/null
[ "$(now)" -gt $(($(date +%s) + 3000)) ] || fail "it was not set ahead"
strata pause box >/dev/null
strata resume box >/dev/null
right "it was an hour ahead"

# An agent that stands does not keep the command.
timeout 5 "$STRATA" --state "$STATE" exec box sh -c 'kill -STOP $(pidof strata-agent)' >/dev/null 2>&1 || true
strata pause box >/dev/null
begin=$(date +%s)
has "it is said" "$(strata resume box 2>&1)" "the clock of guest 'box' may be behind"
[ $(($(date +%s) - begin)) -le 10 ] || fail "it was waited for"
strata delete --force box >/dev/null
