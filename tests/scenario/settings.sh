#!/bin/sh
# What a guest is given: environment, directory, user, entry point, labels, names.
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

out() { strata run --rm "$@"; }

is "env" "$(out -e A=1 -e B='two words' busybox sh -c 'echo $A $B')" "1 two words"
is "env from here" "$(HERE=yes strata run --rm -e HERE busybox sh -c 'echo $HERE')" yes
printf '# comment\nF=file\nA=old\n' >"$WORK/env"
is "env file, then env" "$(out --env-file "$WORK/env" -e A=new busybox sh -c 'echo $F $A')" \
    "file new"
is "workdir" "$(out -w /tmp busybox pwd)" /tmp
is "workdir is made" "$(out -w /made/up busybox pwd)" /made/up
is "user by number" "$(out -u 1234:567 busybox sh -c 'id -u; id -g' | tr '\n' ' ')" "1234 567 "
is "user by name, with groups" "$(out -u bin busybox id -G)" "1000 2000"
is "user and group" "$(out -u bin:extra busybox id -g)" 2000
fails 125 strata run --rm -u nobody-here busybox id
has "unknown user" "$OUT" "nobody-here"
is "home of the user" "$(out -u bin busybox sh -c 'echo $HOME')" /tmp
is "entry point" "$(out --entrypoint echo busybox one two)" "one two"
is "hostname" "$(out --hostname box busybox hostname)" box
is "hostname is the name" "$(out --name named busybox hostname)" named
is "init reaps" "$(out --init busybox sh -c \
    '(sleep 0.1 &) ; sleep 0.5; ps | grep -c "[Z] "')" 0
is "init returns the code" "$(out --init busybox sh -c 'exit 6' || echo $?)" 6
is "init is process 1" "$(out --init busybox sh -c 'echo $$' | grep -vc '^1$')" 1

strata create --name a -l tier=web -l site=one busybox true >/dev/null
strata create --name b -l tier=db busybox true >/dev/null
is "label with value" "$(strata list -q -l tier=db)" b
is "label with any value" "$(strata list -q -l tier | sort | tr '\n' ' ')" "a b "
has "labels are shown" "$(strata inspect --json a)" '"site": "one"'
is "names are unique" "$(strata create --name a busybox true 2>&1 >/dev/null || echo $?)" \
    "strata: cannot create guest 'a': the name is taken
125"
fails 2 strata create --name "bad/name" busybox true

# A bound on the time it runs, a file system in memory with options.
fails 143 strata run --rm --timeout 1s busybox sh -c 'trap "exit 143" TERM; while :; do sleep 0.1; done'
has "options of a tmpfs" "$(strata run --rm --tmpfs /scratch:size=1m,mode=700 busybox grep /scratch /proc/mounts)" "size=1024k"
