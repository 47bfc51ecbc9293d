#!/bin/sh
# root.sh MACHINE IMAGE AGENT - the disk of an image as a machine's root: its own init, or a command above it.
#
# rows: FV-01
set -eu
. "$(dirname "$0")/../../linux.sh"
machine=$(linux_program "$1")
image=$2
agent=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "failed: $*"
    cat "$dir/out"
    exit 1
}

linux_find
[ -x /bin/busybox ] || { echo 'skipped: no /bin/busybox'; exit 77; }
ask() { # OPERATION REQUEST
    echo "$2" | "$image" "$1" >"$dir/out" || fail "the operation $1"
}
member() { # NAME
    sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$dir/out"
}

ask kernel "{\"state\":\"$dir/st\",\"file\":\"$linux\",\"agent\":\"$agent\"}"
elf=$(member kernel)
initrd=$(member initrd)
mkdir -p "$dir/tree/bin" "$dir/tree/sbin" "$dir/tree/etc"
cp /bin/busybox "$dir/tree/bin/busybox"
ln -s busybox "$dir/tree/bin/sh"
for name in cat echo poweroff mount grep; do
    ln -s busybox "$dir/tree/bin/$name"
done
cat >"$dir/tree/sbin/init" <<'END'
#!/bin/sh
echo "init $$"
echo kept >/written
poweroff -f
END
chmod 755 "$dir/tree/sbin/init"
ask import "{\"state\":\"$dir/st\",\"path\":\"$dir/tree\",\"format\":\"dir\",\"name\":\"x:1\"}"
ask disk "{\"state\":\"$dir/st\",\"image\":\"x:1\",\"bytes\":200000000}"
cp --sparse=always "$(member disk)" "$dir/root.img"

run() { # PARAMETERS
    code=0
    timeout 100 "$machine" --kernel "$elf" --initrd "$initrd" --disk "$dir/root.img,serial=root" \
        --append "console=ttyS0 quiet loglevel=1 panic=-1 $1" </dev/null >"$dir/out" 2>"$dir/err" || code=$?
}

run 'strata.root=root'
[ "$code" = 0 ] || fail "its own init: $code"
grep -q '^init 1' "$dir/out" || fail 'its own init did not run as process 1'
run 'strata.root=root strata.command=sh:-c:cat%20/written%20%26%26%20echo%20new%20%3E/written%20%26%26%20exit%205'
[ "$code" = 5 ] && grep -q '^kept' "$dir/out" || fail "a command above it: $code"
run 'strata.root=root strata.ro strata.command=sh:-c:cat%20/written%20%26%26%20echo%20lost%20%3E/written%20%26%26%20cat%20/written'
[ "$code" = 0 ] && grep -q '^lost' "$dir/out" || fail "a root that is not written to: $code"
run 'strata.root=root strata.command=cat:/written'
grep -q '^new' "$dir/out" || fail 'it was written to'
PATH=$PATH:/sbin:/usr/sbin
code=0
e2fsck -fy "$dir/root.img" >"$dir/out" 2>&1 || code=$?
[ "$code" -le 1 ] || fail "e2fsck: $code"
run 'strata.root=nobody strata.command=sh'
[ "$code" = 125 ] && grep -q "no disk 'nobody'" "$dir/out" || fail "a disk that is not there: $code"
