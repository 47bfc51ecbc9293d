/* kernel.c - a machine's kernel without its packing, made at the first start and found later. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "node/private.h"
#include "node/worker.h"
#include "resource/image/image.h"
#include "resource/image/kernel/kernel.h"

#define BZIMAGE_MAGIC_AT 0x202 /* Linux Documentation/x86/boot.rst, "header" */

static bool is_bzimage(const char *path)
{
    SCOPED(scope_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char magic[4];

    return fd >= 0 && pread(fd, magic, sizeof magic, BZIMAGE_MAGIC_AT) == sizeof magic &&
           memcmp(magic, "HdrS", sizeof magic) == 0;
}

static int make(struct node *n, const char *path, struct err *e)
{
    char program[PATH_MAX];
    const struct image_tool tool = {.program = program};
    SCOPED(scope_json)
    json_t *request = json_pack("{s:s, s:s}", "state", n->state, "file", path);
    SCOPED(scope_json) json_t *result = NULL;

    (void)str_print(program, sizeof program, "%s/image", n->libexec);
    return request == NULL ? err_set(e, -ENOMEM, "cannot unpack '%s': no memory", path)
                           : image_tool_run(&tool, "kernel", request, &result, e);
}

int worker_unpack_kernel(struct node *n, json_t *spec, struct err *e)
{
    json_t *boot = json_object_get(json_object_get(spec, "machine"), "boot");
    const char *path = json_string_value(json_object_get(boot, "kernel"));
    const struct kernel_order order = {.file = path};
    struct kernel_ready ready = {0};
    int r;

    if (path == NULL || !is_bzimage(path)) {
        return 0;
    }
    r = kernel_find(n->state, &order, &ready);
    if (r == -ENOENT) {
        r = make(n, path, e);
        r = r == 0 ? kernel_find(n->state, &order, &ready) : r;
    }
    if (r == 0) {
        (void)json_object_set_new(boot, "unpacked", json_string(ready.kernel));
    }
    kernel_ready_fini(&ready);
    return r < 0 && r != -ENOENT ? err_sys(e, r, "cannot unpack kernel '%s'", path) : 0;
}
