/* node/spec/mounts.c - the mounts of a guest: the usual ones, its own files, volumes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/spec/private.h"

#define SHM_BYTES "67108864"

static void add_mount(json_t *mounts, const char *to, const char *type, const char *from,
                      const char *options)
{
    json_t *list = json_array();
    char copy[256];
    char *save = NULL;

    (void)str_print(copy, sizeof copy, "%s", options);
    for (char *w = strtok_r(copy, ",", &save); w != NULL;
         w = strtok_r(NULL, ",", &save)) {
        spec_add_text(list, w);
    }
    (void)json_array_append_new(mounts,
                                json_pack("{s:s, s:s, s:s, s:o}", "destination", to,
                                          "type", type, "source", from, "options", list));
}

static void add_own_files(const struct plan *p, json_t *mounts)
{
    static const char *const files[] = {"hosts", "resolv.conf", "hostname"};
    char from[PATH_MAX];
    char to[64];

    for (size_t i = 0; i < COUNT(files); i++) {
        (void)guest_run_path(p->n, p->g->id, files[i], from);
        (void)str_print(to, sizeof to, "/etc/%s", files[i]);
        add_mount(mounts, to, "bind", from, "bind,ro,nosuid,nodev,noexec");
    }
    if (spec_flag(p->config, "init")) {
        (void)str_print(from, sizeof from, "%s/init", p->n->libexec);
        add_mount(mounts, "/dev/init", "bind", from, "bind,ro,nosuid,nodev");
    }
}

static int read_volume_word(const char *word, struct spec_volume_words *ret)
{
    char *end = NULL;

    if (strcmp(word, "ro") == 0 || strcmp(word, "rw") == 0) {
        ret->read_only = word[1] == 'o';
        return 0;
    }
    if (str_starts(word, "partition=")) {
        unsigned long number = strtoul(word + 10, &end, 10);

        ret->partition = (unsigned)number;
        return word[10] >= '1' && word[10] <= '9' && *end == '\0' && number <= 4096
                   ? 0
                   : -EINVAL;
    }
    return str_starts(word, "key-file=/")
               ? str_print(ret->key_file, sizeof ret->key_file, "%s", word + 9)
               : -EINVAL;
}

int spec_read_volume_words(const char *text, const char *words,
                           struct spec_volume_words *ret, struct err *e)
{
    SCOPED(scope_free) char *copy = strdup(words);
    char *rest = copy;
    char *one;

    if (copy == NULL) {
        return err_set(e, -ENOMEM, "no memory");
    }
    while ((one = strsep(&rest, ",")) != NULL) {
        if (read_volume_word(one, ret) < 0) {
            return err_set(e, -EINVAL,
                           "cannot use --volume '%s': '%s' is neither ro nor rw, nor "
                           "partition=N or key-file=/FILE",
                           text, one);
        }
    }
    return 0;
}

/* One that is a disk is mounted once for the guest, for all places that want it. */
static void add_disk(const struct plan *p, json_t *disk,
                     const struct spec_volume_words *words, char from[PATH_MAX])
{
    const char *name = spec_text(disk, "name", "");
    size_t i;
    json_t *item;

    json_array_foreach(p->disks, i, item)
    {
        if (strcmp(spec_text(item, "name", ""), name) == 0 &&
            json_integer_value(json_object_get(item, "partition")) ==
                (json_int_t)words->partition) {
            break;
        }
    }
    if (i == json_array_size(p->disks)) {
        (void)str_print(from, PATH_MAX, "%s/disks/%s.%zu", p->n->run, p->g->id, i);
        (void)json_object_set_new(disk, "at", json_string(from));
        (void)json_object_set_new(disk, "read_only", json_boolean(words->read_only));
        (void)json_object_set_new(disk, "partition", json_integer(words->partition));
        if (words->key_file[0] != '\0') {
            (void)json_object_set_new(disk, "key_file", json_string(words->key_file));
        }
        (void)json_array_append(p->disks, disk);
        return;
    }
    item = json_array_get(p->disks, i);
    (void)str_print(from, PATH_MAX, "%s", spec_text(item, "at", ""));
    if (!words->read_only) {
        (void)json_object_set_new(item, "read_only", json_false());
    }
}

/* Where a volume's files are. */
static int find_volume(const struct plan *p, const char *name,
                       const struct spec_volume_words *words, char from[PATH_MAX],
                       struct err *e)
{
    SCOPED(scope_json) json_t *disk = NULL;
    int r = volume_plan(p->n, name, &disk, e);

    if (r < 0) {
        return r;
    }
    if (disk != NULL) {
        add_disk(p, disk, words, from);
        return 0;
    }
    if (words->partition != 0 || words->key_file[0] != '\0') {
        return err_set(e, -EINVAL,
                       "cannot use volume '%s': it is a directory, and partition= and "
                       "key-file= are for disks",
                       name);
    }
    return volume_files(p->n, name, from, e);
}

/* NAME|DIR:/PATH[:WORD,...] */
static int add_volume(const struct plan *p, json_t *mounts, const char *text,
                      struct err *e)
{
    char from[PATH_MAX];
    char name[PATH_MAX];
    char options[64];
    const char *colon = strchr(text, ':');
    const char *end = strchr(colon + 1, ':');
    struct spec_volume_words words = {.read_only = false};
    SCOPED(scope_free) char *to = NULL;
    int r = end != NULL ? spec_read_volume_words(text, end + 1, &words, e) : 0;

    if (r < 0) {
        return r;
    }
    to = end != NULL ? strndup(colon + 1, (size_t)(end - colon - 1)) : strdup(colon + 1);
    (void)str_print(name, sizeof name, "%.*s", (int)(colon - text), text);
    if (name[0] != '/' && name[0] != '.') {
        r = find_volume(p, name, &words, from, e);
    } else if (words.partition != 0 || words.key_file[0] != '\0') {
        r = err_set(e, -EINVAL,
                    "cannot use --volume '%s': partition= and key-file= are for disks",
                    text);
    } else if (realpath(name, from) == NULL) {
        r = err_sys(e, -errno, "cannot use volume '%s'", name);
    }
    if (r < 0) {
        return r;
    }
    (void)str_print(options, sizeof options, "rbind,%s,nodev%s",
                    words.read_only ? "rro" : "rw",
                    p->shifted && !p->n->rootless ? ",idmap" : "");
    if (to == NULL) {
        return err_set(e, -ENOMEM, "cannot use volume '%s': no memory", name);
    }
    add_mount(mounts, to, "bind", from, options);
    return 0;
}

/* "/PATH[:OPTION,OPTION...]" */
static void add_tmpfs(json_t *mounts, const char *text)
{
    const char *colon = strchr(text, ':');
    char to[PATH_MAX];
    char options[256];

    (void)str_print(to, sizeof to, "%.*s",
                    colon != NULL ? (int)(colon - text) : PATH_MAX - 1, text);
    (void)str_print(options, sizeof options, "nosuid,nodev,%s",
                    colon != NULL ? colon + 1 : "mode=1777");
    add_mount(mounts, to, "tmpfs", "tmpfs", options);
}

int spec_build_mounts(const struct plan *p, struct err *e)
{
    json_t *mounts = json_array();
    bool all = spec_flag(p->config, "privileged");
    bool own_net = strcmp(spec_text(p->config, "network", ""), "host") != 0;
    size_t i;
    json_t *item;

    (void)json_object_set_new(p->oci, "mounts", mounts);
    add_mount(mounts, "/proc", "proc", "proc", "nosuid,noexec,nodev");
    add_mount(mounts, "/dev", "tmpfs", "tmpfs",
              "nosuid,strictatime,mode=755,size=65536k");
    add_mount(mounts, "/dev/pts", "devpts", "devpts",
              "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5");
    add_mount(mounts, "/dev/shm", "tmpfs", "shm",
              "nosuid,noexec,nodev,mode=1777,size=" SHM_BYTES);
    add_mount(mounts, "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev");
    if (own_net) {
        add_mount(mounts, "/sys", "sysfs", "sysfs",
                  all ? "nosuid,noexec,nodev,rw" : "nosuid,noexec,nodev,ro");
    } else {
        add_mount(mounts, "/sys", "bind", "/sys", "rbind,nosuid,noexec,nodev,rro");
    }
    if (own_net) {
        add_mount(mounts, "/sys/fs/cgroup", "cgroup", "cgroup",
                  all ? "nosuid,noexec,nodev,relatime,rw"
                      : "nosuid,noexec,nodev,relatime,ro");
    }
    add_own_files(p, mounts);
    json_array_foreach(json_object_get(p->config, "tmpfs"), i, item)
    {
        add_tmpfs(mounts, json_string_value(item));
    }
    json_array_foreach(json_object_get(p->config, "volume"), i, item)
    {
        int r = add_volume(p, mounts, json_string_value(item), e);

        if (r < 0) {
            return r;
        }
    }
    return 0;
}
