#!/bin/sh
# A real Debian guest from the archive, beside one of another kind, on one kernel.
# rows: OSL-11 OSL-10
# timeout: 600
. "$(dirname "$0")/lib.sh"
need_root
need_cmd mmdebstrap
need_busybox

strata image build debian >"$WORK/out" 2>&1 || {
    # What apt and mmdebstrap say of an archive that does not answer, and nothing else.
    grep -q -e "Could not resolve" -e "Temporary failure resolving" -e "Could not connect" \
        -e "Unable to connect" -e "Connection refused" -e "Connection timed out" "$WORK/out" && skip "the Debian archive cannot be reached"
    fail "$(cat "$WORK/out")"
}
has "Debian" "$(strata run --rm debian cat /etc/os-release)" "Debian GNU/Linux 12"
has "its packages" "$(strata run --rm debian dpkg -l)" "libc6"
# The distribution's own kernel, as its package has it, and an init: the same image is a machine's.
has "its kernel" "$(strata run --rm debian sh -c 'ls /boot')" "vmlinuz-"
strata run --rm debian sh -c 'cd / && cat var/lib/dpkg/info/linux-image-[0-9]*.md5sums | md5sum -c --quiet' ||
    fail "the kernel's files are others than the package's"
has "its init" "$(strata run --rm debian readlink /sbin/init)" "systemd"
strata run -d --name deb debian sleep 1000 >/dev/null
strata run -d --name box busybox sleep 1000 >/dev/null
is "one kernel" "$(strata exec deb uname -r)" "$(strata exec box uname -r)"
fails 127 strata exec box apt-get --version
strata exec deb sh -c 'useradd -m anna && su anna -c id' | grep -q anna || fail "no user could be made"

# More packages, from one mirror: the one that this host uses.
mirror=$(grep -hoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1 | tr -d ' ')
strata image build debian --tag more --include less --include 'netbase,ucf' --mirror "${mirror:-http://deb.debian.org/debian}" \
    --label of=test >"$WORK/out" 2>&1 || fail "$(cat "$WORK/out")"
is "packages beside the minimum" "$(strata run --rm more dpkg-query -W -f '${Package} ' less netbase ucf)" "less netbase ucf "
has "one source" "$(strata run --rm more sh -c 'cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null')" "${mirror:-deb.debian.org}"
fails 1 strata image build debian --tag more --include 'no such'
has "a package's name" "$OUT" "'no such'"
fails 1 strata image build debian --mirror "ftp://x/debian"
has "a mirror's address" "$OUT" "is no mirror"
