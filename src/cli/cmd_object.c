/* cmd_object.c - images, networks and volumes: an order goes down, a result comes up. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "cli/cmd.h"

#define PASSWORD_BYTES 1024

typedef int verb_fn(struct node *n, const char *op, const json_t *order, json_t **ret,
                    struct err *e);

/* "build" of "image build". */
static const char *verb_of(const struct cli *c)
{
    return strchr(wire_text(wire_op_table[c->op].name), ' ') + 1;
}

/* Hand the whole order down, and the password that is no option. */
static int pass_on_as(struct cli *c, verb_fn *fn, const char *verb, const void *args,
                      const char *password)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    json_t *result = NULL;
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : cli_order(c, args, true, &order, &e);
    if (r == 0 && password != NULL) {
        (void)json_object_set_new(order, "password", json_string(password));
    }
    if (r == 0) {
        r = fn(n, verb, order, &result, &e);
    }
    return cli_finish(c, r, result, &e);
}

static int pass_on(struct cli *c, verb_fn *fn, const void *args)
{
    return pass_on_as(c, fn, verb_of(c), args, NULL);
}

/* The same verb for each of several names; the order has the member `key` for one. */
static int pass_each(struct cli *c, verb_fn *fn, const void *args, const char *key,
                     const char *const *names, size_t count)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    json_t *all = json_array();
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : cli_order(c, args, true, &order, &e);
    int code = 0;
    for (size_t i = 0; r == 0 && i < count; i++) {
        json_t *one = NULL;
        err_clear(&e);
        (void)json_object_set_new(order, key, json_string(names[i]));
        if (fn(n, verb_of(c), order, &one, &e) < 0) {
            code = cli_fail(c, &e);
            continue;
        }
        if (one == NULL) {
            one = json_pack("{s:s}", "name", names[i]);
        }
        (void)(json_is_array(one) ? json_array_extend(all, one)
                                  : json_array_append(all, one));
        json_decref(one);
    }
    int printed = cli_finish(c, r, all, &e);
    return code != 0 ? code : printed;
}

int cmd_image_build(struct cli *c, const struct op_image_build *a)
{
    return pass_on(c, node_image, a);
}

int cmd_image_commit(struct cli *c, const struct op_image_commit *a)
{
    return pass_on(c, node_image, a);
}

int cmd_image_import(struct cli *c, const struct op_image_import *a)
{
    return pass_on(c, node_image, a);
}

int cmd_image_export(struct cli *c, const struct op_image_export *a)
{
    return pass_on(c, node_image, a);
}

int cmd_image_pull(struct cli *c, const struct op_image_pull *a)
{
    return pass_on(c, node_image, a);
}

int cmd_image_push(struct cli *c, const struct op_image_push *a)
{
    return pass_on(c, node_image, a);
}

int cmd_image_list(struct cli *c, const struct op_image_list *a)
{
    c->output.quiet = a->quiet;
    return pass_on(c, node_image, a);
}

int cmd_image_inspect(struct cli *c, const struct op_image_inspect *a)
{
    return pass_each(c, node_image, a, "image", a->image, a->n_image);
}

int cmd_image_tag(struct cli *c, const struct op_image_tag *a)
{
    return pass_on(c, node_image, a);
}

int cmd_image_delete(struct cli *c, const struct op_image_delete *a)
{
    return pass_each(c, node_image, a, "image", a->image, a->n_image);
}

int cmd_image_move(struct cli *c, const struct op_image_move *a)
{
    return pass_on(c, node_image_move, a);
}

int cmd_image_prune(struct cli *c, const struct op_image_prune *a)
{
    return pass_on(c, node_image, a);
}

/* Printed like any result; damage is a failure of the command as well. */
int cmd_image_verify(struct cli *c, const struct op_image_verify *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    json_t *result = NULL;
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : cli_order(c, a, true, &order, &e);

    if (r == 0) {
        r = node_image(n, verb_of(c), order, &result, &e);
    }
    bool damaged = json_array_size(json_object_get(result, "faults")) > 0;
    int code = cli_finish(c, r, result, &e);
    return code == 0 && damaged ? 1 : code;
}

/* A line of standard input without its end; asked for and not echoed on a terminal. */
static int read_secret(const char *what, bool echo, char out[PASSWORD_BYTES],
                       struct err *e)
{
    struct termios old, quiet;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &old) == 0;
    if (terminal) {
        (void)fprintf(stderr, "%s: ", what);
        quiet = old;
        quiet.c_lflag &= echo ? ~(tcflag_t)0 : ~(tcflag_t)ECHO;
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    }
    char *got = fgets(out, PASSWORD_BYTES, stdin);
    if (terminal) {
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
        (void)fputs(echo ? "" : "\n", stderr);
    }
    if (got == NULL) {
        return err_set(e, -ENODATA, "no %s on standard input", what);
    }
    out[strcspn(out, "\r\n")] = 0;
    return 0;
}

int cmd_image_login(struct cli *c, const struct op_image_login *a)
{
    struct err e = {0};
    struct op_image_login full = *a;
    char user[PASSWORD_BYTES];
    char password[PASSWORD_BYTES];
    if (a->remove) {
        return pass_on_as(c, node_image, "logout", a, NULL);
    }
    int r = 0;
    if (a->user == NULL && a->password_stdin) {
        r = err_set(&e, -EINVAL, "cannot log in: --password-stdin needs --user");
    }
    if (r == 0 && a->user == NULL) {
        r = read_secret("user", true, user, &e);
        full.user = user;
    }
    if (r == 0) {
        r = read_secret("password", false, password, &e);
    }
    int code =
        r < 0 ? cli_fail(c, &e) : pass_on_as(c, node_image, "login", &full, password);
    explicit_bzero(password, sizeof password);
    return code;
}

int cmd_network_create(struct cli *c, const struct op_network_create *a)
{
    return pass_on(c, node_network, a);
}

int cmd_network_list(struct cli *c, const struct op_network_list *a)
{
    c->output.quiet = a->quiet;
    return pass_on(c, node_network, a);
}

int cmd_network_inspect(struct cli *c, const struct op_network_inspect *a)
{
    return pass_each(c, node_network, a, "name", a->network, a->n_network);
}

int cmd_network_delete(struct cli *c, const struct op_network_delete *a)
{
    return pass_each(c, node_network, a, "name", a->network, a->n_network);
}

int cmd_network_prune(struct cli *c, const struct op_network_prune *a)
{
    return pass_on(c, node_network, a);
}

int cmd_volume_create(struct cli *c, const struct op_volume_create *a)
{
    return pass_on(c, node_volume, a);
}

int cmd_volume_list(struct cli *c, const struct op_volume_list *a)
{
    c->output.quiet = a->quiet;
    return pass_on(c, node_volume, a);
}

int cmd_volume_inspect(struct cli *c, const struct op_volume_inspect *a)
{
    return pass_each(c, node_volume, a, "name", a->volume, a->n_volume);
}

int cmd_volume_delete(struct cli *c, const struct op_volume_delete *a)
{
    return pass_each(c, node_volume, a, "name", a->volume, a->n_volume);
}

int cmd_volume_resize(struct cli *c, const struct op_volume_resize *a)
{
    return pass_on(c, node_volume, a);
}

int cmd_volume_snapshot(struct cli *c, const struct op_volume_snapshot *a)
{
    c->output.quiet = !a->list;
    return pass_on(c, node_volume, a);
}

int cmd_volume_clone(struct cli *c, const struct op_volume_clone *a)
{
    return pass_on(c, node_volume, a);
}

int cmd_volume_move(struct cli *c, const struct op_volume_move *a)
{
    return pass_on(c, node_volume, a);
}

int cmd_volume_import(struct cli *c, const struct op_volume_import *a)
{
    return pass_on(c, node_volume, a);
}

int cmd_volume_backup(struct cli *c, const struct op_volume_backup *a)
{
    return pass_on(c, node_volume, a);
}

int cmd_volume_restore(struct cli *c, const struct op_volume_restore *a)
{
    return pass_on(c, node_volume, a);
}

int cmd_volume_locate(struct cli *c, const struct op_volume_locate *a)
{
    return pass_on(c, node_volume, a);
}

int cmd_volume_key(struct cli *c, const struct op_volume_key *a)
{
    return pass_on(c, node_volume, a);
}

/* The word "none" of a number takes it away: it is an order. */
int cmd_volume_set(struct cli *c, const struct op_volume_set *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    json_t *result = NULL;
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : cli_order(c, a, false, &order, &e);

    r = r == 0 ? node_volume(n, verb_of(c), order, &result, &e) : r;
    return cli_finish(c, r, result, &e);
}

int cmd_volume_replay(struct cli *c, const struct op_volume_replay *a)
{
    return pass_on(c, node_volume, a);
}

/* Damage is a failure of the command as well. */
int cmd_volume_check(struct cli *c, const struct op_volume_check *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    json_t *result = NULL;
    bool damaged = false;
    size_t i;
    json_t *row;
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : cli_order(c, a, true, &order, &e);

    r = r == 0 ? node_volume(n, verb_of(c), order, &result, &e) : r;
    json_array_foreach(result, i, row)
    {
        const char *state = json_string_value(json_object_get(row, "state"));

        damaged = damaged || (state != NULL && strcmp(state, "damaged") == 0);
    }
    int code = cli_finish(c, r, result, &e);
    return code == 0 && damaged ? 1 : code;
}

int cmd_pool_create(struct cli *c, const struct op_pool_create *a)
{
    return pass_on(c, node_pool, a);
}

int cmd_pool_list(struct cli *c, const struct op_pool_list *a)
{
    c->output.quiet = a->quiet;
    return pass_on(c, node_care, a);
}

int cmd_pool_inspect(struct cli *c, const struct op_pool_inspect *a)
{
    return pass_each(c, node_care, a, "name", a->pool, a->n_pool);
}

int cmd_pool_remove(struct cli *c, const struct op_pool_remove *a)
{
    return pass_on(c, node_care, a);
}

int cmd_pool_replace(struct cli *c, const struct op_pool_replace *a)
{
    return pass_on(c, node_care, a);
}

/* "none" is an order, too. */
int cmd_pool_set(struct cli *c, const struct op_pool_set *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    json_t *result = NULL;
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : cli_order(c, a, false, &order, &e);

    r = r == 0 ? node_care(n, verb_of(c), order, &result, &e) : r;
    return cli_finish(c, r, result, &e);
}

/* Timers of systemd call a service of their own name. */
static void print_scrub_unit(FILE *out, const char *program, bool timer)
{
    (void)fprintf(out,
                  timer
                      ? "[Unit]\n"
                        "Description=Look for pools of Strata that are to be scrubbed\n\n"
                        "[Timer]\n"
                        "OnCalendar=hourly\n"
                        "RandomizedDelaySec=15min\n"
                        "Persistent=true\n\n"
                        "[Install]\n"
                        "WantedBy=timers.target\n"
                      : "[Unit]\n"
                        "Description=Scrub pools of Strata that are due\n"
                        "After=local-fs.target\n\n"
                        "[Service]\n"
                        "Type=oneshot\n"
                        "Nice=10\n"
                        "IOSchedulingClass=idle\n"
                        "ExecStart=%s pool scrub --due --repair\n",
                  program);
}

/* Exit code 1 when something is wrong and was not mended. */
int cmd_pool_scrub(struct cli *c, const struct op_pool_scrub *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    json_t *rows = json_array();
    size_t count = a->n_pool;
    bool damaged = false;
    size_t i;
    json_t *row;
    struct node *n;
    int r = 0;

    if (a->unit != NULL && strcmp(a->unit, "timer") != 0 &&
        strcmp(a->unit, "service") != 0) {
        json_decref(rows);
        (void)err_set(&e, -EINVAL, "'--unit' is service or timer");
        return cli_fail(c, &e);
    }
    if (a->unit != NULL) {
        print_scrub_unit(c->output.out, c->options.program,
                         strcmp(a->unit, "timer") == 0);
        json_decref(rows);
        return 0;
    }
    n = cli_node(c, &e);
    r = n == NULL ? -1 : cli_order(c, a, true, &order, &e);
    if (r == 0 && (count == 0) == !(a->all || a->due)) {
        r = err_set(&e, -EINVAL, "say which pools: their names, '--all' or '--due'");
    }
    for (i = 0; r == 0 && i < (count > 0 ? count : 1); i++) {
        json_t *some = NULL;

        if (count > 0) {
            (void)json_object_set_new(order, "name", json_string(a->pool[i]));
        }
        r = node_care(n, "scrub", order, &some, &e);
        (void)json_array_extend(rows, some);
        json_decref(some);
    }
    json_array_foreach(rows, i, row)
    {
        const char *state = json_string_value(json_object_get(row, "state"));

        damaged = damaged || strcmp(state != NULL ? state : "", "damaged") == 0;
    }
    int code = cli_finish(c, r, rows, &e);
    return code == 0 && damaged ? 1 : code;
}

int cmd_pool_add(struct cli *c, const struct op_pool_add *a)
{
    return pass_on(c, node_pool, a);
}

int cmd_pool_delete(struct cli *c, const struct op_pool_delete *a)
{
    return pass_each(c, node_pool, a, "name", a->pool, a->n_pool);
}

static void tell_address(void *arg, const char *address)
{
    const struct cli *c = arg;
    SCOPED(scope_json) json_t *result = json_pack("{s:s}", "address", address);

    (void)output_result(&c->output, c->op, result);
    (void)fflush(stdout);
}

int cmd_volume_export(struct cli *c, const struct op_volume_export *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : cli_order(c, a, true, &order, &e);

    if (r == 0) {
        r = node_volume_export(n, a->name, order, tell_address, c, &e);
    }
    return cli_finish(c, r, NULL, &e);
}
