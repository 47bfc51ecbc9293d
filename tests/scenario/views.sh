#!/bin/sh
# Ten guests on one kernel: each has its own processes, name, files, address and settings.
# rows: OSL-01 OSL-05 OSL-06 OSL-07 OSL-18 CON-02 SYS-33
. "$(dirname "$0")/lib.sh"
need_root
need_cmd curl
need_busybox

field() { strata inspect --json "$1" | python3 -c "import json,sys; print(json.load(sys.stdin)[0]$2)"; }
for i in 0 1 2 3 4 5 6 7 8 9; do
    strata run -d --name "s$i" -e "COLOUR=c$i" busybox sh -c \
        'mkdir /www; echo "$COLOUR" >/www/index.html; exec httpd -f -p 80 -h /www' >/dev/null
done
kernel=$(uname -r)
names=
for i in 0 1 2 3 4 5 6 7 8 9; do
    is "kernel of s$i" "$(strata exec "s$i" uname -r)" "$kernel"
    is "name of s$i" "$(strata exec "s$i" hostname)" "s$i"
    is "servers s$i sees" "$(strata exec "s$i" sh -c 'ps -o comm | grep -c -x httpd')" 1
    serves() { [ "$(curl -s --max-time 2 "http://$(field "s$i" '["addresses"][0]')/")" = "c$i" ]; }
    within 10 serves # all on port 80
    names="$names $(field "s$i" '["addresses"][0]')"
done
is "addresses differ" "$(echo "$names" | tr ' ' '\n' | grep -c .)" "$(echo "$names" | tr ' ' '\n' | grep . | sort -u | wc -l)"
is "a neighbour by name" "$(strata exec s1 wget -q -O - http://s2/)" c2
strata exec s3 sh -c 'echo mine >/only-here'
fails 1 strata exec s4 cat /only-here
strata exec s3 sh -c 'ipcmk -M 4096 2>/dev/null || :'
is "ipc apart" "$(strata exec s4 sh -c 'tail -n +2 /proc/sysvipc/shm | wc -l')" 0

# The three parts, by name; the environment is recreated, or another one is.
is "technique" "$(field s1 '["parts"]["layer"]["technique"]')" container
is "host" "$(field s1 '["parts"]["host"]["kernel"]')" shared
