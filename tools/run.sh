#!/bin/sh
# run.sh - start a real guest: a Debian container made from Debian's packages.
# STATE=DIR keeps everything in that directory instead of the default one.
set -eu
cd "$(dirname "$0")/.."
bin=$PWD/build/release/src/prog/strata

strata() {
    "$bin" ${STATE:+--state "$STATE"} "$@"
}

say() {
    printf '== %s\n' "$*"
}

if strata image inspect debian >/dev/null 2>&1; then
    say "the image 'debian' is there"
else
    say "strata image build debian   (from the packages of the Debian archive, once)"
    strata image build debian
fi
if [ -t 0 ] && [ -t 1 ]; then
    say "strata run --rm --interactive --tty debian -- bash   (leave with exit)"
    strata run --rm --interactive --tty debian -- bash || say "the shell ended with code $?"
else
    say "strata run --rm debian -- sh -c '...'   (no terminal here: a short command)"
    # shellcheck disable=SC2016 # expanded by the guest's shell
    strata run --rm debian -- sh -c '
        . /etc/os-release
        echo "inside: $PRETTY_NAME, host name $(hostname), $(dpkg-query -f "x\n" -W | wc -l) packages, process $$ of $(ls -d /proc/[0-9]* | wc -l)"'
fi
say "done: a container was made, ran, and is gone; the image stays ('strata image list')"
say "the program is $bin; '$bin --help' shows the rest"
