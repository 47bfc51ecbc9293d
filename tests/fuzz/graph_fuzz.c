/* graph_fuzz.c - any words are disks, or an error with a text. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/graph/graph.h"
#include "tests/fuzz/target.h"

#define WORDS_MOST 12
#define INPUT_MOST 1000
#define DIGITS     7 /* of a number: what is larger takes too much memory */

struct input {
    struct loop *loop;
    char *text;
};

/* Words that lead out of this process are parsed, and not done. */
static bool is_tame(const char *text)
{
    static const char *const wild[] = {
        "path=", "uri=", "url=", "fd=", "key=", "dir=", "chap=", "pool="};
    unsigned digits = 0;

    for (unsigned i = 0; i < sizeof wild / sizeof wild[0]; i++) {
        if (strstr(text, wild[i]) != NULL) {
            return false;
        }
    }
    for (; *text != '\0'; text++) {
        bool is_unit = digits > 0 && strchr("KMGTkmgt", *text) != NULL;

        digits = *text >= '0' && *text <= '9' ? digits + 1 : 0;
        if (digits > DIGITS || is_unit) {
            return false;
        }
    }
    return true;
}

static void use(struct blk *disk)
{
    char block[4096];

    if (disk != NULL && blk_size(disk) >= sizeof block) {
        (void)blk_read(disk, block, sizeof block, 0);
    }
}

static int run(void *arg)
{
    struct input *in = arg;
    bool tame = is_tame(in->text);
    char *rest = in->text;
    struct graph *g = NULL;
    struct err e = {0};
    int r = graph_create(in->loop, &g, &e);

    for (unsigned i = 0; r == 0 && rest != NULL && i < WORDS_MOST; i++) {
        r = graph_plan(g, strsep(&rest, "\n"), &e);
    }
    if (r == 0 && tame) {
        r = graph_make(g, true, &e);
        r = r != 0 ? r : graph_make(g, false, &e);
        use(r == 0 ? graph_top(g, NULL) : NULL);
    }
    if (r != 0 && (e.text[0] == '\0' || e.code >= 0)) {
        abort();
    }
    graph_destroy(g);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.text = NULL};

    if (size > INPUT_MOST || memchr(data, 0, size) != NULL) {
        return 0;
    }
    in.text = calloc(1, size + 1);
    if (in.text == NULL || loop_create(LOOP_DRIVER_CREW, &in.loop, NULL) != 0) {
        abort();
    }
    memcpy(in.text, data, size);
    (void)loop_do(in.loop, run, &in);
    loop_destroy(in.loop);
    free(in.text);
    return 0;
}
