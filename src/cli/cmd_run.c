/* cmd_run.c - run, create, start, console, exec: what joins this terminal to a guest. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/cmd.h"
#include "host/file.h"

#define ENV_FILE_MOST (1 << 20) /* bytes */
#define DEFAULT_KEYS  "ctrl-p,ctrl-q"

/* One line of an environment file: K=V, or K to be copied; '#' begins a comment. */
static int add_env_line(json_t *env, const char *line, const char *file, struct err *e)
{
    struct str pair = {0};
    int r = 0;
    if (*line == 0 || *line == '#') {
        return 0;
    }
    if (*line == '=') {
        return err_set(e, -EINVAL, "cannot use environment file '%s': a line has no name",
                       file);
    }
    str_add(&pair, line);
    if (strchr(line, '=') == NULL) {
        const char *value = getenv(line);
        str_addf(&pair, "=%s", value != NULL ? value : "");
        if (value == NULL) {
            str_fini(&pair);
            return 0;
        }
    }
    if (json_array_append_new(env, json_string(str_text(&pair))) < 0) {
        r = err_set(e, -EINVAL, "cannot use environment file '%s': it is not UTF-8",
                    file);
    }
    str_fini(&pair);
    return r;
}

static int add_env_file(json_t *env, const char *file, struct err *e)
{
    SCOPED(scope_free) char *text = NULL;
    size_t len;
    char *save = NULL;
    int r = file_read(AT_FDCWD, file, ENV_FILE_MOST, &text, &len);
    if (r < 0) {
        return err_sys(e, r, "cannot read environment file '%s'", file);
    }
    for (char *line = strtok_r(text, "\r\n", &save); r == 0 && line != NULL;
         line = strtok_r(NULL, "\r\n", &save)) {
        r = add_env_line(env, line, file, e);
    }
    return r;
}

/* The order of a new guest: files of variables come before single variables. */
static int guest_order(struct cli *c, const void *args, const struct part_guest *g,
                       json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *env = json_array();
    int r = cli_order(c, args, true, ret, e);
    for (size_t i = 0; r == 0 && i < g->n_env_file; i++) {
        r = add_env_file(env, g->env_file[i], e);
    }
    if (r == 0 && json_array_size(env) > 0) {
        (void)json_array_extend(env, json_object_get(*ret, "env"));
        (void)json_object_set(*ret, "env", env);
        (void)json_object_del(*ret, "env_file");
    }
    return r;
}

/* A terminal for the guest needs one here, unless nobody sits at it. */
static int check_terminal(bool tty, bool interactive, bool detach, struct err *e)
{
    if (tty && interactive && !detach && !isatty(STDIN_FILENO)) {
        return err_set(
            e, -ENOTTY,
            "cannot use --tty: standard input is not a terminal (leave --tty or "
            "--interactive out)");
    }
    return 0;
}

struct relay {
    struct cli *c;
    const char *guest;
};

/* Pass a signal that would end this command on to the guest. */
static void pass_signal(void *arg, int signal)
{
    const struct relay *r = arg;
    struct err ignored = {0};
    (void)node_guest_kill(r->c->node, r->guest, signal, false, &ignored);
}

/* Whether it is a machine: its serial line is joined byte by byte where there is a terminal. */
static bool is_machine(const json_t *guest)
{
    const char *kind = json_string_value(json_object_get(guest, "kind"));
    return kind != NULL && strcmp(kind, "machine") == 0;
}

/* An image is what a container is made from; what a machine needs, the node says. */
static bool lacks_image(const struct part_guest *g, const char *action)
{
    if (g->image != NULL || g->as != PART_GUEST_AS_CONTAINER) {
        return false;
    }
    (void)fprintf(stderr,
                  "strata: cannot %s: IMAGE is missing (see 'strata %s --help')\n",
                  action, action);
    return true;
}

/* The terminal of this command, as `follow` wants it. */
static struct terminal here(bool raw, bool input)
{
    return (struct terminal){.in = STDIN_FILENO,
                             .out = STDOUT_FILENO,
                             .err = STDERR_FILENO,
                             .raw = raw,
                             .input = input};
}

/* Follow the guest to its end; the exit code of this command, or -errno. */
static int follow(struct relay *relay, int console, struct terminal *t, const char *keys,
                  struct err *e)
{
    int code = 0;
    int r = terminal_parse_keys(keys, t, e);
    t->arg = relay;
    cli_end_progress(relay->c);
    if (r == 0) {
        r = terminal_join_keeper(t, console, &code, e);
    }
    if (r < 0) {
        return r;
    }
    return code == TERMINAL_DETACHED ? 0 : code;
}

int cmd_run(struct cli *c, const struct op_run *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    struct node_run_result run = {.console = -1};
    if (lacks_image(&a->guest, "run")) {
        return CLI_USAGE;
    }
    struct node *n = cli_node(c, &e);
    if (n == NULL ||
        check_terminal(a->guest.tty, a->guest.interactive, a->detach, &e) < 0 ||
        guest_order(c, a, &a->guest, &order, &e) < 0) {
        return cli_fail(c, &e);
    }
    int r = node_run(n, order, &run, &e);
    if (r < 0 || a->detach) {
        return cli_finish(c, r, run.guest, &e);
    }
    const char *id = json_string_value(json_object_get(run.guest, "id"));
    struct relay relay = {c, id};
    bool raw = run.terminal && (isatty(STDIN_FILENO) || !is_machine(run.guest));
    struct terminal t = here(raw, run.interactive);
    t.on_signal = pass_signal;
    int code = follow(&relay, run.console, &t, DEFAULT_KEYS, &e);
    (void)close(run.console);
    r = code < 0 ? code : node_run_end(n, run.guest, &e);
    json_decref(run.guest);
    return r < 0 ? cli_fail(c, &e) : code;
}

int cmd_create(struct cli *c, const struct op_create *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    json_t *guest = NULL;
    if (lacks_image(&a->guest, "create")) {
        return CLI_USAGE;
    }
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : guest_order(c, a, &a->guest, &order, &e);
    if (r == 0) {
        r = node_guest_create(n, order, &guest, &e);
    }
    return cli_finish(c, r, guest, &e);
}

static int start_one(struct node *n, const char *guest, const void *args, struct err *e)
{
    int console = -1;
    return node_guest_start(n, guest, args, &console, e);
}

static bool flag_of(const json_t *guest, const char *key)
{
    const json_t *config = json_object_get(guest, "config");
    return json_is_true(json_object_get(config, key));
}

int cmd_start(struct cli *c, const struct op_start *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *guest = NULL;
    SCOPED(scope_json) json_t *order = NULL;
    SCOPED(scope_close) int console = -1;
    if (cli_order(c, a, false, &order, &e) < 0) {
        return cli_fail(c, &e);
    }
    if (!a->attach && !a->interactive) {
        return cli_each(c, a->guest, a->n_guest, start_one, order);
    }
    (void)json_object_set_new(order, "attach", json_true());
    if (a->n_guest != 1) {
        (void)err_set(&e, -EINVAL, "cannot start with --attach: name one guest");
        (void)cli_fail(c, &e);
        return CLI_USAGE;
    }
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : node_guest_inspect(n, a->guest[0], &guest, &e);
    if (r == 0) {
        r = node_guest_start(n, a->guest[0], order, &console, &e);
    }
    if (r < 0) {
        return cli_fail(c, &e);
    }
    struct relay relay = {c, a->guest[0]};
    bool raw = flag_of(guest, "tty") || (is_machine(guest) && isatty(STDIN_FILENO));
    struct terminal t =
        here(raw, a->interactive || flag_of(guest, "interactive") || is_machine(guest));
    t.on_signal = pass_signal;
    int code = follow(&relay, console, &t, DEFAULT_KEYS, &e);
    r = code < 0 ? code : node_run_end(n, guest, &e);
    return r < 0 ? cli_fail(c, &e) : code;
}

int cmd_console(struct cli *c, const struct op_console *a)
{
    struct err e = {0};
    SCOPED(scope_close) int console = -1;
    bool terminal = false;
    struct terminal keys;
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : terminal_parse_keys(a->detach_keys, &keys, &e);
    r = r < 0 ? r : node_guest_console(n, a->guest, &console, &terminal, &e);
    if (r < 0) {
        return cli_fail(c, &e);
    }
    struct relay relay = {c, a->guest};
    struct terminal t = here(terminal, !a->no_input);
    int code = follow(&relay, console, &t, a->detach_keys, &e);
    return code < 0 ? cli_fail(c, &e) : code;
}

/* Wait for a program of `exec` that has no terminal. */
static void wait_end(int pidfd)
{
    struct pollfd p = {pidfd, POLLIN, 0};
    while (poll(&p, 1, -1) < 0 && errno == EINTR) {
    }
}

int cmd_exec(struct cli *c, const struct op_exec *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    SCOPED(scope_close) int pidfd = -1;
    SCOPED(scope_close) int master = -1;
    struct terminal t = here(true, a->interactive);
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : check_terminal(a->tty, a->interactive, a->detach, &e);
    if (r == 0) {
        r = cli_order(c, a, false, &order, &e);
    }
    if (r == 0) {
        r = node_guest_exec(n, a->guest, order, &pidfd, &master, &e);
    }
    if (r < 0) {
        return cli_fail(c, &e);
    }
    if (a->detach) {
        return 0;
    }
    if (master >= 0) {
        r = terminal_join_pty(&t, master, pidfd, &e);
    }
    wait_end(pidfd);
    return r < 0 ? cli_fail(c, &e) : node_exec_code(pidfd);
}
