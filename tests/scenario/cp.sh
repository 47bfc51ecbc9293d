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
