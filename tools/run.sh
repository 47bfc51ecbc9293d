#!/bin/sh
# run.sh - start a real guest: a Debian machine made from Debian's packages, with its own kernel; its root shell.
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

now() {
    date +%s%N
}

took() { # WHAT BEGIN
    say "$1 took $((($(now) - $2) / 1000000)) ms"
}

if strata image inspect debian >/dev/null 2>&1; then
    say "the image 'debian' is there"
else
    say "strata image build debian   (from the packages of the Debian archive, once)"
    begin=$(now)
    strata image build debian
    took "building the image" "$begin"
fi
say "strata run --rm --as machine debian -- true   (boots Debian's kernel, and ends)"
begin=$(now)
strata run --rm --as machine debian -- true </dev/null
took "this start, from the kernel's first instruction to power-off," "$begin"
if [ -t 0 ] && [ -t 1 ]; then
    say "strata run --rm --as machine --interactive --tty debian -- bash   (leave with exit)"
    strata run --rm --as machine --interactive --tty debian -- bash || say "the shell ended with code $?"
else
    say "strata run --rm --as machine debian -- sh -c '...'   (no terminal here: a short command)"
    # shellcheck disable=SC2016 # expanded by the guest's shell
    begin=$(now)
    strata run --rm --as machine debian -- sh -c '
        . /etc/os-release
        echo "inside: $PRETTY_NAME, kernel $(uname -r), host name $(hostname), $(dpkg-query -f "x\n" -W | wc -l) packages, process $$ of $(ls -d /proc/[0-9]* | wc -l)"' </dev/null
    took "it" "$begin"
fi
say "the same image as a container: strata run --rm debian -- cat /etc/debian_version: $(strata run --rm debian -- cat /etc/debian_version)"
say "done: machines were made, ran, and are gone; the image stays ('strata image list')"
say "the program is $bin; '$bin --help' shows the rest"
