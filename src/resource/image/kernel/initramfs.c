/* initramfs.c - an agent, its modules, and a list of them. */
#include "resource/image/kernel/initramfs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/kernel/cpio.h"
#include "resource/image/kernel/modules.h"

#define AGENT_BYTES_MOST (64u << 20)
#define CONSOLE_MAJOR    5 /* Linux, Documentation/admin-guide/devices.txt */
#define CONSOLE_MINOR    1

enum stage {
    STAGE_ROOT,
    STAGE_NETWORK,
    STAGE_FILES,
    STAGE_LATER,
    STAGE_COUNT
};

/* As the agent knows them. */
static const char *const stage_names[STAGE_COUNT] = {"root", "network", "files", "later"};

static const struct wanted {
    const char *name;
    enum stage stage;
} wanted[] = {

#define MODULE(name, stage, why) {name, STAGE_##stage},
#include "resource/image/kernel/wanted.rows.h"
#undef MODULE
};

/* One module and what it needs; nothing where something of that is not there. */
static int order_one(const struct modules *m, const char *name, struct strv *order,
                     struct err *e)
{
    size_t before = order->n;
    struct err mine = {0};
    int r = modules_has(m, name) ? modules_close_over(m, name, order, &mine) : 0;

    if (r == -ENOENT) {
        while (order->n > before) {
            free(order->items[--order->n]);
            order->items[order->n] = NULL;
        }
        return 0;
    }
    return r < 0 ? err_set(e, r, "%s", mine.text) : 0;
}

/* Names in order; those of a stage end before `ends` of it. */
static int order_modules(const struct modules *m, struct strv *order,
                         size_t ends[STAGE_COUNT], struct err *e)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof wanted / sizeof wanted[0]; i++) {
        r = order_one(m, wanted[i].name, order, e);
        for (int s = (int)wanted[i].stage; s < STAGE_COUNT; s++) {
            ends[s] = order->n;
        }
    }
    return r;
}

static int add_modules(struct cpio *c, const struct modules *m, struct err *e)
{
    SCOPED(strv_fini) struct strv order = {0};
    SCOPED(str_fini) struct str list = {0};
    size_t ends[STAGE_COUNT] = {0};
    int stage = STAGE_ROOT;
    int r = order_modules(m, &order, ends, e);

    for (size_t i = 0; r == 0 && i < order.n; i++) {
        SCOPED(scope_free) uint8_t *file = NULL;
        char name[256];
        size_t bytes = 0;

        r = str_print(name, sizeof name, "strata/%s.ko", order.items[i]);
        r = r < 0 ? r : modules_read(m, order.items[i], &file, &bytes, e);
        if (r == 0) {
            cpio_add(c, name, S_IFREG | 0644, file, bytes);
            while (i >= ends[stage]) {
                stage++;
            }
            str_addf(&list, "%s %s\n", stage_names[stage], order.items[i]);
        }
    }
    if (r == 0) {
        cpio_add(c, "strata/modules", S_IFREG | 0644, str_text(&list), list.len);
    }
    return r < 0 || !str_failed(&list) ? r : err_set(e, -ENOMEM, "out of memory");
}

static int add_agent(struct cpio *c, int fd, struct err *e)
{
    SCOPED(scope_free) uint8_t *bytes = NULL;
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > AGENT_BYTES_MOST) {
        return err_set(e, -EINVAL, "the agent is no program");
    }
    bytes = fault_malloc((size_t)st.st_size);
    if (bytes == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    n = file_read_all(fd, bytes, (size_t)st.st_size);
    if (n != st.st_size) {
        return err_set(e, n < 0 ? (int)n : -EIO, "cannot read the agent");
    }
    cpio_add(c, "init", S_IFREG | 0755, bytes, (size_t)n);
    return 0;
}

int initramfs_compose(int agent, struct tree *tree, const char *dir, struct str *ret,
                      struct err *e)
{
    static const char *const places[] = {"dev", "proc", "root", "run", "strata", "sys"};
    struct cpio c = {.to = ret};
    struct modules *m = NULL;
    int r = tree != NULL ? modules_open(tree, dir, &m, e) : 0;

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        cpio_add(&c, places[i], S_IFDIR | 0755, NULL, 0);
    }
    cpio_add_device(&c, "dev/console", S_IFCHR | 0600, CONSOLE_MAJOR, CONSOLE_MINOR);
    r = r < 0 ? r : add_agent(&c, agent, e);
    if (r == 0 && m != NULL) {
        r = add_modules(&c, m, e);
    }
    cpio_end(&c);
    modules_close(m);
    return r < 0 || !str_failed(ret) ? r : err_set(e, -ENOMEM, "out of memory");
}
