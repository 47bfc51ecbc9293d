/* args_fuzz.c - any words are a whole set of arguments or an error with a text. */
#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "cli/parse.h"
#include "tests/fuzz/target.h"

#define WORDS_MOST 64
#define TEXT_MOST  4096

/* The input is words parted by newlines. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT_MOST];
    char name[] = "strata";
    char *argv[WORDS_MOST + 1] = {name};
    int argc = 1;
    struct parse p;
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;

    size = size < sizeof text - 1 ? size : sizeof text - 1;
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *at = text; at != NULL && argc < WORDS_MOST;) {
        argv[argc++] = strsep(&at, "\n");
    }
    if (parse_words(argc, argv, &p, &e) != 0) {
        assert(e.code < 0 && e.text[0] != '\0');
    } else if (p.op < WIRE_OP_COUNT && wire_order(p.op, p.args, &order, &e) != 0) {
        assert(strstr(e.text, "UTF-8") != NULL);
    }
    parse_fini(&p);
    return 0;
}
