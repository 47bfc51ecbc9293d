/* containerfile_fuzz.c - any bytes are a Containerfile or an error with a text, and
 * each word of one is expanded or refused. */
#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "resource/image/build/containerfile.h"
#include "resource/image/build/ignore.h"
#include "tests/fuzz/target.h"

static const char *lookup(void *arg, const char *name)
{
    (void)arg;
    return name[0] == 'a' ? "value" : name[0] == 'e' ? "" : NULL;
}

static void try_words(const struct containerfile *f, const struct containerfile_item *x)
{
    struct strv words = {0}, pairs = {0};

    if (words_split(x->rest, f->escape, &words, NULL) == 0) {
        for (size_t i = 0; i < words.n; i++) {
            struct str out = {0};
            struct err e = {0};

            if (words_expand(words.items[i], f->escape, lookup, NULL, &out, &e) != 0) {
                assert(e.code < 0 && e.text[0] != '\0');
            }
            str_fini(&out);
        }
    }
    if (words_pairs(x->rest, f->escape, lookup, NULL, &pairs, NULL) == 0) {
        assert(pairs.n % 2 == 0);
    }
    strv_fini(&words);
    strv_fini(&pairs);
}

static void try_ignore(const char *text)
{
    struct ignore g = {0};

    if (ignore_parse(text, &g) == 0) {
        (void)ignore_has(&g, "a/b/c.txt");
    }
    ignore_fini(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct containerfile f;
    struct err e = {0};

    if (containerfile_parse("C", (const char *)data, size, &f, &e) != 0) {
        assert(e.code < 0 && e.text[0] != '\0');
        return 0;
    }
    assert(f.n > 0);
    for (size_t i = 0; i < f.n; i++) {
        assert(f.items[i].rest[0] != '\0' && f.items[i].line > 0);
        try_words(&f, &f.items[i]);
        try_ignore(f.items[i].rest);
        for (size_t k = 0; k < f.items[i].n_docs; k++) {
            struct str out = {0};

            assert(f.items[i].docs[k].text != NULL);
            (void)words_substitute(f.items[i].docs[k].text, f.escape, lookup, NULL, &out,
                                   NULL);
            str_fini(&out);
        }
    }
    containerfile_fini(&f);
    return 0;
}
