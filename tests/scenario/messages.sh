#!/bin/sh
# What is said when something is not possible: one line, the guest by its name, and why.
# rows: OSL-19
. "$(dirname "$0")/lib.sh"
need_root
need_busybox

# says CODE TEXT COMMAND... - it ends with that code, and says exactly this one line.
says() {
    code=$1
    text=$2
    shift 2
    fails "$code" "$@"
    is "$*" "$OUT" "strata: $text"
}

for words in "show the logs of:1:logs" "show the figures of:1:stats" \
    "open the console of:1:console" "run a program in:125:exec"; do
    IFS=: read -r phrase code command <<END
$words
END
    set -- # the program of exec
    [ "$command" != exec ] || set -- true
    says "$code" "cannot $phrase guest 'nobody': it does not exist (see 'strata list')" \
        strata "$command" nobody "$@"
done
says 1 "cannot copy files of guest 'nobody': it does not exist (see 'strata list')" \
    strata cp nobody:/etc/passwd "$WORK"

fails 1 strata image import /etc/passwd x
has "no archive" "$OUT" "cannot import '/etc/passwd': it is no archive, layout or directory"
fails 1 strata image build debian:nosuch
has "no suite" "$OUT" "there is no such suite of Debian: 'nosuch' (known are trixie, bookworm"
says 125 "cannot use --tmpfs 'rel': want /PATH[:OPTION,OPTION...]" \
    strata run --rm --tmpfs rel busybox true
is "nothing is left" "$(strata list --quiet)" ""

strata run -d --name web busybox sleep 1000 >/dev/null
says 2 "cannot resize guest 'web': no option says what to change (see 'strata resize --help')" \
    strata resize web
fails 125 strata exec --user nosuch web true
is "by its name" "$OUT" "strata: cannot run a program in guest 'web': it has no user 'nosuch'"
says 125 "cannot run a program in guest 'web': it has no group 'nosuch'" \
    strata exec --user 0:nosuch web true

# Above fs.nr_open nobody can raise it.
much=$(($(cat /proc/sys/fs/nr_open) + 1))
got=$(strata run --rm --ulimit "nofile=$much" busybox sh -c 'ulimit -n' 2>"$WORK/said")
is "lowered" "$got" "$(ulimit -Hn)"
is "one line" "$(cat "$WORK/said")" \
    "strata: warning: RLIMIT_NOFILE $much is lowered to $got: the host allows no more"
is "quiet else" "$(strata run --rm --ulimit nofile=100 busybox sh -c 'ulimit -n' 2>&1)" 100
