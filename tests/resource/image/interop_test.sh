#!/bin/sh
# Images made here are accepted by skopeo and umoci, and theirs here.
# rows: OPS-12
set -eu
image=$1
for tool in skopeo umoci tar gzip xz zstd bzip2; do
    command -v "$tool" >/dev/null || { echo "skip: $tool is not installed"; exit 77; }
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
state=$dir/state

# op NAME REQUEST-MEMBERS: run one operation, show its result; fails without one.
op() {
    printf '{"state":"%s",%s}' "$state" "$2" | "$image" "$1" | grep '^{"result"'
}

mkdir -p "$dir/root/bin" "$dir/root/etc"
echo one >"$dir/root/etc/one"
ln "$dir/root/etc/one" "$dir/root/etc/two"
ln -s one "$dir/root/etc/link"
chmod 4755 "$dir/root/bin"
tar -C "$dir/root" -cf "$dir/root.tar" .

for z in gzip xz zstd bzip2; do
    $z -kc "$dir/root.tar" >"$dir/root.tar.$z"
    op import "\"path\":\"$dir/root.tar.$z\",\"name\":\"made:$z\""
    op unpack "\"name\":\"made:$z\""
done
op import "\"path\":\"$dir/root\",\"name\":\"made:dir\""
op import "\"path\":\"$dir/root.tar\",\"name\":\"made:plain\""

# All but the directory are one plain tar: one unpacked layer.
test "$(ls "$state/layers" | wc -l)" = 1
diff -r --no-dereference "$dir/root" "$state"/layers/*/fs

op export "\"name\":\"made:gzip\",\"format\":\"oci\",\"path\":\"$dir/oci\""
op export "\"name\":\"made:gzip\",\"format\":\"oci-archive\",\"path\":\"$dir/oci.tar\""
op export "\"name\":\"made:zstd\",\"format\":\"docker-archive\",\"path\":\"$dir/docker.tar\""
op export "\"name\":\"made:zstd\",\"format\":\"rootfs\",\"path\":\"$dir/rootfs.tar\""

skopeo --insecure-policy copy -q "oci:$dir/oci:gzip" "docker-archive:$dir/s-docker.tar:theirs:1"
skopeo --insecure-policy copy -q "oci-archive:$dir/oci.tar" "oci:$dir/s-oci:theirs:2"
skopeo --insecure-policy copy -q "docker-archive:$dir/docker.tar" "oci-archive:$dir/s-oci.tar:theirs:3"
skopeo --insecure-policy copy -q "oci:$state/images:made:zstd" "dir:$dir/s-dir"
umoci unpack --image "$dir/oci:gzip" "$dir/bundle" >/dev/null 2>&1 ||
    umoci unpack --rootless --image "$dir/oci:gzip" "$dir/bundle" >/dev/null 2>&1
diff -r --no-dereference "$dir/root" "$dir/bundle/rootfs"
mkdir "$dir/out"
tar -C "$dir/out" -xf "$dir/rootfs.tar"
diff -r --no-dereference "$dir/root" "$dir/out"

op import "\"path\":\"$dir/s-docker.tar\"" | grep theirs:1
op import "\"path\":\"$dir/s-oci\"" | grep theirs:2
op import "\"path\":\"$dir/s-oci.tar\"" | grep theirs:3
for n in 1 2 3; do
    op import "\"path\":\"$dir/s-oci\",\"name\":\"again:$n\""
    op unpack "\"name\":\"again:$n\""
done
umoci config --config.cmd /bin/true --image "$dir/oci:gzip" --tag changed
op import "\"path\":\"$dir/oci\",\"name\":\"x\"" && exit 1 # two images, one name
op verify '"x":1' | grep '"faults":\[\]'

# What fails leaves no blob behind.
before=$(ls "$state/images/blobs/sha256" | wc -l)
head -c 3000 "$dir/docker.tar" >"$dir/cut.tar"
op import "\"path\":\"$dir/cut.tar\"" && exit 1
test "$before" = "$(ls "$state/images/blobs/sha256" | wc -l)"
test -z "$(ls -A "$state/images/partial")"
echo ok
