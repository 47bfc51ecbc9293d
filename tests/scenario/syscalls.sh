#!/bin/sh
# The system calls that a guest may make, printed, and as the kernel sees them.
# rows: OSL-19
. "$(dirname "$0")/lib.sh"
need_root
need_cmd python3
need_busybox

rules() { # [GUEST] - "NAME RULE" lines
    strata host syscalls --json "$@" | python3 -c "import json, sys
for call in json.load(sys.stdin):
    print(call['name'], call['rule'])"
}
rules >"$WORK/usual"
sort -c "$WORK/usual" || fail "not ordered"
for call in read openat execve exit_group; do
    grep -qx "$call always" "$WORK/usual" || fail "$call is missing"
done
for call in kexec_load init_module bpf mount reboot swapon; do
    ! grep -q "^$call " "$WORK/usual" || fail "$call is allowed"
done
grep -q ' by its arguments' "$WORK/usual" || fail "nothing depends on arguments"

# More capabilities, more calls; a guest says which.
strata run -d --name plain busybox sleep 1000 >/dev/null
strata run -d --name more --cap-add SYS_ADMIN busybox sleep 1000 >/dev/null
rules plain | cmp - "$WORK/usual" || fail "the usual guest has another list"
rules more >"$WORK/more"
grep -q '^mount ' "$WORK/more" || fail "mount is missing"
comm -23 "$WORK/usual" "$WORK/more" | grep -v ' by its' && fail "calls were lost"
strata exec more sh -c 'mkdir /m && mount -t tmpfs none /m' # and it is as printed
fails 1 strata exec plain sh -c 'mkdir /m && mount -t tmpfs none /m'

# Without the default profile there is no such list.
strata create --name open --security-opt seccomp=unconfined busybox true >/dev/null
fails 1 strata host syscalls open
has "why" "$OUT" "may make all of them"
fails 1 strata host syscalls nobody
