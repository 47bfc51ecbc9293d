/* busybox.c - the smallest image with a shell: one static binary and its links.
 *
 * The program itself lists its applets with their places.  Everything has the
 * time of the binary, so the same package gives the same image. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/units.h"
#include "host/file.h"
#include "resource/image/build/made.h"
#include "resource/image/store.h"

#define BUSYBOX        "/bin/busybox"
#define LIST_BYTES_MAX 65536

extern char **environ;

/* What `path --list-full` prints: "bin/ash\nsbin/ip\n...". */
static int list_applets(const char *path, char *out, size_t size, struct err *e)
{
    SCOPED(scope_free) char *program = strdup(path);
    SCOPED(scope_free) char *option = strdup("--list-full");
    char *argv[] = {program, option, NULL};
    posix_spawn_file_actions_t fa;
    int ends[2] = {-1, -1};
    int status = 0, r;
    ssize_t n = 0;
    pid_t pid;

    if (program == NULL || option == NULL || pipe2(ends, O_CLOEXEC) < 0 ||
        posix_spawn_file_actions_init(&fa) != 0) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    r = -posix_spawn_file_actions_adddup2(&fa, ends[1], 1);
    r = r < 0 ? r : -posix_spawn(&pid, path, &fa, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&fa);
    (void)close(ends[1]);
    if (r == 0) {
        n = file_read_all(ends[0], out, size - 1);
        (void)waitpid(pid, &status, 0);
    }
    (void)close(ends[0]);
    if (r < 0 || n <= 0 || status != 0) {
        return err_set(e, r < 0 ? r : -EINVAL, "'%s' does not list its applets", path);
    }
    out[n] = '\0';
    return 0;
}

struct place {
    const char *path;
    mode_t mode;
    const char *text; /* of a file; NULL: a directory */
};

static const struct place places[] = {
    {"bin", 0755, NULL},
    {"dev", 0755, NULL},
    {"etc", 0755, NULL},
    {"etc/group", 0644,
     "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n"},
    {"etc/passwd", 0644,
     "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
     "www-data:x:33:33:www-data:/var/www:/bin/false\n"
     "nobody:x:65534:65534:nobody:/home:/bin/false\n"},
    {"home", 0755, NULL},
    {"proc", 0755, NULL},
    {"root", 0700, NULL},
    {"run", 0755, NULL},
    {"sbin", 0755, NULL},
    {"sys", 0755, NULL},
    {"tmp", 01777, NULL},
    {"usr", 0755, NULL},
    {"usr/bin", 0755, NULL},
    {"usr/sbin", 0755, NULL},
    {"var", 0755, NULL},
    {"var/spool", 0755, NULL},
    {"var/tmp", 01777, NULL},
    {"var/www", 0755, NULL},
};

static int add_places(struct pack_layer *l, int64_t mtime, struct err *e)
{
    int r = 0;

    for (size_t i = 0; i < sizeof places / sizeof places[0] && r == 0; i++) {
        const struct place *x = &places[i];
        struct pack_entry entry = {.path = x->path,
                                   .type = x->text != NULL ? '-' : 'd',
                                   .mode = x->mode,
                                   .mtime = mtime,
                                   .fd = -1,
                                   .bytes = x->text,
                                   .size = x->text != NULL ? strlen(x->text) : 0};

        r = pack_layer_add(l, &entry, e);
    }
    return r;
}

static bool is_ours(const char *path)
{
    return (str_starts(path, "bin/") || str_starts(path, "sbin/") ||
            str_starts(path, "usr/bin/") || str_starts(path, "usr/sbin/")) &&
           strstr(path, "..") == NULL && strcmp(path, "bin/busybox") != 0;
}

static int add_links(struct pack_layer *l, char *list, int64_t mtime, struct err *e)
{
    char *path;
    int r = 0;

    while (r == 0 && (path = strsep(&list, "\n")) != NULL) {
        struct pack_entry x = {.path = path,
                               .type = 'l',
                               .mode = 0777,
                               .mtime = mtime,
                               .link = "/bin/busybox",
                               .fd = -1};

        r = is_ours(path) ? pack_layer_add(l, &x, e) : 0;
    }
    return r;
}

static int fill(struct pack_layer *l, int fd, const struct stat *st, char *list,
                struct err *e)
{
    struct pack_entry binary = {.path = "bin/busybox",
                                .type = '-',
                                .mode = 0755,
                                .mtime = st->st_mtime,
                                .fd = fd,
                                .size = (uint64_t)st->st_size};
    int r = add_places(l, st->st_mtime, e);

    r = r < 0 ? r : pack_layer_add(l, &binary, e);
    return r < 0 ? r : add_links(l, list, st->st_mtime, e);
}

static int make_layer(const struct pack *p, const char *path, struct image_layer *ret,
                      int64_t *ret_mtime, struct err *e)
{
    SCOPED(scope_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    char list[LIST_BYTES_MAX];
    struct pack_layer *l = NULL;
    struct stat st;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return err_sys(e, -errno,
                       "cannot read '%s' (it comes with the package busybox-static)",
                       path);
    }
    r = list_applets(path, list, sizeof list, e);
    r = r < 0 ? r : pack_layer_begin(p, PACK_GZIP, &l, e);
    if (r < 0) {
        return r;
    }
    r = fill(l, fd, &st, list, e);
    if (r < 0) {
        pack_layer_abort(l);
        return r;
    }
    *ret_mtime = st.st_mtime;
    return pack_layer_commit(l, ret, e);
}

/* Its creation is the binary's time: the same package, the same image. */
static json_t *make_config(int64_t mtime)
{
    json_t *config = made_config("sh");
    char text[UNITS_TEXT_BYTES];

    units_print_time(mtime * 1000000000, text);
    if (config != NULL && json_object_set_new(config, "created", json_string(text)) < 0) {
        json_decref(config);
        return NULL;
    }
    return config;
}

int build_busybox(const struct pack *p, const struct build_base *o,
                  struct image_desc *ret, struct err *e)
{
    SCOPED(scope_json) json_t *config = NULL;
    struct image_layer layer;
    int64_t mtime = 0;
    int r = store_busy_begin(p->store, e);

    if (r < 0) {
        return r;
    }
    r = make_layer(p, o->path != NULL ? o->path : BUSYBOX, &layer, &mtime, e);
    if (r == 0) {
        struct made m = {.labels = o->labels,
                         .name = o->name != NULL ? o->name : "busybox:latest"};

        m.config = config = make_config(mtime);
        r = config == NULL ? err_set(e, -ENOMEM, "out of memory")
                           : made_image(p, &m, &layer, ret, e);
    }
    store_busy_end(p->store);
    return r < 0 ? err_wrap(e, "cannot build the image 'busybox'") : 0;
}
