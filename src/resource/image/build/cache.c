/* cache.c - layers of earlier builds, found again by what they were made from.
 *
 * STATE/build-cache/KEY.json names the layer.  The key is a chain: that of the
 * base image, then each instruction with its variables, the content of what it
 * copies, and each layer that came out: a command that ran anew with another
 * result leads to other keys.  An entry whose blob is gone (pruned) is no entry. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"
#include "resource/image/build/stage.h"
#include "resource/image/store.h"

#define ENTRY_BYTES_MAX 4096

void cache_fold(struct stage *s, const char *what, const void *bytes, size_t len)
{
    struct sha256 sum;
    uint8_t out[SHA256_BYTES];

    sha256_init(&sum);
    sha256_add(&sum, s->key, strlen(s->key) + 1);
    sha256_add(&sum, what, strlen(what) + 1);
    sha256_add(&sum, bytes, len);
    sha256_end(&sum, out);
    sha256_hex(out, s->key);
}

static int print_path(const struct builder *b, const char *name, char out[PATH_MAX])
{
    return str_print(out, PATH_MAX, "%s/build-cache%s%s%s", b->b->pack->store->state,
                     name[0] != '\0' ? "/" : "", name, name[0] != '\0' ? ".json" : "");
}

static int parse(const char *text, size_t len, struct image_layer *ret)
{
    SCOPED(scope_json) json_t *j = NULL;
    const char *diff;
    int r = json_parse(text, len, "cache", &j, NULL);

    r = r < 0 ? r : store_parse_desc(j, "", &ret->blob, NULL);
    r = r < 0 ? r : json_want_str(j, "", "diff_id", &diff, NULL);
    if (r < 0 || !store_is_digest(diff)) {
        return -EINVAL;
    }
    return str_print(ret->diff_id, sizeof ret->diff_id, "%s", diff);
}

int cache_get(const struct builder *b, const struct stage *s, struct image_layer *ret)
{
    SCOPED(scope_free) char *text = NULL;
    char path[PATH_MAX];
    size_t len;
    uint64_t size = 0;

    *ret = (struct image_layer){0};
    if (b->b->no_cache || print_path(b, s->key, path) < 0 ||
        file_read(AT_FDCWD, path, ENTRY_BYTES_MAX, &text, &len) < 0) {
        return 0;
    }
    if (parse(text, len, ret) < 0 ||
        !pack_blob_has(b->b->pack->store, ret->blob.digest, &size) ||
        size != ret->blob.size) {
        (void)unlink(path);
        return 0;
    }
    return 1;
}

int cache_put(const struct builder *b, const struct stage *s,
              const struct image_layer *layer, struct err *e)
{
    SCOPED(scope_json)
    json_t *j = json_pack("{s:s,s:s,s:I,s:s}", "digest", layer->blob.digest, "mediaType",
                          layer->blob.media_type, "size", (json_int_t)layer->blob.size,
                          "diff_id", layer->diff_id);
    SCOPED(scope_free) char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
    char dir[PATH_MAX], path[PATH_MAX];
    int r = text == NULL ? -ENOMEM : print_path(b, "", dir);

    r = r < 0 ? r : print_path(b, s->key, path);
    r = r < 0 ? r : file_make_dirs(dir, 0700);
    r = r < 0 ? r : file_replace(AT_FDCWD, path, text, strlen(text), 0600, false);
    return r < 0 ? err_sys(e, r, "cannot note the layer in the build cache") : 0;
}
