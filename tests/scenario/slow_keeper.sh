#!/bin/sh
# A keeper that comes up late, as on a busy host: its guest is known as running at once,
# and nobody takes its disk for that of a stopped one.
# rows: OSL-17
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

mkdir "$WORK/bin"
for program in "$(dirname "$STRATA")"/*; do
    [ ! -f "$program" ] || ln -s "$program" "$WORK/bin/"
done
rm "$WORK/bin/strata" "$WORK/bin/keeper"
cp "$STRATA" "$WORK/bin/strata"
printf '#!/bin/sh\nsleep 1\nexec "%s" "$@"\n' "$(dirname "$STRATA")/keeper" >"$WORK/bin/keeper"
chmod +x "$WORK/bin/keeper"
STRATA=$WORK/bin/strata

echo hello >"$WORK/file"
strata run -d --name web busybox -- sleep 1000 >/dev/null
is "it is known to run" "$(strata list --running --quiet)" web
has "its process is known" "$(strata inspect --json web)" '"pid"'
strata cp "$WORK/file" web:/file
is "what was copied is in the guest that runs" "$(strata exec web -- cat /file)" hello
strata exec web -- touch /root/made # /root comes from the image: it is copied up first

# A guest between two runs has no disk to look at. (It outlives the shell that is its
# keeper at first, which would take its end for its own.)
strata run -d --name again --restart always busybox -- sleep 1.5 >/dev/null
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
    strata cp again:/etc/passwd "$WORK/passwd" 2>"$WORK/said" ||
        grep -q "it is restarting\|No such file\|No such process" "$WORK/said" ||
        fail "a guest between two runs: $(cat "$WORK/said")"
    sleep 0.2
done
is "it runs again" "$(strata exec again -- sh -c 'touch /root/made && echo made')" made
strata stop --timeout 0s again >/dev/null

strata stop --timeout 0s web >/dev/null
strata cp web:/root/made - | tar tf - >"$WORK/list"
is "what was made is kept" "$(cat "$WORK/list")" made

# The disk of a guest that stands still is not for two: a start waits until it is free.
mkfifo "$WORK/gate"
(sleep 2 && tar -C "$WORK" -cf - file) >"$WORK/gate" & # one writer: a second would come after the end
strata cp - web:/tmp <"$WORK/gate" &
copier=$!
sleep 0.5
strata start web >/dev/null
wait $copier
strata exec web -- touch /root/second
is "copied before the start" "$(strata exec web -- cat /tmp/file)" hello
