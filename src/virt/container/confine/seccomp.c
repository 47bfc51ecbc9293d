/* seccomp.c - a compiled filter: made or taken from the cache, loaded, announced. */
#include "virt/container/confine/seccomp.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "virt/container/confine/seccomp_private.h"

#define OCI_VERSION "1.2.0" /* of the container process state object */

/* What to compile: a profile, or the default one for a set of capabilities. */
struct source {
    const json_t *profile; /* NULL: the default */
    uint64_t caps;
};

static int compile(const struct source *from, struct strv *warnings,
                   struct seccomp_filter *f, struct err *e)
{
    SCOPED(scope_json) json_t *made = NULL;

    if (from->profile != NULL) {
        return seccomp_compile_profile(from->profile, warnings, f, e);
    }
    made = seccomp_default_profile(from->caps);
    return made == NULL ? -ENOMEM : seccomp_compile_profile(made, warnings, f, e);
}

static int find_key(const struct source *from, uint8_t key[SHA256_BYTES])
{
    SCOPED(scope_json) json_t *label = NULL;

    if (from->profile == NULL) {
        label = seccomp_default_label(from->caps);
        if (label == NULL) {
            return -ENOMEM;
        }
    }
    seccomp_cache_key(label != NULL ? label : from->profile, key);
    return 0;
}

/* From the cache, else compiled and put there; the cache may fail in any way. */
static int fill(const struct source *from, const char *cache_dir, struct strv *warnings,
                struct seccomp_filter *f, struct err *e)
{
    SCOPED(scope_close) int dir = cache_dir != NULL ? seccomp_cache_open(cache_dir) : -1;
    uint8_t key[SHA256_BYTES];
    bool keep = dir >= 0 && find_key(from, key) == 0;
    int r;

    if (dir < 0 && cache_dir != NULL && warnings != NULL) {
        strv_addf(warnings, "seccomp filters are not kept in '%s': %s", cache_dir,
                  dir == -EPERM ? "others can write to it" : strerror(-dir));
    }
    if (keep && seccomp_cache_load(dir, key, f) == 0) {
        return 0;
    }
    r = compile(from, warnings, f, e);
    if (r == 0 && keep) {
        (void)seccomp_cache_store(dir, key, f);
    }
    return r;
}

static int create(const struct source *from, const char *cache_dir, struct strv *warnings,
                  struct seccomp_filter **ret, struct err *e)
{
    struct seccomp_filter *f = fault_calloc(1, sizeof *f);
    int r = f == NULL ? -ENOMEM : fill(from, cache_dir, warnings, f, e);

    if (r < 0) {
        seccomp_filter_destroy(f);
        return err_sys(e, r,
                       "cannot make the seccomp filter"); /* keeps an earlier text */
    }
    *ret = f;
    return 0;
}

int seccomp_filter_create(const json_t *profile, const char *cache_dir,
                          struct strv *warnings, struct seccomp_filter **ret,
                          struct err *e)
{
    const struct source from = {.profile = profile};

    if (!json_is_object(profile)) {
        return err_set(e, -EINVAL, "'linux.seccomp' is not an object");
    }
    return create(&from, cache_dir, warnings, ret, e);
}

int seccomp_filter_create_default(uint64_t caps, const char *cache_dir,
                                  struct strv *warnings, struct seccomp_filter **ret,
                                  struct err *e)
{
    const struct source from = {.caps = caps};

    return create(&from, cache_dir, warnings, ret, e);
}

void seccomp_filter_destroy(struct seccomp_filter *f)
{
    if (f != NULL) {
        free(f->insns);
        free(f);
    }
}

bool seccomp_filter_was_cached(const struct seccomp_filter *f)
{
    return f->cached;
}

unsigned seccomp_filter_len(const struct seccomp_filter *f)
{
    return f->n;
}

bool seccomp_filter_notifies(const struct seccomp_filter *f)
{
    return f->notifies;
}

int seccomp_filter_load(const struct seccomp_filter *f, int *ret_notify_fd)
{
    struct sock_fprog prog = {.len = (unsigned short)f->n, .filter = f->insns};
    unsigned long flags = f->flags;
    long r;

    if (f->notifies) {
        flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
        if ((flags & SECCOMP_FILTER_FLAG_TSYNC) != 0) {
            flags |= SECCOMP_FILTER_FLAG_TSYNC_ESRCH; /* the result is a descriptor */
        }
    }
    r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
    if (r < 0) {
        return -errno;
    }
    if (!f->notifies && r > 0) {
        return -ESRCH; /* a thread that could not be brought along */
    }
    *ret_notify_fd = f->notifies ? (int)r : -1;
    return 0;
}

static int connect_to(const char *path, struct err *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    SCOPED(scope_close) int fd = -1;

    if (str_print(at.sun_path, sizeof at.sun_path, "%s", path) < 0) {
        return err_set(e, -ENAMETOOLONG,
                       "cannot reach seccomp listener '%s': the path is "
                       "too long",
                       path);
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof at) < 0) {
        return err_sys(e, -errno, "cannot reach seccomp listener '%s'", path);
    }
    return scope_take_fd(&fd);
}

static int send_with_fd(int to, const char *text, int fd)
{
    struct iovec io = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};

    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof fd)];
    } control = {0};
    struct msghdr msg = {.msg_iov = &io,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    ssize_t n;

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    n = sendmsg(to, &msg, MSG_NOSIGNAL);
    if (n < 0) {
        return -errno;
    }
    return (size_t)n == strlen(text) ? 0 : -EIO;
}

int seccomp_filter_send_notify(const json_t *profile, int notify_fd, pid_t pid,
                               const json_t *state, struct err *e)
{
    SCOPED(scope_json) json_t *message = NULL;
    SCOPED(scope_free) char *text = NULL;
    SCOPED(scope_close) int fd = -1;
    const char *path = NULL;
    const char *metadata = "";
    int r = json_want_str(profile, "linux.seccomp", "listenerPath", &path, e);

    r = r == 0 ? json_opt_str(profile, "linux.seccomp", "listenerMetadata", &metadata, e)
               : r;
    if (r < 0) {
        return r;
    }
    message = json_pack("{s:s, s:[s], s:i, s:s, s:O}", "ociVersion", OCI_VERSION, "fds",
                        "seccompFd", "pid", (int)pid, "metadata", metadata, "state",
                        (json_t *)(uintptr_t)state);
    text = message != NULL ? json_dumps(message, JSON_COMPACT) : NULL;
    if (text == NULL) {
        return err_sys(e, -ENOMEM, "cannot describe the container to '%s'", path);
    }
    fd = connect_to(path, e);
    if (fd < 0) {
        return fd;
    }
    r = send_with_fd(fd, text, notify_fd);
    return r < 0 ? err_sys(e, r, "cannot send to seccomp listener '%s'", path) : 0;
}
