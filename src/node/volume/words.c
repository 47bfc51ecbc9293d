/* words.c - disks in words. */
#include "node/volume/words.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/str.h"
#include "node/volume/arrange.h"

/* How the words of a disk call its layers. */
struct naming {
    const char
        *top;    /* the top, with ".1", ".2" behind for those below; NULL: by their ids */
    bool writes; /* to the top */
};

static void name_layer(const struct chain *c, size_t at, const struct naming *names,
                       char out[96])
{
    if (names->top == NULL) {
        (void)str_print(out, 96, "%s", c->layers[at].id);
    } else {
        (void)str_print(out, 96, at == 0 ? "%s" : "%s.%zu", names->top, at);
    }
}

void words_unlock(struct words *w, int key)
{
    char word[32];

    if (key > 0 && w->key[0] == '\0') {
        (void)words_fd(w, "key", fcntl(key, F_DUPFD_CLOEXEC, 3), word);
        (void)str_print(w->key, sizeof w->key, ",%s", word);
    }
}

const char *words_key(struct words *w, const struct layer *l, int key)
{
    if (!layer_is_encrypted(l)) {
        return "";
    }
    if (key <= 0) {
        return ",locked";
    }
    words_unlock(w, key);
    return w->key;
}

unsigned words_block_size(const json_t *order)
{
    const char *word = volume_text(order, "block_size");

    return strcmp(word, "4096") == 0  ? 4096
           : strcmp(word, "512") == 0 ? VOLUME_SECTOR_BYTES
                                      : 0;
}

int words_want_block(struct words *w, const struct chain *c, const json_t *order,
                     struct err *e)
{
    unsigned want = words_block_size(order);
    uint64_t size = volume_number(c->layers[0].record, "size_bytes");
    uint32_t now = layer_block_bytes(&c->layers[0]);

    if (want == 0 || want == now) {
        return 0;
    }
    if (want < now) {
        return err_set(e, -EINVAL, "it was made with blocks of %u bytes", now);
    }
    for (size_t i = 0; i < c->count; i++) {
        if (!layer_is_one_file(&c->layers[i]) || !layer_has_file(&c->layers[i])) {
            return err_set(e, -EOPNOTSUPP,
                           "it lies on devices or several members of its pool, with "
                           "blocks of %u bytes",
                           now);
        }
    }
    if (size % want != 0) {
        return err_set(e, -EINVAL, "its size is no multiple of %u bytes", want);
    }
    w->block = want;
    return 0;
}

/* One layer over the one below it; `at` 0 is the top. */
static int add_layer(struct node *n, const struct chain *c, size_t at,
                     const struct naming *names, struct words *w, struct err *e)
{
    const struct layer *l = &c->layers[at];
    bool writes = names->writes && at == 0;
    const char *how = writes ? "" : ",read-only";
    char below[96] = "";
    char own[96];
    char bytes[112];
    const struct arrange_name as = {.name = bytes, .writes = writes};
    int r;

    name_layer(c, at, names, own);
    (void)str_print(bytes, sizeof bytes, "%s.file", own);
    r = arrange_words(n, l, &as, w, e);
    if (r < 0) {
        return r;
    }
    if (at + 1 < c->count) {
        name_layer(c, at + 1, names, below);
    }
    words_add(w, "node=%s,%s,file=%s.file%s%s%s%s", own, volume_text(l->record, "format"),
              own, below[0] != '\0' ? ",backing=" : "", below, how,
              words_key(w, l, c->key));
    return 0;
}

int words_chain(struct node *n, const struct chain *c, const char *name, bool writes,
                struct words *w, struct err *e)
{
    const struct naming names = {.top = name, .writes = writes};
    int r = 0;

    for (size_t at = c->count; r == 0 && at > 0; at--) {
        r = add_layer(n, c, at - 1, &names, w, e);
    }
    return r;
}
