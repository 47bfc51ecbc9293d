/* cmd_isa.c - the processor in software: each command is an order to the program
 * `isa`, whose answer comes through descriptor 3; what the code prints goes straight
 * to the terminal. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "cli/cmd.h"

#define ANSWER_FD 3

static _Noreturn void become_isa(const char *program, const char *op, const char *request,
                                 int answer)
{
    if (answer == ANSWER_FD || dup2(answer, ANSWER_FD) >= 0) {
        (void)close_range(ANSWER_FD + 1, ~0u, 0);
        (void)execl(program, "isa", op, request, (char *)NULL);
    }
    _exit(127);
}

static int read_answer(int from, json_t **ret)
{
    SCOPED(scope_file) FILE *f = fdopen(from, "r");

    *ret = f != NULL ? json_loadf(f, JSON_REJECT_DUPLICATES, NULL) : NULL;
    return *ret != NULL ? 0 : -EIO;
}

static int use_isa(struct cli *c, const char *op, const char *request, json_t **ret,
                   struct err *e)
{
    char program[PATH_MAX];
    int ends[2], status = 0, r;
    pid_t child;

    if (str_print(program, sizeof program, "%s/isa", c->options.libexec) < 0 ||
        access(program, X_OK) < 0) {
        return err_sys(e, -errno, "cannot use '%s'", program);
    }
    if (pipe(ends) < 0) {
        return err_sys(e, -errno, "cannot make a pipe");
    }
    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        (void)close(ends[0]);
        become_isa(program, op, request, ends[1]);
    }
    (void)close(ends[1]);
    if (child < 0) {
        (void)close(ends[0]);
        return err_sys(e, -errno, "cannot make a process");
    }
    r = read_answer(ends[0], ret);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (r < 0 && WIFSIGNALED(status)) {
        return err_set(e, -EIO, "the program 'isa' was ended by signal %d",
                       WTERMSIG(status));
    }
    return r < 0 ? err_set(e, -EIO, "the program 'isa' gave no answer") : 0;
}

/* The answer's result (a new reference, or NULL) and the exit code that it asks for. */
static int ask(struct cli *c, const char *op, const void *args, json_t **ret_result,
               int *ret_code, struct err *e)
{
    SCOPED(scope_json) json_t *order = NULL;
    SCOPED(scope_json) json_t *answer = NULL;
    SCOPED(scope_free) char *request = NULL;
    const json_t *error;
    const char *text;
    int r = cli_order(c, args, true, &order, e);

    request = r == 0 ? json_dumps(order, JSON_COMPACT) : NULL;
    if (request == NULL) {
        return r < 0 ? r : err_set(e, -ENOMEM, "out of memory");
    }
    r = use_isa(c, op, request, &answer, e);
    if (r < 0) {
        return r;
    }
    error = json_object_get(answer, "error");
    if (error != NULL) {
        text = json_string_value(json_object_get(error, "text"));
        return err_set(e, -EIO, "%s", text != NULL ? text : "for no stated reason");
    }
    *ret_code = (int)json_integer_value(json_object_get(answer, "code"));
    *ret_result = json_incref(json_object_get(answer, "result"));
    return 0;
}

static int finish(struct cli *c, const char *op, const void *args)
{
    struct err e = {0};
    json_t *result = NULL;
    int code = 0;
    int r = ask(c, op, args, &result, &code, &e);
    int printed;

    if (json_is_null(result)) {
        result = NULL; /* json_null() needs no release */
    }
    printed = cli_finish(c, r, result, &e);
    return r == 0 && printed == 0 ? code : printed;
}

int cmd_isa_run(struct cli *c, const struct op_isa_run *a)
{
    return finish(c, "run", a);
}

int cmd_isa_disassemble(struct cli *c, const struct op_isa_disassemble *a)
{
    return finish(c, "disassemble", a);
}

int cmd_isa_coverage(struct cli *c, const struct op_isa_coverage *a)
{
    return finish(c, "coverage", a);
}

/* For people, the verdict is a sentence behind the table. */
static void print_verdict(struct cli *c, const json_t *result)
{
    int critical = (int)json_integer_value(json_object_get(result, "critical"));
    int umip = (int)json_integer_value(json_object_get(result, "critical_umip"));

    (void)fprintf(c->output.out,
                  "%s by traps alone (Popek and Goldberg): of %d instructions, %d are "
                  "sensitive and %d of these do not trap at level 3, %d with CR4.UMIP\n",
                  critical == 0 ? "virtualizable" : "not virtualizable",
                  (int)json_integer_value(json_object_get(result, "rows")),
                  (int)json_integer_value(json_object_get(result, "sensitive")), critical,
                  umip);
}

int cmd_isa_virtualizable(struct cli *c, const struct op_isa_virtualizable *a)
{
    struct err e = {0};
    json_t *result = NULL;
    int code = 0;
    int r = ask(c, "virtualizable", a, &result, &code, &e);

    if (r == 0 && c->output.json) {
        (void)json_dumpf(result, c->output.out, JSON_INDENT(2));
        (void)fputc('\n', c->output.out);
    } else {
        json_t *rows = json_incref(json_object_get(result, "instructions"));

        code = cli_finish(c, r, r < 0 ? NULL : rows, &e);
        if (r == 0) {
            print_verdict(c, result);
        }
    }
    json_decref(result);
    return code;
}

/* For people, the means are a last line of the table. */
static json_t *table_of(json_t *result)
{
    json_t *rows = json_incref(json_object_get(result, "kernels"));
    json_t *mean =
        json_pack("{s:s, s:O, s:O, s:O}", "name", "geometric mean", "vs_native",
                  json_object_get(result, "mean_vs_native"), "vs_qemu",
                  json_object_get(result, "mean_vs_qemu"), "vs_qemu_user",
                  json_object_get(result, "mean_vs_qemu_user"));

    (void)json_array_append_new(rows, mean);
    json_decref(result);
    return rows;
}

int cmd_isa_bench(struct cli *c, const struct op_isa_bench *a)
{
    struct err e = {0};
    json_t *result = NULL;
    int code = 0;
    int r = ask(c, "bench", a, &result, &code, &e);

    if (r < 0 || !c->output.json) {
        return cli_finish(c, r, r < 0 ? NULL : table_of(result), &e);
    }
    (void)json_dumpf(result, c->output.out, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    (void)fputc('\n', c->output.out);
    json_decref(result);
    return 0;
}
