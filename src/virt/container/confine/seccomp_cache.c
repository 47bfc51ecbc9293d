/* seccomp_cache.c - compiled filters on disk.
 *
 * The result of compiling a profile is kept in a file whose name is the SHA-256 of
 * everything it depends on: the profile, the version of the compiler, the kernel's
 * release and the machine.  The profile is hashed by walking the
 * parsed object, so that neither its layout as text nor a serialization matters.
 *
 * A filter is a security decision: the directory must be the caller's alone, a
 * file must be a regular one of the caller's with mode 0600 and exactly the size
 * its header says, and its digest must hold.  Anything else counts as missing
 * and is compiled anew.  Files of old kernels are thrown away together once
 * there are more than CACHE_FILES_MOST. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/scope.h"
#include "host/file.h"
#include "virt/container/confine/seccomp_private.h"

#define CACHE_FORMAT     1
#define CACHE_FILES_MOST 64
#define HASH_CHUNK_BYTES 1024

static const char cache_magic[8] = "STRATAsf";

struct cache_head {
    char magic[8];
    uint32_t format;
    uint32_t n;
    uint32_t flags;
    uint32_t notifies;
    uint8_t key[SHA256_BYTES];
    uint8_t sum[SHA256_BYTES]; /* of the head with this field zero, then the code */
};

/* Small pieces are gathered before they are hashed. */
struct gather {
    struct sha256 sha;
    size_t len;
    uint8_t bytes[HASH_CHUNK_BYTES];
};

static void put(struct gather *g, const void *bytes, size_t len)
{
    if (g->len + len > sizeof g->bytes) {
        sha256_add(&g->sha, g->bytes, g->len);
        g->len = 0;
    }
    if (len > sizeof g->bytes) {
        sha256_add(&g->sha, bytes, len);
        return;
    }
    memcpy(g->bytes + g->len, bytes, len);
    g->len += len;
}

/* Kind and length stand before each value, so no two objects read alike. */
static void put_text(struct gather *g, char kind, const char *text, size_t len)
{
    uint32_t head[2] = {(uint32_t)(unsigned char)kind, (uint32_t)len};

    put(g, head, sizeof head);
    put(g, text, len);
}

static void put_json(struct gather *g, const json_t *j)
{
    json_t *all = (json_t *)(uintptr_t)j; /* the iterators of jansson want it so */
    const char *name;
    json_t *item;
    size_t i;
    json_int_t number;

    switch (json_typeof(j)) {
    case JSON_OBJECT:
        put_text(g, '{', "", 0);
        json_object_foreach(all, name, item)
        {
            put_text(g, ':', name, strlen(name));
            put_json(g, item);
        }
        put_text(g, '}', "", 0);
        break;
    case JSON_ARRAY:
        put_text(g, '[', "", 0);
        json_array_foreach(all, i, item)
        {
            put_json(g, item);
        }
        put_text(g, ']', "", 0);
        break;
    case JSON_STRING:
        put_text(g, '"', json_string_value(j), json_string_length(j));
        break;
    case JSON_INTEGER:
        number = json_integer_value(j);
        put_text(g, '0', (const char *)&number, sizeof number);
        break;
    default: /* true, false, null, and reals, which no profile has */
        put_text(g, (char)('a' + json_typeof(j)), "", 0);
    }
}

void seccomp_cache_key(const json_t *profile, uint8_t key[SHA256_BYTES])
{
    unsigned versions[2] = {CACHE_FORMAT, SECCOMP_COMPILER_VERSION};
    struct utsname host;
    struct gather g;

    memset(&host, 0, sizeof host);
    (void)uname(&host);
    sha256_init(&g.sha);
    g.len = 0;
    put(&g, versions, sizeof versions);
    put_text(&g, 'r', host.release, strlen(host.release));
    put_text(&g, 'm', host.machine, strlen(host.machine));
    put_json(&g, profile);
    sha256_add(&g.sha, g.bytes, g.len);
    sha256_end(&g.sha, key);
}

int seccomp_cache_open(const char *dir)
{
    SCOPED(scope_close) int fd = -1;
    struct stat st;

    fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        int r = file_make_dirs(dir, 0700);

        if (r < 0) {
            return r;
        }
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (fd < 0 || fstat(fd, &st) < 0) {
        return -errno;
    }
    if (st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
        return -EPERM;
    }
    return scope_take_fd(&fd);
}

static void sum_of(const struct cache_head *head, const struct sock_filter *insns,
                   uint8_t sum[SHA256_BYTES])
{
    struct cache_head clean = *head;
    struct sha256 s;

    memset(clean.sum, 0, sizeof clean.sum);
    sha256_init(&s);
    sha256_add(&s, &clean, sizeof clean);
    sha256_add(&s, insns, head->n * sizeof *insns);
    sha256_end(&s, sum);
}

static bool head_is_sound(const struct cache_head *h, const uint8_t key[SHA256_BYTES],
                          const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() && (st->st_mode & 077) == 0 &&
           memcmp(h->magic, cache_magic, sizeof h->magic) == 0 &&
           h->format == CACHE_FORMAT && h->n > 0 && h->n <= BPF_MAXINSNS &&
           memcmp(h->key, key, SHA256_BYTES) == 0 &&
           (uint64_t)st->st_size == sizeof *h + h->n * sizeof(struct sock_filter);
}

int seccomp_cache_load(int dir, const uint8_t key[SHA256_BYTES], struct seccomp_filter *f)
{
    SCOPED(scope_free) struct sock_filter *insns = NULL;
    SCOPED(scope_close) int fd = -1;
    struct cache_head h;
    struct stat st;
    uint8_t sum[SHA256_BYTES];
    char name[SHA256_HEX_BYTES];
    size_t len;

    sha256_hex(key, name);
    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return errno == ELOOP ? -EBADMSG : -errno;
    }
    if (fstat(fd, &st) < 0 || file_read_all(fd, &h, sizeof h) != (ssize_t)sizeof h ||
        !head_is_sound(&h, key, &st)) {
        return -EBADMSG;
    }
    len = h.n * sizeof *insns;
    insns = fault_malloc(len);
    if (insns == NULL) {
        return -ENOMEM;
    }
    if (file_read_all(fd, insns, len) != (ssize_t)len) {
        return -EBADMSG;
    }
    sum_of(&h, insns, sum);
    if (memcmp(sum, h.sum, sizeof sum) != 0) {
        return -EBADMSG;
    }
    *f = (struct seccomp_filter){.insns = insns,
                                 .n = h.n,
                                 .flags = h.flags,
                                 .notifies = h.notifies,
                                 .cached = true};
    insns = NULL;
    return 0;
}

static void empty_when_full(int dir)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    SCOPED(scope_dir) DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *entry;
    size_t n = 0;

    while (d != NULL && readdir(d) != NULL) {
        n++;
    }
    if (d == NULL || n <= CACHE_FILES_MOST) {
        return;
    }
    rewinddir(d);
    while ((entry = readdir(d)) != NULL) {
        if (strlen(entry->d_name) == SHA256_HEX_BYTES - 1) {
            (void)unlinkat(dir, entry->d_name, 0);
        }
    }
}

int seccomp_cache_store(int dir, const uint8_t key[SHA256_BYTES],
                        const struct seccomp_filter *f)
{
    SCOPED(scope_free) uint8_t *bytes = NULL;
    size_t len = f->n * sizeof *f->insns;
    struct cache_head h = {
        .format = CACHE_FORMAT, .n = f->n, .flags = f->flags, .notifies = f->notifies};
    char name[SHA256_HEX_BYTES];

    memcpy(h.magic, cache_magic, sizeof h.magic);
    memcpy(h.key, key, sizeof h.key);
    sum_of(&h, f->insns, h.sum);
    bytes = fault_malloc(sizeof h + len);
    if (bytes == NULL) {
        return -ENOMEM;
    }
    memcpy(bytes, &h, sizeof h);
    memcpy(bytes + sizeof h, f->insns, len);
    sha256_hex(key, name);
    empty_when_full(dir);
    return file_replace(dir, name, bytes, sizeof h + len, 0600, false);
}
