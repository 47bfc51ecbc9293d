#!/bin/sh
# A machine with a screen: what firmware and the first sector show on it is a picture; running, paused, saved.
# rows: MIO-10, FV-03
. "$(dirname "$0")/lib.sh"
need_root
need_cmd gcc python3
rom=/usr/share/seabios/vgabios-stdvga.bin
[ -e "$rom" ] || skip "needs the package seabios"

cd "$WORK"
gcc -m32 -nostdlib -no-pie -fno-pic -Wl,--build-id=none -Wl,--oformat=binary -Wl,-Ttext=0x7c00 -o sector \
    "$TOP/tests/virt/monitor/screen/picture.S"
picture=$TOP/tests/scenario/picture.py

shows() { # NAME LETTER [OPTION...]: a machine whose first sector shows that
    name=$1
    cp sector "$name"
    printf '%s' "$2" | dd of="$name" bs=1 seek=508 conv=notrunc 2>/dev/null
    truncate -s 1M "$name"
    shift 2
    strata run -d --name "$name" --as machine --firmware bios --screen --memory 64M --disk "$name" "$@" >/dev/null
    within 60 sh -c '"$STRATA" --state "$STATE" logs '"$name"' | grep -q shown'
}

# The BIOS's words and the sector's, in the font that the screen's BIOS brought; while it runs, while it stands,
# and when it went on from a file.
shows words t
strata screen words >one.png
python3 "$picture" text one.png "$rom" >text
grep -q '^SeaBIOS (version ' text || fail "no banner on the screen: $(cat text)"
grep -q '^Booting from Hard Disk' text || fail "not all of its words: $(cat text)"
grep -q '^these words are from the first sector$' text || fail "no words of the sector: $(cat text)"
strata pause words >/dev/null
strata screen words --file two.png
cmp one.png two.png || fail "another picture while it stands"
strata resume words >/dev/null
strata save words >/dev/null
strata start words >/dev/null
strata screen words --file three.png
cmp one.png three.png || fail "another picture after it was saved"

# Planes, bytes, a frame buffer.
shows planes p
strata screen planes | cat >planes.png
python3 "$picture" colors planes.png >colors
is "mode 0x12" "$(sort colors | tr "\n" " ")" "000000 153600 640x480 ff5555 153600 "
shows bytes b
strata screen bytes >bytes.png
python3 "$picture" colors bytes.png >colors
is "mode 0x13" "$(head -n 1 colors)" 320x200
python3 - "$picture" <<'WORDS' || fail "the bytes are not where they were stored"
import runpy, sys
rows = runpy.run_path(sys.argv[1])["rows"]("bytes.png")
flat = [p for row in rows for p in row]
assert all(flat[i] == flat[i % 256] for i in range(64000))
assert [p.hex() for p in flat[:16]] == ["000000", "0000aa", "00aa00", "00aaaa", "aa0000", "aa00aa", "aa5500", "aaaaaa",
    "555555", "5555ff", "55ff55", "55ffff", "ff5555", "ff55ff", "ffff55", "ffffff"]  # EGA's
WORDS
for engine in translate interpret; do
    shows "frame-$engine" f --engine $engine
    strata screen "frame-$engine" >frame.png
    python3 - "$picture" <<'WORDS' || fail "$engine: the frame buffer is not what was stored"
import runpy, sys
rows = runpy.run_path(sys.argv[1])["rows"]("frame.png")
assert (len(rows[0]), len(rows)) == (800, 600)
assert all(rows[y][x] == bytes([x & 255, y & 255, 255]) for y in range(600) for x in range(800))
WORDS
done

# A reset puts the card back; the BIOS shows the same again.
strata reset frame-translate >/dev/null
within 60 sh -c '[ "$("$STRATA" --state "$STATE" logs frame-translate | grep -c shown)" = 2 ]'
strata screen frame-translate >again.png
cmp frame.png again.png || fail "another picture after a reset"

# Without a screen; a container.
strata run -d --name blind --as machine --firmware bios --memory 64M >/dev/null
! strata screen blind >none.png 2>err || fail "a machine without a screen showed something"
grep -q -e '--screen' err || fail "nothing says what to do: $(cat err)"
[ ! -s none.png ] || fail "half a picture"
! strata run --rm --screen busybox true 2>err || fail "a container with a screen"
grep -q 'cannot use --screen with a container' err || fail "refused otherwise: $(cat err)"
