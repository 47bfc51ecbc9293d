#!/bin/sh
# Machines from one template, which has its software in it: none installs anything, all answer at once and at the same
# time, and each has a name, an address, a machine-id and a key of its own; one of them boots, and is no less.
# rows: CLU-08
# STRATA_LINUX: the directory in which boot/vmlinuz-* and lib/modules lie (default: /).
# release
# timeout: 300
. "$(dirname "$0")/lib.sh"
need_root
need_cmd curl python3
need_busybox
. "$TOP/tests/linux.sh"
linux_find virtio_net
cd "$WORK"
COUNT=${1:-20}

address() { strata inspect --json "$1" | python3 -c "import json,sys; print(json.load(sys.stdin)[0]['addresses'][0])"; }
page() { curl -s -g --max-time 5 "http://$2/cgi-bin/who" >"$1" || true; }

# What is in the template is the outcome of one installation, which leaves a line each time that it is done.
strata network create blue --subnet 10.92.0.0/24 >/dev/null
strata run -d --name template --as machine --network blue --kernel "$linux" --memory 80M busybox sh -c '
    [ -e /www/installed ] || { mkdir -p /www/cgi-bin /usr/bin /etc/ssh; echo installed once >>/www/installed
    printf "%s\n" "#!/bin/sh" "head -c 16 /dev/urandom | md5sum >/etc/ssh/ssh_host_ed25519_key" >/usr/bin/ssh-keygen
    chmod 755 /usr/bin/ssh-keygen; ssh-keygen -A; echo 0123456789abcdef0123456789abcdef >/etc/machine-id
    printf "%s\n" "#!/bin/sh" "echo; cat /www/installed; hostname; ip -4 -o address show dev eth0 | tr -s \" \" | cut -d \" \" -f 4" \
        "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key /sys/class/net/eth0/address" >/www/cgi-bin/who
    chmod 755 /www/cgi-bin/who; }
    httpd -p 80 -h /www
    while :; do sleep 1000; done' >/dev/null
at=$(address template)
template_is() {
    page said "$at"
    [ "$(sed -n 1,2p said)" = "installed once
template" ]
}
within 60 template_is
cp said is.0
strata snapshot create template ready >/dev/null

# They go on where the template stood; the last one boots.
i=1
while [ "$i" -le "$COUNT" ]; do
    [ "$i" = "$COUNT" ] || how=--memory
    # shellcheck disable=SC2086
    strata clone --snapshot ready $how template "vm$i" >/dev/null
    how=
    strata start "vm$i" >/dev/null
    i=$((i + 1))
done
is_itself() { # NUMBER ADDRESS - its name and its address are those that the host gave it
    page "is.$1" "$2"
    [ "$(sed -n 2,3p "is.$1")" = "vm$1
$2/24" ]
}
i=1
while [ "$i" -le "$COUNT" ]; do
    within 60 is_itself "$i" "$(address "vm$i")"
    is "what is installed in vm$i" "$(sed -n 1p "is.$i")" "installed once"
    is "lines of vm$i" "$(wc -l <"is.$i")" 6
    i=$((i + 1))
done
for line in "2 name" "3 address" "4 machine-id" "5 key" "6 hardware address"; do
    for file in is.*; do sed -n "${line%% *}p" "$file"; done | sort | uniq -d >same
    is "the same ${line#* }" "$(cat same)" ""
done

# All of them at the same time, the template too, which stayed as it was.
is "all of them run" "$(strata list --json | python3 -c "import json, sys
print(sum(g['state'] == 'running' for g in json.load(sys.stdin)))")" $((COUNT + 1))
within 5 template_is
cmp -s said is.0 || fail "the template is another one: $(cat said)"
