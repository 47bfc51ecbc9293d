/* change_fuzz.c - any line is an instruction that leaves a configuration valid, or an
 * error with a text. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "resource/image/build/build.h"
#include "tests/fuzz/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SCOPED(scope_json) json_t *config = json_pack("{s:{s:[s]}}", "config", "Env", "A=1");
    SCOPED(scope_json) json_t *list = json_array();
    SCOPED(scope_free) char *text = NULL;
    struct err e = {0};

    if (json_array_append_new(list, json_stringn((const char *)data, size)) < 0) {
        return 0; /* not UTF-8: no such request can come */
    }
    if (build_change(config, list, &e) < 0) {
        assert(e.code < 0 && e.text[0] != '\0');
    }
    text = json_dumps(config, JSON_COMPACT);
    assert(text != NULL);
    return 0;
}
