/* json_fuzz.c - any bytes are a JSON object or an error with a text. */
#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "tests/fuzz/target.h"

static void read_all_types(const json_t *j, const char *key)
{
    struct err e = {0};
    const char *text = "";
    uint64_t u = 0;
    int64_t i = 0;
    bool b = false;
    json_t *sub = NULL;
    int failed = 0;

    failed += json_opt_str(j, "root", key, &text, &e) != 0;
    failed += json_opt_i64(j, "root", key, &i, &e) != 0;
    failed += json_opt_u64(j, "root", key, &u, &e) != 0;
    failed += json_opt_bool(j, "root", key, &b, &e) != 0;
    failed += json_opt_object(j, "root", key, &sub, &e) != 0;
    failed += json_opt_array(j, "root", key, &sub, &e) != 0;
    /* No member has more than one type; an integer is read twice. */
    assert(failed == 0 || failed >= 4);
    assert((failed == 0) == (e.code == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SCOPED(scope_json) json_t *j = NULL;
    struct err e = {0};
    const char *key;
    json_t *value;

    if (json_parse((const char *)data, size, "input", &j, &e) != 0) {
        assert(e.code < 0 && e.text[0] != '\0' && j == NULL);
        return 0;
    }
    json_object_foreach(j, key, value)
    {
        read_all_types(j, key);
    }
    return 0;
}
