#!/bin/sh
# Copy: files and trees, in and out, running and stopped; no link leads outside.
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

strata run -d --name web busybox sleep 1000 >/dev/null
echo hello >"$WORK/file"
strata cp "$WORK/file" web:/tmp/file
is "in, to a name" "$(strata exec web cat /tmp/file)" hello
is "owned by the guest's root" "$(strata exec web stat -c %u:%g /tmp/file)" 0:0
strata cp "$WORK/file" web:/root
is "in, to a directory" "$(strata exec web cat /root/file)" hello
strata cp web:/tmp/file "$WORK/back"
is "out" "$(cat "$WORK/back")" hello
is "out is ours" "$(stat -c %u "$WORK/back")" "$(id -u)"

mkdir -p "$WORK/tree/sub"
echo deep >"$WORK/tree/sub/deep"
ln -s sub/deep "$WORK/tree/link"
strata cp "$WORK/tree" web:/srv
is "tree in" "$(strata exec web cat /srv/sub/deep)" deep
is "links stay links" "$(strata exec web readlink /srv/link)" sub/deep
strata cp web:/srv "$WORK/again"
is "tree out" "$(cat "$WORK/again/sub/deep")" deep

# Hostile links: absolute, upward, as a directory on the way, as the last part.
echo secret >"$WORK/secret"
mkdir "$WORK/host"
strata exec web sh -c "ln -s $WORK/secret /leak; ln -s ../../../../../..$WORK/host /up
    ln -s $WORK/host /abs; ln -s / /tmp/root"
fails 1 strata cp web:/up/../secret "$WORK/stolen"
fails 1 strata cp "$WORK/file" web:/abs/planted
fails 1 strata cp "$WORK/file" web:/up/planted
is "nothing was planted" "$(ls -A "$WORK/host")" ""
strata cp web:/leak "$WORK/stolen" 2>/dev/null || true
if [ -e "$WORK/stolen" ] && [ ! -L "$WORK/stolen" ]; then
    fail "a link of the guest was followed on the host"
fi
is "links inside are followed there" "$(strata cp "$WORK/file" web:/tmp/root/tmp/in &&
    strata exec web cat /tmp/in)" hello

# While the guest swaps a directory for a link nothing leaves.
strata exec -d web sh -c 'cd /tmp; while :; do mkdir race; rmdir race; ln -s '"$WORK"'/host race
    rm race; done' 2>/dev/null
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    strata cp "$WORK/file" web:/tmp/race/x 2>/dev/null || true
done
is "no race is won" "$(ls -A "$WORK/host")" ""

strata stop -t 0s web >/dev/null
strata cp "$WORK/file" web:/stopped
strata cp web:/stopped "$WORK/stopped"
is "a stopped guest" "$(cat "$WORK/stopped")" hello
fails 1 strata cp web:/nothing "$WORK/x"
fails 1 strata cp "$WORK/file" nobody:/x

# The source is a link: itself, or with --follow-links what it leads to, inside the guest.
strata start web >/dev/null
strata exec web sh -c 'echo real >/tmp/real; ln -s real /tmp/one; ln -s /tmp/one /srv/two; ln -s loop /tmp/loop
    ln -s ../../../../../../../../etc/passwd /tmp/outside; ln -s /tmp /to-tmp'
strata cp web:/srv/two "$WORK/as-link"
is "a link stays a link" "$(readlink "$WORK/as-link")" /tmp/one
strata cp --follow-links web:/srv/two "$WORK/as-file"
is "followed, twice" "$(cat "$WORK/as-file")" real
mkdir "$WORK/into"
strata cp -L web:/srv/two "$WORK/into"
is "under the name that was given" "$(cat "$WORK/into/two")" real
strata cp -L web:/tmp/outside "$WORK/passwd"
is "never outside" "$(head -n 1 "$WORK/passwd")" "root:x:0:0:root:/root:/bin/sh"
strata cp -L web:/to-tmp "$WORK/whole"
is "a directory" "$(cat "$WORK/whole/real")" real
fails 1 strata cp -L web:/tmp/loop "$WORK/loop"
has "in a circle" "$OUT" "Too many levels"
ln -s file "$WORK/host-link"
strata cp -L "$WORK/host-link" web:/tmp/host-link
is "on the host, too" "$(strata exec web cat /tmp/host-link)" hello

# A tar stream out: GNU tar reads what was written; names, modes, links, large ids, long names.
need_cmd tar python3
long=$(printf 'n%.0s' $(seq 1 120))
strata exec web sh -c "mkdir -p /t/sub/$long && cd /t && echo x >sub/$long/$long && chmod 4750 sub &&
    ln -s sub link && mkfifo pipe && : >empty && echo tail >'with blank' && chown 1000:100 empty"
strata cp web:/t - >"$WORK/out.tar"
mkdir "$WORK/untarred"
tar -C "$WORK/untarred" --numeric-owner -xpf "$WORK/out.tar"
is "long names" "$(cat "$WORK/untarred/t/sub/$long/$long")" x
is "modes" "$(stat -c %a "$WORK/untarred/t/sub")" 4750
is "links" "$(readlink "$WORK/untarred/t/link")" sub
is "owners as in the guest" "$(stat -c %u:%g "$WORK/untarred/t/empty")" 1000:100
[ -p "$WORK/untarred/t/pipe" ] || fail "the fifo is missing"
strata cp web:/tmp/real - | tar -xOf - real >"$WORK/one"
is "one file" "$(cat "$WORK/one")" real

# And in: streams of GNU tar, pax and ustar, with the same things.
for format in gnu pax ustar; do
    name=$format
    [ $format = ustar ] || name=$long
    mkdir -p "$WORK/in/$name/$name"
    echo "$format" >"$WORK/in/$name/$name/file"
    ln -f "$WORK/in/$name/$name/file" "$WORK/in/hard"
    ln -sf hard "$WORK/in/soft"
    chmod 2755 "$WORK/in/$name"
    strata exec web sh -c 'rm -rf /in; mkdir /in'
    tar -C "$WORK/in" --format=$format --owner=1234 --group=5 -cf - . | strata cp - web:/in
    is "$format: file" "$(strata exec web cat "/in/$name/$name/file")" "$format"
    is "$format: hard link" "$(strata exec web stat -c %h /in/hard)" 2
    is "$format: soft link" "$(strata exec web readlink /in/soft)" hard
    is "$format: owner" "$(strata exec web stat -c %u:%g /in/hard)" 1234:5
    is "$format: mode" "$(strata exec web stat -c %a "/in/$name")" 2755
    rm -rf "$WORK/in"
done
strata cp web:/t - | strata cp - web:/tmp

# What stands behind the end of a stream is read, too: its writer does not fail.
(tar -C "$WORK/untarred" -cf - . && head -c 1000000 /dev/zero && echo yes >"$WORK/written") |
    strata cp - web:/tmp
is "the writer came to its end" "$(cat "$WORK/written")" yes
is "out and in again" "$(strata exec web cat "/tmp/t/with blank")" tail

# Hostile streams: upward, through links of the stream and of the guest, devices, ids, cut off.
python3 - "$WORK" <<'PY'
import io, sys, tarfile
work = sys.argv[1]
def stream(name, *members):
    with tarfile.open(f"{work}/{name}.tar", "w") as t:
        for m in members:
            info = tarfile.TarInfo(m["name"])
            info.type = m.get("type", tarfile.REGTYPE)
            info.linkname = m.get("link", "")
            info.uid = info.gid = m.get("uid", 0)
            body = m.get("body", b"")
            info.size = len(body)
            t.addfile(info, io.BytesIO(body))
stream("up", {"name": "a/../../planted", "body": b"x"})
stream("through", {"name": "l", "type": tarfile.SYMTYPE, "link": f"{work}/host"},
       {"name": "l/planted", "body": b"x"})
stream("hard", {"name": "h", "type": tarfile.LNKTYPE, "link": "../../../etc/shadow"})
stream("hard-link", {"name": "l", "type": tarfile.SYMTYPE, "link": f"{work}/secret"},
       {"name": "h", "type": tarfile.LNKTYPE, "link": "l"}, {"name": "h", "body": b"planted"})
stream("absolute", {"name": f"{work}/host/planted", "body": b"x"})
stream("device", {"name": "disk", "type": tarfile.BLKTYPE}, {"name": "after", "body": b"yes"})
stream("ids", {"name": "far", "uid": 70000, "body": b"x"})
stream("cut", {"name": "big", "body": b"x" * 100000})
data = open(f"{work}/cut.tar", "rb").read()
open(f"{work}/cut.tar", "wb").write(data[:50000])
open(f"{work}/noise.tar", "wb").write(b"no tar" * 1000)
PY
strata exec web mkdir /h
for bad in up through hard cut noise; do
    code=0
    strata cp - web:/h <"$WORK/$bad.tar" 2>"$WORK/err" || code=$?
    is "$bad is refused" "$code" 1
done
has "a cut one is told" "$(strata cp - web:/h <"$WORK/cut.tar" 2>&1)" "cut off"
strata cp - web:/h <"$WORK/hard-link.tar" 2>/dev/null || true
strata cp - web:/h <"$WORK/absolute.tar"
is "absolute names begin at the target" "$(strata exec web cat "/h$WORK/host/planted")" x
is "nothing was planted" "$(ls -A "$WORK/host")" ""
is "nothing was changed" "$(cat "$WORK/secret")" secret
strata cp - web:/h <"$WORK/device.tar"
fails 1 strata exec web test -e /h/disk
is "the rest goes on" "$(strata exec web cat /h/after)" yes
strata cp - web:/h <"$WORK/ids.tar"
is "ids beyond the guest's are nobody" "$(strata exec web stat -c %u /h/far)" 65534
fails 1 strata cp - "$WORK/x"
fails 1 strata cp web:/nothing -
fails 1 strata cp - web:/tmp/real </dev/null

# A guest that ends just now: its disk is that of one that runs, or of one that stands.
strata create --name short busybox true >/dev/null
strata cp "$0" short:/kept
for i in $(seq 30); do
    strata start short >/dev/null
    strata cp short:/kept - >"$WORK/short.tar" || fail "copied while it ended, round $i"
    tar -xOf "$WORK/short.tar" | cmp - "$0" || fail "what was copied while it ended"
done
