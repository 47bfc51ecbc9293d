#!/bin/sh
# One image as a container and as a machine: command, user, variables, disk, programs inside, end.
# rows: OPS-01 OPS-02 OPS-07 FV-01
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 600
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox
linux=$(find "${STRATA_LINUX:-/}/boot" -name 'vmlinuz-*' 2>/dev/null | sort | tail -n 1)
[ -n "$linux" ] || skip "no Linux kernel below ${STRATA_LINUX:-/}/boot (STRATA_LINUX)"

machine() { # ARGUMENT...
    timeout 100 "$STRATA" --state "$STATE" run --rm --as machine --kernel "$linux" "$@" </dev/null
}
both() { # WHAT WANT ARGUMENT... - the same as a container and as a machine
    what=$1 want=$2
    shift 2
    is "$what, container" "$(strata run --rm "$@" 2>&1)" "$want"
    is "$what, machine" "$(machine "$@" 2>&1)" "$want"
}
state() { strata list --json | python3 -c "import json, sys
for guest in json.load(sys.stdin):
    if guest['name'] == '$1': print(guest['state'])"; }

# The same image, whatever executes it.
both "output" "a  b" busybox echo 'a  b'
both "user, directory, variable" "1000 /tmp red" --user bin --workdir /tmp -e COLOUR=red busybox \
    sh -c 'echo $(id -u) $PWD $COLOUR'
both "host name" web-1 --hostname web-1 busybox hostname
both "entrypoint" "x y" --entrypoint echo busybox x y
for code in 0 7 143; do
    fails $code machine busybox sh -c "exit $code"
done
fails 127 machine busybox no-such-program
has "it is said" "$OUT" "cannot run 'no-such-program'"
long=$(seq 1 4000 | tr '\n' .)
is "a command longer than a kernel's command line" "$(machine busybox echo "$long")" "$long"
is "it has a kernel of its own" "$(machine busybox uname -r)" "${linux##*/vmlinuz-}"

# Its disk is its own, stays over restarts, and goes with it.
strata create --name keeps --as machine --kernel "$linux" busybox sh -c 'cat /kept; echo more >>/kept; sync' >/dev/null
is "at first there is nothing" "$(strata start --attach keeps </dev/null | grep -c more)" 0
is "then there is" "$(strata start --attach keeps </dev/null)" more
is "no other guest sees it" "$(machine busybox sh -c 'ls /kept 2>/dev/null')" ""
id=$(strata inspect --json keeps | python3 -c "import json, sys; print(json.load(sys.stdin)[0]['id'])")
[ -f "$STATE/guests/$id/disk/root.qcow2" ] || fail "it has no disk of its own"
has "its image" "$(strata list)" busybox
strata delete keeps >/dev/null
[ ! -e "$STATE/guests/$id" ] || fail "its disk is left"

# Programs inside.
strata run -d --name box --as machine --kernel "$linux" -e COLOUR=red busybox sh -c 'trap "exit 9" TERM; while :; do sleep 0.1; done' >/dev/null
is "exec" "$(strata exec box echo hello)" hello
is "its variables" "$(strata exec -e SIZE=2 box sh -c 'echo $COLOUR $SIZE')" "red 2"
is "its user" "$(strata exec --user 1000:2000 --workdir /tmp box sh -c 'echo $(id -u):$(id -g) $PWD')" "1000:2000 /tmp"
fails 4 strata exec box sh -c 'exit 4'
fails 127 strata exec box nothing-of-that-name
is "errors are apart" "$(strata exec box sh -c 'echo e >&2; echo o' 2>/dev/null)" o
seq 1 60000 >"$WORK/numbers"
strata exec -i box cat <"$WORK/numbers" | cmp - "$WORK/numbers" || fail "what went in did not come back"
is "without input" "$(echo lost | strata exec box cat)" ""
python3 "$TOP/tests/scenario/at_terminal.py" "$STRATA" --state "$STATE" exec -it box sh -c 'test -t 0 && tty && stty size' </dev/null >"$WORK/tty" 2>&1 ||
    fail "no terminal: $(cat "$WORK/tty")"
has "a terminal" "$(cat "$WORK/tty")" /dev/pts/
strata exec -d box sh -c 'sleep 1; echo late >/late'
late() { [ "$(strata exec box cat /late 2>/dev/null)" = late ]; }
within 10 late
# A killed command leaves no program behind.
"$STRATA" --state "$STATE" exec box sleep 1234 &
sleeps=$!
runs() { strata exec box ps | grep -q 'sleep 123[4]'; }
ended() { ! runs; }
within 10 runs
kill -9 $sleeps
within 10 ended

# Files, in and out, under their own name or another.
mkdir -p "$WORK/tree/below"
cp "$WORK/numbers" "$WORK/tree/below/numbers"
ln -s below/numbers "$WORK/tree/link"
strata cp "$WORK/tree" box:/tmp
strata cp "$WORK/tree/below/numbers" box:/tmp/tree/other
is "they are there" "$(strata exec box sh -c 'cd /tmp/tree && cmp link other && readlink link')" below/numbers
strata cp box:/tmp/tree "$WORK/back"
cmp "$WORK/back/other" "$WORK/numbers" || fail "a file that came back is another"
is "a link stays one" "$(readlink "$WORK/back/link")" below/numbers
is "a stream" "$(strata cp box:/tmp/tree/below - | tar -tf - | sort | tr '\n' ' ')" "below/ below/numbers "
strata cp box:/tmp/tree/below - | strata cp - box:/tmp/stream
is "from a stream" "$(strata exec box wc -l /tmp/stream/below/numbers)" "60000 /tmp/stream/below/numbers"
fails 1 strata cp box:/no/such "$WORK/none"
has "no such file" "$OUT" "in the guest: "
fails 1 strata cp "$WORK/none" box:/tmp
has "nothing to copy" "$OUT" "cannot copy '$WORK/none': No such file"

# The stop signal reaches the command.
begin=$(date +%s)
strata stop -t 20s box >/dev/null
is "stopped" "$(state box)" stopped
is "by its own code" "$(strata wait box)" 9
[ $(($(date +%s) - begin)) -lt 15 ] || fail "it was killed after its patience"
fails 125 strata exec box true
has "a stopped one" "$OUT" "it is stopped, not running"
strata delete box >/dev/null

# Keys and a script for a new guest, whose image has no cloud-init; the volume that one would read.
echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM anna@here' >"$WORK/key"
printf '#!/bin/sh\necho "planted by $(hostname)" >/planted\n' >"$WORK/script"
strata run -d --name seeded --as machine --kernel "$linux" --hostname web-2 --ssh-key "$WORK/key" --user-data "$WORK/script" \
    busybox sh -c 'sleep 1000' >/dev/null
is "the key" "$(strata exec seeded sh -c 'cat /root/.ssh/authorized_keys; stat -c %a /root/.ssh')" "$(cat "$WORK/key")
700"
planted() { [ "$(strata exec seeded cat /planted 2>/dev/null)" = "planted by web-2" ]; }
within 10 planted
has "the volume's label" "$(strata exec seeded sh -c 'for d in /dev/vd?; do dd if=$d bs=2048 skip=16 count=1 2>/dev/null | strings; done')" cidata
strata exec seeded sh -c 'for d in /dev/vd?; do dd if=$d bs=2048 count=30 2>/dev/null; done' | grep -aq 'local-hostname: web-2' ||
    fail "the volume does not tell the host name"
strata delete --force seeded >/dev/null
fails 125 strata run --rm --as machine --kernel "$linux" --ssh-key "$WORK/script" busybox true
has "no key" "$OUT" "it is no public key of OpenSSH"
fails 125 strata run --rm --as machine --kernel "$linux" --user-data "$WORK/none" busybox true
has "no user data" "$OUT" "cannot read --user-data '$WORK/none': No such file"
fails 125 strata run --rm --ssh-key "$WORK/key" busybox true
has "a container with a key" "$OUT" "cannot use --ssh-key with a container"

# A machine that was not made from an image has no agent.
cd "$WORK"
python3 "$TOP/tests/scenario/multiboot.py" deaf 'say:up\n' spin
strata run -d --name deaf --as machine --kernel deaf >/dev/null
fails 125 strata exec deaf true
has "no agent" "$OUT" "cannot run a program in guest 'deaf': it is a machine without an agent"
strata delete --force deaf >/dev/null

# What cannot be is refused, and nothing is left.
refused() { # REASON ARGUMENT...
    reason=$1
    shift
    fails 125 strata run --rm --as machine "$@"
    has "refused: $*" "$OUT" "$reason"
}
refused "cannot use --initrd with an image" --kernel "$linux" --initrd "$linux" busybox true
refused "cannot use --user with a machine that has no image" --kernel deaf --user 1
refused "too long" --kernel "$linux" -e "LONG=$(head -c 70000 /dev/zero | tr '\0' x)" busybox true
if [ ! -r "/boot/vmlinuz-$(uname -r)" ]; then
    refused "name one (--kernel FILE), or take an image with one" busybox true
fi
is "nothing is left" "$(strata list -q)$(ls "$STATE/run/guests" "$STATE/guests" | grep -v ':$' | tr -d '\n')" ""
