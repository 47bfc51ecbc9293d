/* cli.c - the column of calls from words to an exit code. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/cmd.h"
#include "cli/help.h"
#include "cli/parse.h"

struct node *cli_node(struct cli *c, struct err *e)
{
    if (c->node == NULL && node_open(&c->options, &c->node, e) == 0 &&
        isatty(STDERR_FILENO)) {
        node_set_progress(c->node, cli_show_progress, c);
    }
    return c->node;
}

void cli_show_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct cli *c = arg;
    struct str line = {0};
    char text[UNITS_TEXT_BYTES];
    str_addf(&line, "\r\033[K%.48s", what);
    if (total > 0) {
        str_addf(&line, " %3u%%", (unsigned)((double)done * 100 / (double)total));
    } else if (done > 0) {
        units_print_size(done, text);
        str_addf(&line, " %s", text);
    }
    (void)!write(STDERR_FILENO, str_text(&line), line.len);
    c->progress = true;
    str_fini(&line);
}

void cli_end_progress(struct cli *c)
{
    if (c->progress) {
        (void)!write(STDERR_FILENO, "\r\033[K", 4);
        c->progress = false;
    }
}

/* Commands that are no verbs, as a sentence goes on to the guest; NULL: it is a verb. */
static const char *phrase_of(enum wire_op_id op)
{
    switch (op) {
    case WIRE_OP_LOGS:
        return "show the logs of";
    case WIRE_OP_STATS:
        return "show the figures of";
    case WIRE_OP_CONSOLE:
        return "open the console of";
    case WIRE_OP_CP:
        return "copy files of";
    case WIRE_OP_EXEC:
        return "run a program in";
    default:
        return NULL;
    }
}

/* "cannot show the logs of guest 'x': it does not exist". */
static void say_phrase(const char *phrase, const char *text)
{
    const char *name = strncmp(text, "guest '", 7) == 0 ? text + 7 : NULL;
    const char *end = name != NULL ? strstr(name, "' ") : NULL;
    if (end != NULL) {
        (void)fprintf(stderr, "strata: cannot %s guest '%.*s': it %s\n", phrase,
                      (int)(end - name), name, end + 2);
    } else {
        (void)fprintf(stderr, "strata: cannot %s a guest: %s\n", phrase, text);
    }
}

/* "cannot stop guest 'x': ..." as it is; anything else with the command in front. */
static void say(struct cli *c, const char *text)
{
    bool whole = strncmp(text, "cannot ", 7) == 0 || c->op == WIRE_OP_COUNT;
    cli_end_progress(c);
    if (whole) {
        (void)fprintf(stderr, "strata: %s\n", text);
        return;
    }
    if (phrase_of(c->op) != NULL) {
        say_phrase(phrase_of(c->op), text);
        return;
    }
    char action[WIRE_ACTION_BYTES];
    wire_action(c->op, action);
    (void)fprintf(stderr, "strata: cannot %s: %s\n", action, text);
}

/* What the operation was about: the guest, else whatever has a name. */
static const char *object_of(const struct cli *c, const json_t *order)
{
    static const char *const keys[] = {"guest", "name", "image"};
    for (size_t i = 0; c->object == NULL && i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(order, keys[i]);
        v = json_array_size(v) == 1 ? json_array_get(v, 0) : v;
        if (json_is_string(v)) {
            return json_string_value(v);
        }
    }
    return c->object;
}

/* The host realm's log tells of what was refused, too. */
static void audit(struct cli *c, const struct err *e)
{
    SCOPED(scope_json) json_t *order = NULL;
    struct err ignored = {0};
    char action[WIRE_ACTION_BYTES];
    if (c->node == NULL || c->op == WIRE_OP_COUNT) {
        return;
    }
    (void)wire_order(c->op, c->args, &order, &ignored);
    wire_action(c->op, action);
    node_refused(c->node, action, object_of(c, order), e);
}

int cli_fail(struct cli *c, const struct err *e)
{
    say(c, e->text[0] != 0 ? e->text : "for no stated reason");
    audit(c, e);
    bool starts =
        c->op == WIRE_OP_RUN || c->op == WIRE_OP_CREATE || c->op == WIRE_OP_EXEC;
    return starts ? node_start_code(e) : CLI_FAILED;
}

int cli_finish(struct cli *c, int r, json_t *result, const struct err *e)
{
    struct err failed = {0};
    int code = r < 0 ? cli_fail(c, e) : 0;
    cli_end_progress(c);
    if (code == 0 && result != NULL) {
        r = output_result(&c->output, c->op, result);
        if (r < 0) {
            (void)err_sys(&failed, r, "cannot print the result");
            code = cli_fail(c, &failed);
        }
    }
    json_decref(result);
    return code;
}

int cli_each(struct cli *c, const char *const *names, size_t n, cli_each_fn *fn,
             const void *args)
{
    struct err e = {0};
    struct node *node = cli_node(c, &e);
    SCOPED(scope_json) json_t *done = json_array();
    int code = 0;
    if (node == NULL) {
        return cli_fail(c, &e);
    }
    for (size_t i = 0; i < n; i++) {
        err_clear(&e);
        c->object = names[i];
        if (fn(node, names[i], args, &e) < 0) {
            code = cli_fail(c, &e);
            continue;
        }
        (void)json_array_append_new(done, json_pack("{s:s}", "name", names[i]));
    }
    c->object = NULL;
    int printed = cli_finish(c, 0, json_incref(done), &e);
    return code != 0 ? code : printed;
}

int cli_order(struct cli *c, const void *args, bool fresh, json_t **ret, struct err *e)
{
    const char *key;
    json_t *value;
    void *next;
    int r = wire_order(c->op, args, ret, e);
    if (r < 0 || !fresh) {
        return r;
    }
    json_object_foreach_safe(*ret, next, key, value)
    {
        if (json_is_integer(value) && json_integer_value(value) < 0) {
            (void)json_object_del(*ret, key);
        }
    }
    return 0;
}

static void open_output(struct cli *c)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    c->output = (struct output){.out = stdout,
                                .json = c->global.json,
                                .now_ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec};
}

/* --help, --version, and a command that is only a noun or missing; -1: go on. */
static int answer_at_once(const struct parse *p)
{
    if (p->global.version) {
        (void)puts("strata " STRATA_VERSION);
        return 0;
    }
    if (p->op < WIRE_OP_COUNT && !p->global.help) {
        return -1;
    }
    if (p->op < WIRE_OP_COUNT) {
        help_op(stdout, p->op);
        return 0;
    }
    bool asked = p->global.help;
    FILE *out = asked ? stdout : stderr;
    if (p->noun != NULL) {
        help_noun(out, p->noun);
    } else {
        help_program(out);
    }
    return asked ? 0 : CLI_USAGE;
}

static int do_op(struct cli *c, const void *args)
{
    c->args = args;
    int code = table_call(c, args);
    cli_end_progress(c);
    node_close(c->node);
    c->node = NULL;
    if (fflush(stdout) != 0 && code == 0) {
        struct err e = {0};
        (void)err_sys(&e, -errno, "cannot write the output");
        code = cli_fail(c, &e);
    }
    return code;
}

int cli_main(int argc, char **argv, const char *program, const char *libexec)
{
    struct err e = {0};
    struct parse p;
    struct cli c = {.op = WIRE_OP_COUNT};
    int r = parse_words(argc, argv, &p, &e);
    int code = r == 0 ? answer_at_once(&p) : 0;
    if (r < 0) {
        (void)fprintf(stderr, "strata: %s\n", e.text);
        code = r == -ENOMEM ? CLI_FAILED : CLI_USAGE;
    } else if (code < 0) {
        c.op = p.op;
        c.global = p.global;
        c.log = (struct log){.sink = log_to_stderr,
                             .most = p.global.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN};
        c.options = (struct node_options){.state = p.global.state,
                                          .program = program,
                                          .libexec = libexec,
                                          .log = &c.log};
        open_output(&c);
        code = do_op(&c, p.args);
    }
    parse_fini(&p);
    return code;
}
