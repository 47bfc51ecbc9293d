/* initrd.c - the first file system of one machine: that of its kernel, which many share, and
 * behind it an archive with what this machine is to run.
 *
 * Linux takes archives that stand behind each other as one (Documentation/driver-api/
 * early-userspace/buffer-format.rst), so nothing has to be packed anew. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/boot/private.h"
#include "node/worker.h"
#include "resource/image/kernel/cpio.h"
#include "virt/agent/frame/frame.h"

#define NAMES_MOST (128 << 10) /* bytes of a file that the agent takes */

/* A NULL-terminated list of borrowed texts. */
static const char **texts_of(const json_t *list)
{
    const char **out = calloc(json_array_size(list) + 1, sizeof *out);
    size_t i;
    json_t *item;

    if (out != NULL) {
        json_array_foreach(list, i, item)
        {
            out[i] = json_string_value(item);
        }
    }
    return out;
}

static uint16_t small(const json_t *command, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(command, key));

    return v > 0 && v < UINT16_MAX ? (uint16_t)v : 0;
}

static int add_command(struct cpio *c, const json_t *command, struct err *e)
{
    SCOPED(scope_free) const char **args = texts_of(json_object_get(command, "args"));
    SCOPED(scope_free) const char **env = texts_of(json_object_get(command, "env"));
    SCOPED(scope_free) uint8_t *bytes = malloc(FRAME_BYTES_MOST);
    const struct frame_exec x = {
        .flags = json_is_true(json_object_get(command, "tty"))     ? FRAME_EXEC_TTY
                 : json_is_true(json_object_get(command, "input")) ? 0
                                                                   : FRAME_EXEC_NO_STDIN,
        .rows = small(command, "rows"),
        .columns = small(command, "columns"),
        .user = json_string_value(json_object_get(command, "user")),
        .workdir = json_string_value(json_object_get(command, "cwd")),
        .argv = args,
        .env = env};
    int n;

    if (args == NULL || env == NULL || bytes == NULL) {
        return err_set(e, -ENOMEM, "cannot write the machine's command: no memory");
    }
    n = frame_put_exec(&x, bytes, FRAME_BYTES_MOST);
    if (n < 0) {
        return err_set(e, n,
                       "the machine's command and its variables are too long: %u bytes "
                       "and %u words at most",
                       FRAME_BYTES_MOST, FRAME_ARGS_MOST);
    }
    cpio_add(c, FRAME_BOOT_COMMAND, S_IFREG | 0400, bytes, (size_t)n);
    return 0;
}

/* For an agent in a guest without cloud-init. */
static void add_seed(struct cpio *c, const json_t *seed)
{
    const char *data = json_string_value(json_object_get(seed, "user_data"));
    SCOPED(str_fini) struct str keys = {0};
    size_t i;
    json_t *key;

    json_array_foreach(json_object_get(seed, "keys"), i, key)
    {
        str_addf(&keys, "%s\n", json_string_value(key));
    }
    if (keys.len > 0) {
        cpio_add(c, FRAME_BOOT_KEYS, S_IFREG | 0400, keys.data, keys.len);
    }
    if (data != NULL) {
        cpio_add(c, FRAME_BOOT_SCRIPT, S_IFREG | 0400, data, strlen(data));
    }
}

static void add_text(struct cpio *c, const char *name, const char *dir, const char *file)
{
    SCOPED(scope_free) char *text = NULL;
    char path[PATH_MAX];
    size_t len = 0;

    (void)str_print(path, sizeof path, "%s/%s", dir, file);
    if (file_read(AT_FDCWD, path, NAMES_MOST, &text, &len) == 0) {
        cpio_add(c, name, S_IFREG | 0400, text, len);
    }
}

/* For an agent in a guest that would not ask. */
static int add_network(struct cpio *c, const json_t *spec, struct err *e)
{
    const json_t *place = json_object_get(spec, "place");
    SCOPED(str_fini) struct str words = {0};
    char dir[PATH_MAX];
    int r = net_tell_machine(spec, &words, e);

    if (r == 0 && words.len > 0) {
        cpio_add(c, FRAME_BOOT_NETWORK, S_IFREG | 0400, words.data, words.len);
    }
    (void)str_print(dir, sizeof dir, "%s/guests/%s",
                    json_string_value(json_object_get(place, "run")),
                    json_string_value(json_object_get(spec, "id")));
    add_text(c, FRAME_BOOT_RESOLV, dir, "resolv.conf");
    add_text(c, FRAME_BOOT_HOSTS, dir, "hosts");
    return r;
}

static void add_mounts(struct cpio *c, const json_t *mounts)
{
    SCOPED(str_fini) struct str lines = {0};
    size_t i;
    json_t *item;

    json_array_foreach(mounts, i, item)
    {
        const char *serial = json_string_value(json_object_get(item, "serial"));

        str_addf(&lines, "%s %s ", serial != NULL ? "disk" : "fs",
                 json_is_true(json_object_get(item, "read_only")) ? "ro" : "rw");
        if (serial != NULL) {
            str_addf(&lines, "%s ", serial);
        }
        str_addf(&lines, "%s\n", json_string_value(json_object_get(item, "path")));
    }
    if (lines.len > 0) {
        cpio_add(c, FRAME_BOOT_MOUNTS, S_IFREG | 0400, lines.data, lines.len);
    }
}

static int copy_file(const char *path, int to, struct err *e)
{
    SCOPED(scope_close) int from = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    ssize_t n = 1;

    if (from < 0 || fstat(from, &st) < 0) {
        return err_sys(e, -errno, "cannot open '%s'", path);
    }
    for (off_t done = 0; done < st.st_size && n > 0; done += n) {
        n = sendfile(to, from, NULL, (size_t)(st.st_size - done));
    }
    return n < 0 ? err_sys(e, -errno, "cannot copy '%s'", path) : 0;
}

int guest_boot_initrd(const json_t *spec, struct err *e)
{
    const json_t *machine = json_object_get(spec, "machine");
    const json_t *command = json_object_get(machine, "command");
    const json_t *seed = json_object_get(machine, "seed");
    const json_t *mounts = json_object_get(machine, "mounts");
    const char *path =
        json_string_value(json_object_get(json_object_get(machine, "boot"), "initrd"));
    bool is_copy = json_is_true(json_object_get(machine, "copy"));
    SCOPED(scope_close) int fd = -1;
    SCOPED(str_fini) struct str more = {0};
    struct cpio c = {.to = &more};
    int r;

    if (command == NULL && seed == NULL && json_array_size(mounts) == 0 && !is_copy) {
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        return fd < 0 ? err_sys(e, -errno, "cannot open '%s'", path) : scope_take_fd(&fd);
    }
    fd = memfd_create("initrd", MFD_CLOEXEC);
    r = fd < 0 ? err_sys(e, -errno, "cannot make a first file system")
               : copy_file(path, fd, e);
    cpio_add(&c, "strata", S_IFDIR | 0755, NULL, 0);
    if (is_copy) {
        cpio_add(&c, FRAME_BOOT_COPY, S_IFREG | 0400, "", 0);
    }
    add_seed(&c, seed);
    add_mounts(&c, mounts);
    r = r < 0 || command == NULL ? r : add_command(&c, command, e);
    r = r < 0 ? r : add_network(&c, spec, e);
    if (r < 0) {
        return r;
    }
    cpio_end(&c);
    if (str_failed(&more) || file_write_all(fd, more.data, more.len) < 0) {
        return err_set(e, -ENOMEM, "cannot make a first file system: no memory");
    }
    return scope_take_fd(&fd);
}
