#!/bin/sh
# Images built by another builder run here, and it accepts ours.
# rows: OSL-11
. "$(dirname "$0")/lib.sh"
need_root
need_cmd buildah
need_busybox

export HOME="$WORK/home" XDG_RUNTIME_DIR="$WORK/home"
mkdir -p "$HOME"
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$HOME/policy.json"
printf '[containers]\n[engine]\n' >"$HOME/containers.conf"
export CONTAINERS_CONF="$HOME/containers.conf"
theirs() {
    buildah --root "$WORK/buildah" --runroot "$WORK/buildah-run" --storage-driver vfs "$@"
}
low=/tmp/strata-buildah-$$ # it makes names of paths: they must be in lower case
mkdir "$low"
on_exit() {
    theirs rm --all >/dev/null 2>&1
    rm -rf "$WORK/buildah" "$WORK/buildah-run" "$low"
}

# Ours is what it builds from: the whole image, its settings and its files.
printf 'FROM busybox\nENV FROM=strata\nRUN mkdir /srv && echo ours >/srv/file && chown 7:8 /srv/file\nWORKDIR /srv\nUSER 1000\nCMD ["cat", "file"]\n' >"$WORK/Containerfile"
strata image build --quiet --tag ours "$WORK" >/dev/null
strata image export --format dir ours "$low/ours" >/dev/null
theirs from --signature-policy "$HOME/policy.json" --name work "oci:$low/ours" >"$WORK/out" 2>&1 ||
    skip "buildah does not work on this host: $(tail -1 "$WORK/out")"
setting() { theirs inspect --format "{{.OCIv1.Config.$1}}" work; }
is "its user and directory" "$(setting User) $(setting WorkingDir)" "1000 /srv"
has "its variables" "$(setting Env)" "FROM=strata"
if ! theirs run --isolation chroot --user 0 work -- /bin/true >"$WORK/out" 2>&1; then
    skip "buildah cannot run commands on this host: $(tail -1 "$WORK/out")"
fi
is "its files" "$(theirs run --isolation chroot work -- cat /srv/file)" ours
is "its owners" "$(theirs run --isolation chroot work -- stat -c %u:%g /srv/file)" 7:8

# It goes on from ours; what comes out runs here.
theirs run --isolation chroot --user 0 work -- /bin/sh -c 'echo theirs >/srv/file; rm /bin/ls; ln /bin/busybox /again; ln -s /srv /link'
theirs config --label by=buildah --cmd '["cat", "/link/file"]' work
theirs commit --signature-policy "$HOME/policy.json" -q work "oci:$WORK/back:back" >/dev/null
strata image import "$WORK/back" back >/dev/null
is "runs" "$(strata run --rm back)" theirs
is "a link" "$(strata run --rm back /bin/sh -c 'cmp /again /bin/busybox && echo same')" same
fails 127 strata run --rm back ls
is "its label" "$(strata image inspect --json back | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["config"]["Labels"]["by"])')" buildah

# A file of its own, in several layers and both formats.
mkdir "$WORK/context"
echo data >"$WORK/context/data"
cat >"$WORK/context/Containerfile" <<FILE
FROM oci:$low/ours
USER 0
RUN ln /srv/file /srv/second && echo a >/srv/a
COPY data /srv/data
RUN rm /srv/a && mkdir /srv/a && echo b >/srv/a/b
ONBUILD RUN echo triggered >/trigger
HEALTHCHECK --interval=10s CMD true
CMD ["sh", "-c", "cat second data a/b"]
FILE
for format in oci docker; do
    theirs build --signature-policy "$HOME/policy.json" --isolation chroot --layers --format $format \
        -t built-$format "$WORK/context" >"$WORK/out" 2>&1 || fail "$(cat "$WORK/out")"
    theirs push --signature-policy "$HOME/policy.json" -q built-$format \
        "$([ $format = oci ] && echo "oci-archive:$WORK/$format.tar" || echo "docker-archive:$WORK/$format.tar")" >"$WORK/out" 2>&1 ||
        fail "$(cat "$WORK/out")"
    strata image import "$WORK/$format.tar" built-$format >/dev/null
    is "built as $format" "$(strata run --rm built-$format)" "ours
data
b"
done
printf 'FROM built-docker\n' >"$WORK/Containerfile"
strata image build --quiet --tag child "$WORK" >/dev/null
is "its trigger" "$(strata run --rm child cat /trigger)" triggered
