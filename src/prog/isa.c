/* prog/isa.c - the program that runs foreign code on the processor in software.
 *
 *     isa OP REQUEST.json 3>ANSWER
 *
 * The request is the second word.  The answer goes to descriptor 3, as one line of
 * JSON: {"result": ..., "code"} or {"error": {"code", "text"}}.  What the code itself
 * prints goes to standard output. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "virt/isa/instrument/instrument.h"

#define ANSWER_FD 3

static int answer(json_t *j)
{
    SCOPED(scope_json) json_t *owned = j;

    return owned != NULL && json_dumpfd(owned, ANSWER_FD, JSON_COMPACT) == 0 ? 0 : -1;
}

static int run(const char *name, const char *text, json_t **ret, int *ret_code,
               struct err *e)
{
    SCOPED(scope_json) json_t *request = NULL;
    const struct instrument *i;
    int r = json_parse(text, strlen(text), "the request", &request, e);

    for (i = instrument_table; r == 0 && i->name != NULL; i++) {
        if (strcmp(i->name, name) == 0) {
            return i->run(request, ret, ret_code, e);
        }
    }
    return r < 0 ? r : err_set(e, -EINVAL, "'%s' is no operation", name);
}

int main(int argc, char **argv)
{
    struct err e = {0};
    json_t *result = NULL;
    int code = 0;

    if (argc != 3) {
        (void)fputs("usage: isa OP REQUEST.json 3>ANSWER\n", stderr);
        return 2;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (run(argv[1], argv[2], &result, &code, &e) < 0) {
        (void)answer(
            json_pack("{s:{s:i, s:s}}", "error", "code", e.code, "text", e.text));
        return 1;
    }
    (void)fflush(stdout);
    return answer(json_pack("{s:o?, s:i}", "result", result, "code", code)) == 0 ? 0 : 1;
}
