/* cmd_host.c - this host and this program. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/fault.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/cmd.h"
#include "cli/help.h"
#include "cli/parse.h"

#define STATE_SCHEMA 1 /* version of the records in the store */

/* argv[0] is "oci", as the program itself passes it. */
int cmd_oci(struct cli *c, const struct op_oci *a)
{
    struct err e = {0};
    char **argv = fault_calloc(a->n_argument + 2, sizeof *argv);
    if (argv == NULL) {
        (void)err_set(&e, -ENOMEM, "out of memory");
        return cli_fail(c, &e);
    }
    char name[] = "oci";
    argv[0] = name;
    for (size_t i = 0; i < a->n_argument; i++) {
        argv[i + 1] = (char *)(uintptr_t)a->argument[i]; /* words of our own main */
    }
    int code = node_oci((int)a->n_argument + 1, argv);
    free(argv);
    return code;
}

int cmd_host_info(struct cli *c, const struct op_host_info *a)
{
    struct err e = {0};
    json_t *info = NULL;
    struct node *n = cli_node(c, &e);
    (void)a;
    int r = n == NULL ? -1 : node_host_info(n, &info, &e);
    return cli_finish(c, r, info, &e);
}

int cmd_host_syscalls(struct cli *c, const struct op_host_syscalls *a)
{
    struct err e = {0};
    json_t *calls = NULL;
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : node_syscalls(n, a->guest, &calls, &e);
    return cli_finish(c, r, calls, &e);
}

int cmd_levels(struct cli *c, const struct op_levels *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    json_t *levels = NULL;
    size_t i;
    json_t *one;
    bool wrong = false;
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : cli_order(c, a, false, &order, &e);
    r = r < 0 ? r : node_levels(n, order, &levels, &e);
    json_array_foreach(levels, i, one)
    {
        const char *result = json_string_value(json_object_get(one, "result"));
        wrong = wrong || (result != NULL && str_starts(result, "wrong"));
    }
    int code = cli_finish(c, r, levels, &e);
    return code == 0 && wrong ? CLI_FAILED : code;
}

/* A host is examined also where no state can be kept, which is a finding like others. */
static void add_lost_state(json_t *findings, const struct err *e)
{
    (void)json_array_append_new(
        findings,
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "check", "state directory", "key",
                  "host.state", "result", "missing", "why", e->text, "remedy",
                  "name one that can be written: --state DIR", "level", "host"));
}

int cmd_doctor(struct cli *c, const struct op_doctor *a)
{
    struct err e = {0};
    struct err lost = {0};
    json_t *findings = NULL;
    size_t i;
    json_t *one;
    bool missing = false;
    struct node *n = cli_node(c, &lost);
    (void)a;
    if (n != NULL && node_need_places(n, &lost) < 0) {
        n = NULL;
    }
    int r = node_doctor(n, &findings, &e);
    if (n == NULL) {
        add_lost_state(findings, &lost);
    }
    json_array_foreach(findings, i, one)
    {
        const char *result = json_string_value(json_object_get(one, "result"));
        missing = missing || (result != NULL && strcmp(result, "missing") == 0);
    }
    int code = cli_finish(c, r, findings, &e);
    return code == 0 && missing ? CLI_DOCTOR_FINDS : code;
}

int cmd_version(struct cli *c, const struct op_version *a)
{
    struct err e = {0};
    struct utsname host;
    (void)a;
    (void)uname(&host);
    return cli_finish(c, 0,
                      json_pack("{s:s, s:i, s:s}", "version", STRATA_VERSION, "schema",
                                STATE_SCHEMA, "arch", host.machine),
                      &e);
}

int cmd_completion(struct cli *c, const struct op_completion *a)
{
    static const char *const shells[] = {
        [OP_COMPLETION_SHELL_BASH] = "bash",
        [OP_COMPLETION_SHELL_ZSH] = "zsh",
        [OP_COMPLETION_SHELL_FISH] = "fish",
    };
    (void)fputs(wire_completion(shells[a->shell]), c->output.out);
    return 0;
}

int cmd_help(struct cli *c, const struct op_help *a)
{
    if (a->n_command == 0) {
        help_program(c->output.out);
        return 0;
    }
    const char *second = a->n_command > 1 ? a->command[1] : NULL;
    enum wire_op_id op = parse_find_op(a->command[0], second);
    if (op < WIRE_OP_COUNT) {
        help_op(c->output.out, op);
        return 0;
    }
    if (second == NULL && parse_is_noun(a->command[0])) {
        help_noun(c->output.out, a->command[0]);
        return 0;
    }
    struct str hint = {0};
    struct err e = {0};
    parse_hint_command(a->command[0], second, &hint);
    (void)err_set(&e, -EINVAL, "cannot explain '%s%s%s'%s%s", a->command[0],
                  second != NULL ? " " : "", second != NULL ? second : "",
                  hint.len > 0 ? ": " : ": there is no such command", str_text(&hint));
    str_fini(&hint);
    (void)cli_fail(c, &e);
    return CLI_USAGE;
}

static void print_unit(FILE *out, const char *program)
{
    (void)fprintf(out,
                  "[Unit]\n"
                  "Description=Guests of Strata that come back after a reboot\n"
                  "After=network.target local-fs.target\n\n"
                  "[Service]\n"
                  "Type=oneshot\n"
                  "RemainAfterExit=yes\n"
                  "KillMode=process\n"
                  "ExecStart=%s system autostart\n\n"
                  "[Install]\n"
                  "WantedBy=multi-user.target\n",
                  program);
}

int cmd_system_autostart(struct cli *c, const struct op_system_autostart *a)
{
    struct err e = {0};
    json_t *started = NULL;
    if (a->unit) {
        print_unit(c->output.out, c->options.program);
        return 0;
    }
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : node_autostart(n, &started, &e);
    return cli_finish(c, r, started, &e);
}

int cmd_system_reconcile(struct cli *c, const struct op_system_reconcile *a)
{
    struct err e = {0};
    json_t *mended = NULL;
    struct node *n = cli_node(c, &e);
    (void)a;
    int r = n == NULL ? -1 : node_reconcile(n, &mended, &e);
    return cli_finish(c, r, mended, &e);
}
