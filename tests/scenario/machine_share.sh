#!/bin/sh
# Directories of the host in a machine with a stock kernel: what one writes the other reads, with its
# rights and times; a read-only one; links lead nowhere outside; a container beside it; the server goes.
# rows: SEC-03 STO-18
# timeout: 300
# release
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_linux.sh"
need_root
need_busybox
need_linux fuse virtiofs

cd "$WORK"
linux_initrd initrd <<'SH'
mkdir -p /mnt /ro
mount -t virtiofs /mnt /mnt || echo "no mount"
mount -t virtiofs /ro /ro || echo "no mount"
cd /mnt
echo "sees $(cat from-host)"
echo "link $(readlink out) $(cat out 2>&1)"
echo "up $(ls ..)"
mkdir -p a/b && echo deep >a/b/file
dd if=/dev/zero bs=64k count=64 2>/dev/null | tr '\0' x >large
md5sum <large | cut -c 1-32 >large.sum
: >shell && chown 1000:2000 shell && chmod 4755 shell
touch -d '2001-02-03 04:05:06' old
ln -s a/b/file link && ln large hard && mv hard harder
mkfifo pipe
mknod disk b 8 0 2>/dev/null || echo "no device"
i=0; while [ $i -lt 300 ]; do : >"a/n$i"; i=$((i + 1)); done
echo "names $(ls a | wc -l)"
rm a/n7 && truncate -s 5 from-host && echo more >>from-host
echo "ro $(cat /ro/kept)"
(echo x >/ro/kept) 2>/dev/null || echo "ro is kept"
rm /ro/kept 2>/dev/null || echo "ro stays"
df /mnt | tail -n 1 | grep -q /mnt && echo "df works"
sync
echo waiting
read -r line
cat "$line" 2>/dev/null || echo "the server is gone"
SH
mkdir -p shared/inner
echo "words of the host" >shared/from-host
ln -s "$WORK/secret" shared/out
echo secret >secret
strata volume create files >/dev/null
strata run --rm -v files:/f busybox sh -c 'echo contained >/f/kept'
strata run -d --name vm --as machine --network none --kernel "$LINUX" --initrd initrd --memory 128M \
    --append "console=ttyS0 quiet panic=-1" -v "$WORK/shared:/mnt" -v files:/ro:ro >/dev/null
said() { strata logs vm | tr -d '\r' | grep -q -- "^$1"; }
within 60 said waiting
for line in "sees words of the host" "link $WORK/secret cat: can't open 'out'" "no device" "names 301" \
    "ro contained" "ro is kept" "ro stays" "df works"; do
    said "$line" || fail "'$line' is not in: $(strata logs vm)"
done
said "no mount" && fail "it mounts: $(strata logs vm)"
is "deep" "$(cat shared/a/b/file)" deep
is "large" "$(md5sum <shared/large | cut -c 1-32)" "$(cat shared/large.sum)"
is "rights" "$(stat -c '%a %u %g' shared/shell)" "4755 1000 2000"
is "a time" "$(TZ=UTC stat -c %Y shared/old)" 981173106
is "a link" "$(readlink shared/link)" a/b/file
is "names of one file" "$(stat -c %h shared/harder)" 2
[ -p shared/pipe ] && [ ! -e shared/hard ] && [ ! -e shared/disk ] && [ ! -e shared/a/n7 ] || fail "$(ls -l shared)"
is "cut and longer" "$(tr '\n' ' ' <shared/from-host)" "wordsmore "
is "read only" "$(strata run --rm -v files:/f busybox cat /f/kept)" contained
is "nobody reads the secret" "$(cat secret)" secret

# The server sees the directory alone, and goes with the machine; when it goes, the machine stays.
servers() { pgrep -f "^fsd .*$STATE'" || true; }
is "one for each" "$(servers | wc -l)" 2
for pid in $(servers); do
    is "its root" "$(ls "/proc/$pid/root/" | grep -c -e secret -e etc || true)" 0
    is "no network" "$(grep -c eth "/proc/$pid/net/dev" || true)" 0
done
# shellcheck disable=SC2046
kill -KILL $(servers)
echo /mnt/large.sum | timeout 60 "$STRATA" --state "$STATE" console vm >/dev/null || true
within 30 said "the server is gone"
strata delete --force vm >/dev/null
gone() { [ -z "$(servers)" ]; }
within 10 gone

for words in "files|it is a directory" "/none:/mnt|cannot use volume '/none'" "none:/mnt|none" \
    "files:/a-path-that-is-longer-than-the-tag-of-a-file-system|at most 36 bytes" "files:/a,b|without ','"; do
    fails 125 strata run -d --as machine --network none --kernel "$LINUX" -v "${words%|*}"
    has "$words" "$OUT" "${words#*|}"
done
