#!/bin/sh
# The store of images goes to a pool and back: guests of before and after run from it, hard
# links and owners stay, a kill at any step loses nothing.
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

one=$WORK/one
two=$WORK/two
mkdir "$one" "$two"
printf 'FROM busybox\nRUN mkdir /d && echo x > /d/a && ln /d/a /d/b && chown 12:34 /d/a\n' >"$WORK/Containerfile"
strata image build --tag linked "$WORK" >/dev/null
strata pool create --member "$one" one >/dev/null
strata pool create --member "$two" two >/dev/null
strata create --name before linked stat -c '%h %u %g %i' /d/a /d/b >/dev/null
sums() { (cd "$STATE" && find images/ layers/ -type f ! -name '*.lock' -exec sha256sum {} + | sort -k2); }
sums >"$WORK/sums"

same() { # what is there is what was there, and guests run
    sums | diff "$WORK/sums" - || fail "$1: other files"
    strata image verify >/dev/null || fail "$1: damaged"
    is "$1: links and owners" "$(strata run --rm linked stat -c '%h %u %g' /d/a /d/b)" "2 12 34
2 12 34"
    strata start --attach before >"$WORK/out" 2>&1 || fail "$1: $(cat "$WORK/out")"
    is "$1: one file" "$(cut -d' ' -f4 "$WORK/out" | sort -u | wc -l)" 1
}

# Refusals leave everything where it is.
fails 1 strata image move nosuch
has "no pool" "$OUT" "nosuch"
strata run --detach --name runs busybox sleep 100 >/dev/null
fails 1 strata image move one
has "somebody runs" "$OUT" "guest 'runs' runs from an image"
strata delete --force runs >/dev/null
[ ! -L "$STATE/images" ] || fail "moved for nothing"
mkdir "$WORK/small"
mount -t tmpfs -o size=256k none "$WORK/small"
strata pool create --member "$WORK/small" small >/dev/null
fails 1 strata image move small
has "no room" "$OUT" "small"
strata pool delete small >/dev/null
umount "$WORK/small"

strata image move one >/dev/null
is "where" "$(readlink "$STATE/layers")" "$one/images/layers"
same "moved"
fails 1 strata pool delete one
strata image move one >/dev/null
same "moved to where it is"
strata image move two >/dev/null
is "the first is empty" "$(find "$one/images" -mindepth 1)" ""
same "moved on"
strata pool delete one >/dev/null

# Killed at each step of both directories, one after the other.
if grep -qa 'STRATA_FAULT' "$STRATA"; then
    mkdir -p "$one"
    strata pool create --member "$one" one >/dev/null
    for step in copied exchanged copied exchanged; do
        STRATA_FAULT=kill:image.move.$step "$STRATA" --state "$STATE" image move one >/dev/null 2>&1 &&
            fail "$step was not passed"
        same "killed when $step"
    done
    strata image move one >/dev/null
    same "after the kills"
    is "nothing is left" "$(find "$STATE" -maxdepth 1 -name '*.away'; find "$two/images" -mindepth 1)" ""
fi
strata image move default >/dev/null
same "back"
