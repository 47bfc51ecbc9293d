/* blob.c - blobs come in by way of images/partial/, and get their name when their
 * digest is right.
 *
 * A blob of known digest is gathered in partial/HEX, locked (flock) by the
 * command that writes it, so that the next one can go on where a killed one
 * stopped.  When another command holds it, or no digest is known, the bytes go
 * to partial/.RANDOM instead.  After locking, the name is looked at again:
 * between open and lock the former owner may have given the file its final name. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/sha256.h"
#include "base/word.h"
#include "host/file.h"
#include "resource/image/pack/pack_private.h"

#define READ_BYTES  (256u << 10)
#define FLUSH_BYTES (16u << 20) /* written back early, so that the sync is short */

struct pack_blob {
    struct image_store *store; /* borrowed; busy while the blob is open */
    int fd;
    char path[IMAGE_DIGEST_BYTES + 16]; /* below images/ */
    char want[IMAGE_DIGEST_BYTES];      /* "": not known */
    struct sha256 sum;
    uint64_t size, flushed;
};

void pack_print_digest(const uint8_t sum[32], char out[IMAGE_DIGEST_BYTES])
{
    memcpy(out, "sha256:", 7);
    sha256_hex(sum, out + 7);
}

static int open_random(struct pack_blob *b)
{
    char id[17];
    int r = word_random_id(id, 16);

    if (r < 0) {
        return r;
    }
    (void)str_print(b->path, sizeof b->path, "partial/.%s", id);
    b->fd = openat(b->store->images, b->path,
                   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return b->fd < 0 ? -errno : 0;
}

/* 1 when the file is ours; 0 when another command has it. */
static int open_part(struct pack_blob *b)
{
    struct stat mine, named;

    (void)str_print(b->path, sizeof b->path, "partial/%s", b->want + 7);
    b->fd = openat(b->store->images, b->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                   0600);
    if (b->fd < 0) {
        return -errno;
    }
    if (flock(b->fd, LOCK_EX | LOCK_NB) == 0 && fstat(b->fd, &mine) == 0 &&
        fstatat(b->store->images, b->path, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        mine.st_ino == named.st_ino) {
        return 1;
    }
    (void)close(b->fd);
    b->fd = -1;
    return 0;
}

/* Hash what an earlier command left. */
static int hash_part(struct pack_blob *b)
{
    SCOPED(scope_free) uint8_t *buf = fault_malloc(READ_BYTES);
    ssize_t n;

    if (buf == NULL) {
        return -ENOMEM;
    }
    while ((n = file_read_all(b->fd, buf, READ_BYTES)) > 0) {
        sha256_add(&b->sum, buf, (size_t)n);
        b->size += (uint64_t)n;
    }
    return n < 0 ? (int)n : 0;
}

static int open_file(struct pack_blob *b)
{
    int r = b->want[0] != '\0' ? open_part(b) : 0;

    if (r == 0) {
        return open_random(b);
    }
    return r < 0 ? r : hash_part(b);
}

int pack_blob_begin(struct image_store *s, const char *digest, struct pack_blob **ret,
                    struct err *e)
{
    struct pack_blob *b;
    int r;

    if (digest != NULL && !store_is_digest(digest)) {
        return err_set(e, -EINVAL, "'%.80s' is not a SHA-256 digest", digest);
    }
    b = fault_calloc(1, sizeof *b);
    if (b == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    r = store_busy_begin(s, e);
    if (r < 0) {
        free(b);
        return r;
    }
    b->store = s;
    b->fd = -1;
    sha256_init(&b->sum);
    (void)str_print(b->want, sizeof b->want, "%s", digest != NULL ? digest : "");
    r = open_file(b);
    if (r < 0) {
        pack_blob_abort(b, true);
        return err_sys(e, r, "cannot make a file in the image store in '%s'", s->state);
    }
    *ret = b;
    return 0;
}

uint64_t pack_blob_size(const struct pack_blob *b)
{
    return b->size;
}

int pack_blob_write(struct pack_blob *b, const void *bytes, size_t len, struct err *e)
{
    int r = fault_step("image.blob.write");

    r = r < 0 ? r : file_write_all(b->fd, bytes, len);
    if (r < 0) {
        return err_sys(e, r, "cannot write a blob to the image store in '%s'",
                       b->store->state);
    }
    sha256_add(&b->sum, bytes, len);
    b->size += len;
    if (b->size - b->flushed >= FLUSH_BYTES) {
        (void)sync_file_range(b->fd, (off_t)b->flushed, (off_t)(b->size - b->flushed),
                              SYNC_FILE_RANGE_WRITE);
        b->flushed = b->size;
    }
    return 0;
}

int pack_blob_restart(struct pack_blob *b, struct err *e)
{
    if (ftruncate(b->fd, 0) < 0 || lseek(b->fd, 0, SEEK_SET) < 0) {
        return err_sys(e, -errno, "cannot begin a blob anew");
    }
    sha256_init(&b->sum);
    b->size = b->flushed = 0;
    return 0;
}

static void end(struct pack_blob *b, bool unlink_it)
{
    if (unlink_it && b->fd >= 0) {
        (void)unlinkat(b->store->images, b->path, 0);
    }
    scope_close(&b->fd);
    store_busy_end(b->store);
    free(b);
}

static int publish(struct pack_blob *b, const char *digest)
{
    int r = fault_step("image.blob.sync");

    if (r == 0 && (fchmod(b->fd, 0444) < 0 || fdatasync(b->fd) < 0)) {
        r = -errno;
    }
    r = r < 0 ? r : fault_step("image.blob.rename");
    if (r == 0 && renameat(b->store->images, b->path, b->store->blobs, digest + 7) < 0) {
        r = -errno;
    }
    return r;
}

int pack_blob_commit(struct pack_blob *b, char ret_digest[IMAGE_DIGEST_BYTES],
                     uint64_t *ret_size, struct err *e)
{
    char digest[IMAGE_DIGEST_BYTES];
    uint8_t sum[SHA256_BYTES];
    int r;

    sha256_end(&b->sum, sum);
    pack_print_digest(sum, digest);
    if (b->want[0] != '\0' && strcmp(b->want, digest) != 0) {
        r = err_set(e, -EBADMSG, "blob %s has the wrong content: its digest is %s",
                    b->want, digest);
        end(b, true);
        return r;
    }
    if (b->store->added != NULL && !pack_blob_has(b->store, digest, NULL)) {
        strv_add(b->store->added, digest);
    }
    r = publish(b, digest);
    if (r < 0) {
        r = err_sys(e, r, "cannot store blob %s in '%s'", digest, b->store->state);
        end(b, true);
        return r;
    }
    if (ret_digest != NULL) {
        memcpy(ret_digest, digest, sizeof digest);
    }
    if (ret_size != NULL) {
        *ret_size = b->size;
    }
    end(b, false);
    return 0;
}

void pack_blob_abort(struct pack_blob *b, bool keep_part)
{
    if (b != NULL) {
        end(b, !keep_part || b->want[0] == '\0' || str_starts(b->path, "partial/."));
    }
}

bool pack_blob_has(struct image_store *s, const char *digest, uint64_t *ret_size)
{
    struct stat st;

    if (!store_is_digest(digest) ||
        fstatat(s->blobs, digest + 7, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(st.st_mode)) {
        return false;
    }
    if (ret_size != NULL) {
        *ret_size = (uint64_t)st.st_size;
    }
    return true;
}

int pack_blob_open(struct image_store *s, const char *digest, int *ret_fd,
                   uint64_t *ret_size, struct err *e)
{
    struct stat st;
    int fd;

    if (!store_is_digest(digest)) {
        return err_set(e, -EINVAL, "'%.80s' is not a SHA-256 digest", digest);
    }
    fd = openat(s->blobs, digest + 7, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int r = -errno;

        scope_close(&fd);
        return err_sys(e, r, "cannot open blob %s", digest);
    }
    if (ret_size != NULL) {
        *ret_size = (uint64_t)st.st_size;
    }
    *ret_fd = fd;
    return 0;
}

int pack_put_bytes(struct image_store *s, const char *media_type, const void *bytes,
                   size_t len, struct image_desc *ret, struct err *e)
{
    struct image_desc d = {0};
    struct pack_blob *b = NULL;
    int r = pack_blob_begin(s, NULL, &b, e);

    if (r < 0) {
        return r;
    }
    r = pack_blob_write(b, bytes, len, e);
    if (r < 0) {
        pack_blob_abort(b, false);
        return r;
    }
    r = pack_blob_commit(b, d.digest, &d.size, e);
    if (r == 0) {
        (void)str_print(d.media_type, sizeof d.media_type, "%s", media_type);
        *ret = d;
    }
    return r;
}

int pack_put_json(struct image_store *s, const char *media_type, const json_t *j,
                  struct image_desc *ret, struct err *e)
{
    SCOPED(scope_free) char *text = json_dumps(j, JSON_COMPACT);

    if (text == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    return pack_put_bytes(s, media_type, text, strlen(text), ret, e);
}
