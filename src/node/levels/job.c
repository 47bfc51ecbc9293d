/* job.c - the job's program where each level can start it.
 *
 * One file, three ways in: the path itself, the root file system of an image with nothing
 * else, and the first file system of a machine, where it is /init.  All lie in one directory
 * beside what runs, which goes when the command ends. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scope.h"
#include "base/str.h"
#include "host/file.h"
#include "node/boot.h"
#include "node/levels/private.h"
#include "resource/image/kernel/cpio.h"

#define KERNEL_IMAGE  "debian" /* whose kernel machines boot when none is named */
#define PROGRAM_MOST  (64 << 20)
#define CONSOLE_MAJOR 5 /* Linux, Documentation/admin-guide/devices.txt */
#define CONSOLE_MINOR 1

static int write_initrd(const struct levels_job *j, const void *program, size_t len,
                        struct err *e)
{
    SCOPED(str_fini) struct str bytes = {0};
    struct cpio c = {.to = &bytes};
    int r;

    cpio_add(&c, "dev", S_IFDIR | 0755, NULL, 0);
    cpio_add_device(&c, "dev/console", S_IFCHR | 0600, CONSOLE_MAJOR, CONSOLE_MINOR);
    cpio_add(&c, "init", S_IFREG | 0755, program, len);
    cpio_end(&c);
    r = str_failed(&bytes)
            ? -ENOMEM
            : file_replace(AT_FDCWD, j->initrd, bytes.data, bytes.len, 0644, false);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", j->initrd) : 0;
}

static int write_files(const struct levels_job *j, struct err *e)
{
    SCOPED(scope_free) char *program = NULL;
    char path[PATH_MAX];
    size_t len = 0;
    int r = file_read(AT_FDCWD, j->program, PROGRAM_MOST, &program, &len);

    if (r < 0) {
        return err_sys(e, r, "cannot read '%s'", j->program);
    }
    r = write_initrd(j, program, len, e);
    if (r < 0) {
        return r;
    }
    (void)str_print(path, sizeof path, "%s/root", j->directory);
    if (mkdir(path, 0755) < 0) {
        return err_sys(e, -errno, "cannot make '%s'", path);
    }
    (void)str_print(path, sizeof path, "%s/root/job", j->directory);
    r = file_replace(AT_FDCWD, path, program, len, 0755, false);
    return r < 0 ? err_sys(e, r, "cannot write '%s'", path) : 0;
}

int levels_prepare(struct node *n, const char *kernel, uint64_t units,
                   struct levels_job *ret, struct err *e)
{
    struct levels_job *j = ret;
    char path[PATH_MAX];
    int r = node_need_places(n, e);

    memset(j, 0, sizeof *j);
    if (r < 0) {
        return r;
    }
    j->units = units;
    (void)str_print(path, sizeof path, "%s/levels-XXXXXX", n->run);
    if (mkdtemp(path) == NULL) {
        return err_sys(e, -errno, "cannot make a directory in '%s'", n->run);
    }
    (void)str_print(j->directory, sizeof j->directory, "%s", path);
    (void)str_print(j->program, sizeof j->program, "%s/job", n->libexec);
    r = str_print(j->initrd, sizeof j->initrd, "%s/job.cpio", path);
    r = r < 0 ? err_set(e, r, "the name of '%s' is too long", path) : write_files(j, e);
    if (r == 0 && kernel != NULL) {
        (void)str_print(j->kernel, sizeof j->kernel, "%s", kernel);
    } else if (r == 0 &&
               guest_boot_kernel(n, KERNEL_IMAGE, j->kernel, &j->no_kernel) < 0) {
        j->kernel[0] = '\0';
    }
    return r;
}

int levels_need_image(struct node *n, struct levels_job *j, struct err *e)
{
    SCOPED(scope_json) json_t *order = NULL;
    SCOPED(scope_json) json_t *result = NULL;
    char root[PATH_MAX];
    char name[64];
    int r;

    if (j->image[0] != '\0') {
        return 0;
    }
    (void)str_print(root, sizeof root, "%s/root", j->directory);
    (void)str_print(name, sizeof name, "localhost/levels-job:%d", (int)getpid());
    order = json_pack("{s:s, s:s, s:s}", "source", root, "format", "dir", "image", name);
    r = node_image(n, "import", order, &result, e);
    if (r == 0) {
        (void)str_print(j->image, sizeof j->image, "%s", name);
    }
    return r;
}

void levels_clear(struct node *n, struct levels_job *j)
{
    struct err ignored = {0};

    if (j->image[0] != '\0') {
        SCOPED(scope_json) json_t *order = json_pack("{s:s}", "image", j->image);
        SCOPED(scope_json) json_t *result = NULL;

        (void)node_image(n, "delete", order, &result, &ignored);
    }
    if (j->directory[0] != '\0') {
        (void)file_remove_tree(AT_FDCWD, j->directory);
    }
}
