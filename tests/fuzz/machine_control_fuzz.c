/* machine_control_fuzz.c - whatever is said to a machine's worker gets one answer that is a packet
 * itself. */
#include <stdlib.h>

#include "base/err.h"
#include "base/json.h"
#include "tests/fuzz/target.h"
#include "virt/monitor/control/control.h"

/* Says what it was told. */
static int echo(void *who, const struct control_call *c, json_t **ret, struct err *e)
{
    (void)who;
    (void)e;
    *ret = json_pack("{s:O?}", "said", (json_t *)(uintptr_t)c->arg);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct control_words w = {
        .fn = {[FAR_STATE] = echo, [FAR_PAUSE] = echo, [FAR_END] = echo}};
    static uint8_t out[FAR_MOST_BYTES];
    struct far_head h;
    size_t n;

    n = control_answer(&w, data, size, out);
    if (far_head_read(out, n, FAR_KIND_COUNT, &h, NULL) < 0) {
        abort();
    }
    if (n > FAR_HEAD_BYTES) {
        json_t *body = NULL;

        if (json_parse((const char *)out + FAR_HEAD_BYTES, n - FAR_HEAD_BYTES, "answer",
                       &body, NULL) < 0) {
            abort();
        }
        json_decref(body);
    }
    return 0;
}
