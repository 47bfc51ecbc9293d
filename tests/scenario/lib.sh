# lib.sh - sourced by every scenario: `. "$(dirname "$0")/lib.sh"`.
#
# Gives a fresh state directory $STATE, a scratch directory $WORK, the function
# `strata`, and a trap that deletes the guests, then looks whether a process,
# mount or control group of this state is left, and fails if so.
set -eu

: "${STRATA:?STRATA must be the path of the built program}"
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
WORK=$(mktemp -d /tmp/strata-scenario-XXXXXX)
STATE=$WORK/state
LEFT_WAIT_SECONDS=5
export STRATA TOP WORK STATE

# Groups of guests of any state; the empty parent `strata` of all of them may stay.
list_cgroups() {
    find /sys/fs/cgroup -type d -regex '.*/strata/\(build-\)?[0-9a-f]+' 2>/dev/null | sort
}
list_cgroups >"$WORK/.cgroups"

strata() {
    "$STRATA" --state "$STATE" "$@"
}

# Sound the reason and leave: 77 is "skipped", 1 is "failed".
skip() {
    echo "skip: $*"
    exit 77
}

fail() {
    echo "fail: $*"
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || skip "needs root"
}

# $STRATA where every user may run it: that of a tree in a home directory is copied.
need_shared_programs() {
    need_cmd setpriv
    chmod 755 "$WORK"
    # By `env`: what setpriv executes itself is still looked for with root's rights.
    setpriv --reuid 12345 --regid 12345 --clear-groups env "$STRATA" version >/dev/null 2>&1 &&
        return
    mkdir "$WORK/bin"
    for program in "$(dirname "$STRATA")"/*; do
        if [ -f "$program" ] && [ -x "$program" ]; then cp "$program" "$WORK/bin/"; fi
    done
    STRATA=$WORK/bin/strata
}

need_cmd() {
    for cmd in "$@"; do
        command -v "$cmd" >/dev/null || skip "needs the program '$cmd'"
    done
}

# The image `busybox` in this state, made from the package: instant.
need_busybox() {
    [ -x /bin/busybox ] || skip "needs the package busybox-static"
    root=$WORK/busybox-root
    mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/root" "$root/proc" "$root/sys" "$root/dev"
    cp /bin/busybox "$root/bin/busybox"
    for name in $(/bin/busybox --list); do
        [ -e "$root/bin/$name" ] || ln -s busybox "$root/bin/$name"
    done
    echo 'root:x:0:0:root:/root:/bin/sh
bin:x:1000:1000:bin:/tmp:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:
users:x:1000:
extra:x:2000:bin' >"$root/etc/group"
    echo 'hosts: files dns' >"$root/etc/nsswitch.conf" # else the C library asks the network first
    chmod 1777 "$root/tmp"
    tar -C "$root" -cf "$WORK/.busybox.tar" .
    rm -rf "$root"
    strata image import "$WORK/.busybox.tar" busybox >/dev/null
}

# is WHAT GOT WANT - two texts are equal.
is() {
    [ "$2" = "$3" ] || fail "$1: got '$2', not '$3'"
}

# has WHAT TEXT PIECE - the text holds the piece.
has() {
    case $2 in *"$3"*) ;; *) fail "$1: '$3' is not in '$2'" ;; esac
}

# fails CODE COMMAND... - the command ends with that code; its output in $OUT.
fails() {
    want=$1
    shift
    code=0
    OUT=$("$@" 2>&1) || code=$?
    [ "$code" = "$want" ] || fail "'$*' ended with $code, not $want: $OUT"
}

# within SECONDS COMMAND... - repeat the command until it passes.
within() {
    tries=$(($1 * 10))
    shift
    while ! "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "'$*' did not pass in time"
        sleep 0.1
    done
}

# Processes, other than this shell and its ancestors, that work in this state:
# by their root, directory, program, open files or root mount.
left_processes() {
    {
        find /proc/[0-9]*/cwd /proc/[0-9]*/root /proc/[0-9]*/exe /proc/[0-9]*/fd/ -maxdepth 1 \
            -type l -lname "*$WORK*" 2>/dev/null
        grep -sl -- " / / .*$STATE" /proc/[0-9]*/mountinfo 2>/dev/null
    } | cut -d/ -f3 | sort -u | while read -r pid; do
        is_own "$pid" || echo "process $pid: $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")"
    done
}

# Whether the process is this shell, a child of it (a pipe of ours), or above it.
is_own() {
    [ "$(awk '{ print $4 }' "/proc/$1/stat" 2>/dev/null)" = $$ ] && return 0
    up=$$
    while [ "${up:-0}" -gt 1 ]; do
        [ "$up" = "$1" ] && return 0
        up=$(awk '{ print $4 }' "/proc/$up/stat" 2>/dev/null)
    done
    return 1
}

left_mounts() {
    awk -v state="$WORK" 'index($5, state) == 1 { print "mount " $5 }' /proc/self/mountinfo
}

# New control groups of guests in which nothing runs, but those of a scenario beside this one.
left_cgroups() {
    list_cgroups | comm -13 "$WORK/.cgroups" - | while read -r group; do
        find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null | grep -q . ||
            is_anothers "${group##*/}" || echo "cgroup $group"
    done
}

# Whether another scenario's state knows the guest, or the step of a build, of that identifier.
is_anothers() {
    for build in "${WORK%/*}"/strata-scenario-*/*/run/builds/"$1"; do
        case $build in "$WORK"/*) continue ;; esac
        [ ! -e "$build" ] || return 0
    done
    for db in "${WORK%/*}"/strata-scenario-*/*/store.db*; do
        case $db in "$WORK"/*) continue ;; esac
        grep -qas "/guests/$1" "$db" && return 0
    done
    return 1
}

left() {
    left_processes
    left_mounts
    left_cgroups
}

# What is left, once it is still left after some seconds.
left_at_last() {
    end=$(($(date +%s) + LEFT_WAIT_SECONDS))
    while found=$(left); [ -n "$found" ] && [ "$(date +%s)" -lt "$end" ]; do
        sleep 0.2
    done
    echo "$found"
}

# The names of all guests of this state.
guests() {
    strata list --quiet 2>/dev/null
}

clean_up() {
    code=$?
    trap - EXIT INT TERM
    set +e
    cd /
    if [ -d "$STATE" ]; then
        for guest in $(guests); do
            strata delete --force "$guest" >/dev/null 2>&1
        done
        for network in $(strata network list --json 2>/dev/null |
            sed -n 's/.*"name": *"\([^"]*\)".*/\1/p'); do
            strata network delete "$network" >/dev/null 2>&1 # bridge and rules
        done
        for net in $(strata network list --quiet 2>/dev/null); do # their bridges and rules
            strata network delete "$net" >/dev/null 2>&1
        done
        for network in $(strata network list --quiet 2>/dev/null); do
            strata network delete "$network" >/dev/null 2>&1
        done
    fi
    if command -v on_exit >/dev/null; then
        on_exit # a scenario's own cleaning
    fi
    found=$(left_at_last)
    if [ -n "$found" ]; then
        echo "left behind:"
        echo "$found"
        [ "$code" = 0 ] && code=1
        clear_away "$found"
    fi
    rm -rf --one-file-system "$WORK"
    exit "$code"
}

# End what was found, so that one bad scenario does not spoil the next.
clear_away() {
    echo "$1" | while read -r what id rest; do
        [ "$what" = process ] && kill -9 "${id%:}" 2>/dev/null
    done
    for tries in 1 2 3 4 5 6 7 8 9 10; do # they end in their own time
        [ -n "$(left_processes)" ] || break
        sleep 0.1
    done
    echo "$1" | sort -r | while read -r what id rest; do
        [ "$what" = mount ] && umount -l "$id" 2>/dev/null
        [ "$what" = cgroup ] && find "$id" -depth -type d -exec rmdir {} \; 2>/dev/null
    done
}
trap clean_up EXIT
trap 'exit 1' INT TERM
