/* mount_test.c - what each mount option means inside, and outside.
 * rows: OSL-05 OSL-08 OSL-22 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/file.h"
#include "tests/base/check.h"
#include "tests/virt/container/box.h"

static int set_up(void **state)
{
    int r = box_begin(state);
    struct box *b = *state;

    assert_int_equal(mkdir(box_path(b, "data"), 0755), 0);
    box_write(b, "data/file", "from the host\n");
    return r;
}

static int tear_down(void **state)
{
    (void)umount2(box_path(*state, "data/below"), MNT_DETACH);
    return box_end(state);
}

/* The options of the mount on `to`, as the container sees them. */
static const char *options_of(struct box *b, const char *to)
{
    char script[256];

    (void)snprintf(
        script, sizeof script,
        "while read a b c d e f rest; do [ \"$e\" = %s ] && echo \"$f $rest\"; done "
        "< /proc/self/mountinfo; true",
        to);
    box_must(b, box_run(b, script));
    return b->out;
}

static void attributes_of_a_bind_mount_hold(void **state)
{
    static const struct {
        const char *options, *has;
    } rows[] = {{"bind ro", "ro"},
                {"bind nosuid", "nosuid"},
                {"bind nodev", "nodev"},
                {"bind noexec", "noexec"},
                {"bind noatime", "noatime"},
                {"bind nodiratime", "nodiratime"},
                {"bind rro", "ro"},
                {"rbind rnosuid", "nosuid"},
                {"bind nosymfollow", "nosymfollow"},
                {"bind relatime", "relatime"}};
    struct box *b = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *mounts = json_deep_copy(json_object_get(b->config, "mounts"));

        box_mount(b, "/data", "bind", box_path(b, "data"), rows[i].options);
        if (strstr(options_of(b, "/data"), rows[i].has) == NULL) {
            fail_msg("'%s' gives '%s'", rows[i].options, b->out);
        }
        box_set(b, "mounts", mounts);
    }
}

static void a_bind_mount_is_written_through_or_not(void **state)
{
    struct box *b = *state;
    struct stat st;

    box_mount(b, "/rw", "bind", box_path(b, "data"), "bind");
    box_mount(b, "/ro", "bind", box_path(b, "data"), "bind ro");
    box_mount(b, "/etc/one", "bind", box_path(b, "data/file"), "bind ro");
    box_must(b,
             box_run(b, "echo x > /rw/made; echo y > /ro/other; cat /etc/one; exit 0"));
    assert_non_null(strstr(b->out, "Read-only"));
    assert_non_null(strstr(b->out, "from the host"));
    assert_int_equal(stat(box_path(b, "data/made"), &st), 0);
    assert_true(stat(box_path(b, "data/other"), &st) < 0);
}

/* `ro` is of one mount, `rro` of all below it, too. */
static void read_only_below_needs_the_recursive_word(void **state)
{
    struct box *b = *state;
    json_t *mounts;

    assert_int_equal(mkdir(box_path(b, "data/below"), 0755), 0);
    assert_int_equal(mount("tmpfs", box_path(b, "data/below"), "tmpfs", 0, NULL), 0);
    mounts = json_deep_copy(json_object_get(b->config, "mounts"));
    box_mount(b, "/data", "bind", box_path(b, "data"), "rbind ro");
    box_must(b, box_run(b, "echo x > /data/below/a; echo x > /data/b; true"));
    assert_null(strstr(b->out, "below/a"));
    assert_non_null(strstr(b->out, "/data/b"));
    box_set(b, "mounts", mounts);
    box_mount(b, "/data", "bind", box_path(b, "data"), "rbind rro");
    box_must(b, box_run(b, "echo x > /data/below/a; true"));
    assert_non_null(strstr(b->out, "below/a"));
}

static void a_tmpfs_can_begin_with_the_images_content(void **state)
{
    struct box *b = *state;
    struct stat st;

    box_write(b, "rootfs/etc/kept", "of the image\n");
    assert_int_equal(symlink("kept", box_path(b, "rootfs/etc/link")), 0);
    box_mount(b, "/etc", "tmpfs", "tmpfs", "tmpcopyup");
    box_must(b, box_run(b, "cat /etc/kept /etc/link; echo more > /etc/new; "
                           "busybox grep -c ' /etc tmpfs' /proc/mounts"));
    assert_string_equal(b->out, "of the image\nof the image\n1\n");
    assert_true(stat(box_path(b, "rootfs/etc/new"), &st) < 0);
}

static void an_idmapped_mount_shifts_owners(void **state)
{
    struct box *b = *state;
    json_t *map =
        json_pack("[{s:i, s:i, s:i}]", "containerID", 0, "hostID", 5000, "size", 100);
    json_t *m = json_pack("{s:s, s:s, s:s, s:[s], s:O, s:O}", "destination", "/data",
                          "type", "bind", "source", box_path(b, "data"), "options",
                          "bind", "uidMappings", map, "gidMappings", map);
    struct stat st;

    json_decref(map);
    assert_int_equal(stat(box_path(b, "data/file"), &st), 0);
    assert_int_equal(st.st_uid, 0);
    box_add(b, "mounts", m);
    box_must(b, box_run(b, "busybox stat -c %u /data/file"));
    assert_string_equal(b->out, "5000\n");
}

static void mounts_inside_do_not_reach_the_host(void **state)
{
    struct box *b = *state;
    static const char *const sets[] = {"bounding", "effective", "permitted"};
    char *before = NULL;
    char *after = NULL;

    for (size_t i = 0; i < 3; i++) {
        char path[64];

        (void)snprintf(path, sizeof path, "process.capabilities.%s", sets[i]);
        box_add(b, path, json_string("CAP_SYS_ADMIN"));
    }
    assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &before, NULL),
                     0);
    box_mount(b, "/data", "bind", box_path(b, "data"), "rbind rslave");
    box_must(
        b, box_run(b, "busybox mkdir /data/m /tmp/m; busybox mount -t tmpfs t /data/m && "
                      "busybox mount -t tmpfs t /tmp/m && echo done"));
    assert_string_equal(b->out, "done\n");
    assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &after, NULL),
                     0);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void the_root_can_be_read_only(void **state)
{
    struct box *b = *state;

    box_set(b, "root.readonly", json_true());
    box_must(b, box_run(b, "echo x > /x; echo y > /dev/shm-is-not-here; true"));
    assert_non_null(strstr(b->out, "/x: Read-only"));
}

static void hidden_and_protected_paths_are(void **state)
{
    struct box *b = *state;

    assert_int_equal(mkdir(box_path(b, "rootfs/secret"), 0755), 0);
    box_write(b, "rootfs/secret/key", "key\n");
    box_write(b, "rootfs/etc/shadow", "hash\n");
    box_add(b, "linux.maskedPaths", json_string("/secret"));
    box_add(b, "linux.maskedPaths", json_string("/etc/shadow"));
    box_add(b, "linux.maskedPaths", json_string("/not/there"));
    box_add(b, "linux.readonlyPaths", json_string("/etc"));
    box_must(
        b,
        box_run(
            b,
            "ls /secret; cat /etc/shadow; echo x > /etc/y; echo z > /proc/sys/kernel/hostname; "
            "true"));
    assert_null(strstr(b->out, "key"));
    assert_null(strstr(b->out, "hash"));
    assert_non_null(strstr(b->out, "/etc/y: Read-only"));
    assert_non_null(strstr(b->out, "hostname: Read-only"));
}

static void usual_devices_are_there_and_others_are_not(void **state)
{
    struct box *b = *state;

    box_add(b, "linux.devices",
            json_pack("{s:s, s:s, s:i, s:i, s:i, s:i}", "path", "/dev/sub/mine", "type",
                      "c", "major", 1, "minor", 5, "fileMode", 0640, "gid", 9));
    box_add(b, "linux.devices",
            json_pack("{s:s, s:s}", "path", "/dev/pipe", "type", "p"));
    box_set(b, "linux.resources.devices", json_array());
    box_must(
        b,
        box_run(
            b,
            "for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo no $d; "
            "done; busybox stat -c '%F %a %g' /dev/sub/mine; [ -p /dev/pipe ] && echo pipe; "
            "busybox mknod /tmp/disk b 254 0; cat /tmp/disk; "
            "busybox readlink /dev/fd; busybox readlink /dev/ptmx"));
    assert_null(strstr(b->out, "no "));
    assert_non_null(strstr(b->out, "character special file 640 9"));
    assert_non_null(strstr(b->out, "pipe"));
    assert_non_null(strstr(b->out, "not permitted"));
    assert_non_null(strstr(b->out, "/proc/self/fd"));
    assert_non_null(strstr(b->out, "pts/ptmx"));
}

static void settings_of_its_own_namespaces_are_set(void **state)
{
    struct box *b = *state;

    box_set(b, "linux.sysctl",
            json_pack("{s:s, s:s}", "kernel.msgmax", "4096", "net.ipv4.ip_forward", "1"));
    box_must(b, box_run(b, "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward"));
    assert_string_equal(b->out, "4096\n1\n");
}

static void mount_points_are_made_also_behind_links(void **state)
{
    struct box *b = *state;

    assert_int_equal(symlink("/run/deep", box_path(b, "rootfs/var")), 0);
    box_mount(b, "/var/lib/x", "tmpfs", "tmpfs", "");
    box_mount(b, "/a/b/c", "bind", box_path(b, "data/file"), "bind");
    box_must(b, box_run(b, "ls -d /run/deep/lib/x; cat /a/b/c"));
    assert_string_equal(b->out, "/run/deep/lib/x\nfrom the host\n");
}

/* "in out": a tmpfs that the host mounts below the root, a shared mount, is seen inside,
 * and one that is mounted inside is seen by the host; "-": it is not. */
static const char *spread(struct box *b, const char *word)
{
    static char seen[64];
    char command[512];
    const char *root = box_path(b, "rootfs");
    const char *inside = box_path(b, "rootfs/shared");

    (void)mkdir(inside, 0755);
    assert_int_equal(mount(root, root, NULL, MS_BIND, NULL), 0);
    assert_int_equal(mount(NULL, root, NULL, MS_SHARED, NULL), 0);
    box_set(b, "linux.rootfsPropagation", json_string(word));
    box_set(b, "process.capabilities",
            json_pack("{s:[s], s:[s], s:[s]}", "bounding", "CAP_SYS_ADMIN", "effective",
                      "CAP_SYS_ADMIN", "permitted", "CAP_SYS_ADMIN"));
    if (box_create(b, "p", "sleep 1000") != 0) {
        fail_msg("%s", b->e.text);
    }
    (void)snprintf(command, sizeof command, "mount -t tmpfs outside %s && touch %s/seen",
                   inside, inside);
    assert_int_equal(system(command), 0); /* the test is the host here */
    (void)snprintf(seen, sizeof seen, "%s",
                   box_exec(b, "test -e /shared/seen") == 0 ? "in" : "-");
    assert_int_equal(umount2(inside, MNT_DETACH), 0);
    (void)box_exec(b, "/bin/busybox mount -t tmpfs inside /shared; touch /shared/seen");
    (void)snprintf(command, sizeof command,
                   "grep -q ' %s .* tmpfs inside' /proc/self/mountinfo", inside);
    strcat(seen, system(command) == 0 ? " out" : " -");
    (void)umount2(inside, MNT_DETACH);
    (void)umount2(root, MNT_DETACH);
    return seen;
}

static void a_private_root_sees_nothing_and_tells_nothing(void **state)
{
    assert_string_equal(spread(*state, "rprivate"), "- -");
}

static void a_slave_root_sees_later_mounts_of_the_host(void **state)
{
    assert_string_equal(spread(*state, "rslave"), "in -");
}

/* The container's own mounts are shared with namespaces that it makes, not with the
 * host. */
static void a_shared_root_is_shared_inside_alone(void **state)
{
    struct box *b = *state;

    assert_string_equal(spread(b, "rshared"), "- -");
    assert_int_equal(box_exec(b, "grep -q ' / [^ ]* shared:' /proc/self/mountinfo"), 0);
}

/* The same for a bind mount that is "rshared", of a directory that the host shares, in a root
 * with this propagation. */
static const char *spread_below(struct box *b, const char *root)
{
    static char seen[64];
    char command[512];
    const char *data = box_path(b, "data");

    assert_int_equal(mkdir(box_path(b, "rootfs/data"), 0755), 0);
    assert_int_equal(mkdir(box_path(b, "data/host"), 0755), 0);
    assert_int_equal(mkdir(box_path(b, "data/inside"), 0755), 0);
    assert_int_equal(mount(data, data, NULL, MS_BIND, NULL), 0);
    assert_int_equal(mount(NULL, data, NULL, MS_SHARED, NULL), 0);
    box_set(b, "linux.rootfsPropagation", json_string(root));
    box_set(b, "process.capabilities",
            json_pack("{s:[s], s:[s], s:[s]}", "bounding", "CAP_SYS_ADMIN", "effective",
                      "CAP_SYS_ADMIN", "permitted", "CAP_SYS_ADMIN"));
    box_mount(b, "/data", "bind", data, "rbind rshared");
    box_must(b, box_create(b, "spread", "sleep 1000"));
    (void)snprintf(command, sizeof command,
                   "mount -t tmpfs outside %s/host && touch %s/host/seen", data, data);
    assert_int_equal(system(command), 0); /* the test is the host here */
    (void)snprintf(seen, sizeof seen, "%s",
                   box_exec(b, "test -e /data/host/seen") == 0 ? "in" : "-");
    box_must(b, box_exec(b, "/bin/busybox mount -t tmpfs inside /data/inside"));
    (void)snprintf(command, sizeof command,
                   "grep -q ' %s/inside .* tmpfs inside' /proc/self/mountinfo", data);
    strcat(seen, system(command) == 0 ? " out" : " -");
    (void)umount2(box_path(b, "data/inside"), MNT_DETACH);
    (void)umount2(box_path(b, "data/host"), MNT_DETACH);
    (void)umount2(data, MNT_DETACH);
    return seen;
}

static void a_shared_mount_in_a_shared_root_spreads_both_ways(void **state)
{
    assert_string_equal(spread_below(*state, "rshared"), "in out");
}

static void a_shared_mount_in_another_root_is_shared_inside_alone(void **state)
{
    struct box *b = *state;

    assert_string_equal(spread_below(b, "rslave"), "in -");
    assert_int_equal(box_exec(b, "grep -q ' /data [^ ]* shared:' /proc/self/mountinfo"),
                     0);
}

static void nothing_spreads_out_of_a_user_namespace(void **state)
{
    struct box *b = *state;

    box_map(b, 700000);
    assert_string_equal(spread_below(b, "rshared"), "in -");
}

static void an_unbindable_root_sees_nothing_and_cannot_be_bound(void **state)
{
    struct box *b = *state;

    assert_string_equal(spread(b, "unbindable"), "- -");
    assert_int_equal(box_exec(b, "grep -q ' / .* unbindable ' /proc/self/mountinfo"), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(attributes_of_a_bind_mount_hold),
        T(a_bind_mount_is_written_through_or_not),
        T(read_only_below_needs_the_recursive_word),
        T(a_tmpfs_can_begin_with_the_images_content),
        T(an_idmapped_mount_shifts_owners),
        T(mounts_inside_do_not_reach_the_host),
        T(the_root_can_be_read_only),
        T(hidden_and_protected_paths_are),
        T(usual_devices_are_there_and_others_are_not),
        T(settings_of_its_own_namespaces_are_set),
        T(mount_points_are_made_also_behind_links),
        T(a_private_root_sees_nothing_and_tells_nothing),
        T(a_slave_root_sees_later_mounts_of_the_host),
        T(a_shared_root_is_shared_inside_alone),
        T(a_shared_mount_in_a_shared_root_spreads_both_ways),
        T(a_shared_mount_in_another_root_is_shared_inside_alone),
        T(nothing_spreads_out_of_a_user_namespace),
        T(an_unbindable_root_sees_nothing_and_cannot_be_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
