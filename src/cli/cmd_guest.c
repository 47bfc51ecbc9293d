/* cmd_guest.c - what is done to guests that exist. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/json.h"
#include "base/scope.h"
#include "cli/cli.h"
#include "cli/cmd.h"
#include "host/file.h"

static int stop_one(struct node *n, const char *guest, const void *args, struct err *e)
{
    const struct op_stop *a = args;
    return node_guest_stop(n, guest, 0, a->timeout, e);
}

int cmd_stop(struct cli *c, const struct op_stop *a)
{
    return cli_each(c, a->guest, a->n_guest, stop_one, a);
}

static int kill_one(struct node *n, const char *guest, const void *args, struct err *e)
{
    const struct op_kill *a = args;
    return node_guest_kill(n, guest, a->signal, a->all, e);
}

int cmd_kill(struct cli *c, const struct op_kill *a)
{
    return cli_each(c, a->guest, a->n_guest, kill_one, a);
}

static int restart_one(struct node *n, const char *guest, const void *args, struct err *e)
{
    const struct op_restart *a = args;
    return node_guest_restart(n, guest, a->timeout, e);
}

int cmd_restart(struct cli *c, const struct op_restart *a)
{
    return cli_each(c, a->guest, a->n_guest, restart_one, a);
}

static int pause_one(struct node *n, const char *guest, const void *args, struct err *e)
{
    (void)args;
    return node_guest_pause(n, guest, e);
}

int cmd_pause(struct cli *c, const struct op_pause *a)
{
    return cli_each(c, a->guest, a->n_guest, pause_one, a);
}

static int resume_one(struct node *n, const char *guest, const void *args, struct err *e)
{
    (void)args;
    return node_guest_resume(n, guest, e);
}

int cmd_resume(struct cli *c, const struct op_resume *a)
{
    return cli_each(c, a->guest, a->n_guest, resume_one, a);
}

static int reset_one(struct node *n, const char *guest, const void *args, struct err *e)
{
    (void)args;
    return node_guest_reset(n, guest, e);
}

int cmd_reset(struct cli *c, const struct op_reset *a)
{
    return cli_each(c, a->guest, a->n_guest, reset_one, a);
}

static int save_one(struct node *n, const char *guest, const void *args, struct err *e)
{
    (void)args;
    return node_guest_save(n, guest, e);
}

int cmd_save(struct cli *c, const struct op_save *a)
{
    return cli_each(c, a->guest, a->n_guest, save_one, a);
}

static int mark_one(struct node *n, const char *guest, const void *args, struct err *e)
{
    (void)args;
    return node_guest_mark(n, guest, e);
}

int cmd_debug_mark(struct cli *c, const struct op_debug_mark *a)
{
    return cli_each(c, a->guest, a->n_guest, mark_one, a);
}

static int rewind_one(struct node *n, const char *guest, const void *args, struct err *e)
{
    (void)args;
    return node_guest_rewind(n, guest, e);
}

int cmd_debug_rewind(struct cli *c, const struct op_debug_rewind *a)
{
    return cli_each(c, a->guest, a->n_guest, rewind_one, a);
}

int cmd_debug_dump(struct cli *c, const struct op_debug_dump *a)
{
    struct err e = {0};
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : node_guest_dump(n, a->guest, a->file, &e);
    return cli_finish(c, r, json_pack("{s:s}", "name", a->guest), &e);
}

/* To a file, or whatever reads. */
static int pass_on(int from, int to)
{
    char bytes[65536];
    ssize_t n = pread(from, bytes, sizeof bytes, 0);
    int r = 0;

    for (off_t at = 0; r == 0 && n > 0; n = pread(from, bytes, sizeof bytes, at)) {
        r = file_write_all(to, bytes, (size_t)n);
        at += n;
    }
    return r == 0 && n < 0 ? -errno : r;
}

/* A file of its own first: a machine is not to wait for whoever reads the picture. */
static int take_picture(struct node *n, const char *guest, const char *file,
                        struct err *e)
{
    SCOPED(scope_close) int picture = memfd_create("picture", MFD_CLOEXEC);
    SCOPED(scope_close) int out = -1;
    int r;

    if (file == NULL && isatty(STDOUT_FILENO)) {
        return err_set(e, -EINVAL,
                       "cannot show guest '%s' on a terminal: it is a picture, for "
                       "--file FILE or '>'",
                       guest);
    }
    r = picture < 0 ? err_sys(e, -errno, "cannot keep a picture")
                    : node_guest_screen(n, guest, picture, e);
    if (r < 0) {
        return r;
    }
    if (file != NULL) {
        out = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    }
    r = file != NULL && out < 0 ? -errno : 0;
    r = r == 0 ? pass_on(picture, file != NULL ? out : STDOUT_FILENO) : r;
    return r < 0 ? err_sys(e, r, "cannot write '%s'",
                           file != NULL ? file : "standard output")
                 : 0;
}

int cmd_screen(struct cli *c, const struct op_screen *a)
{
    struct err e = {0};
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : 0;

    if (r == 0 && a->n_key > 0 && a->file != NULL) {
        r = err_set(&e, -EINVAL, "--key types and shows nothing: use it without --file");
    } else if (r == 0) {
        r = a->n_key > 0 ? node_guest_type(n, a->guest, a->key, a->n_key, &e)
                         : take_picture(n, a->guest, a->file, &e);
    }
    return cli_finish(c, r, NULL, &e);
}

static int delete_one(struct node *n, const char *guest, const void *args, struct err *e)
{
    const struct op_delete *a = args;
    return node_guest_delete(n, guest, a->force, e);
}

int cmd_delete(struct cli *c, const struct op_delete *a)
{
    return cli_each(c, a->guest, a->n_guest, delete_one, a);
}

int cmd_resize(struct cli *c, const struct op_resize *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    if (cli_order(c, a, false, &order, &e) == 0 && json_object_size(order) <= 1) {
        (void)fprintf(stderr,
                      "strata: cannot resize guest '%s': no option says what to change "
                      "(see 'strata resize --help')\n",
                      a->guest);
        return CLI_USAGE;
    }
    struct node *n = cli_node(c, &e);
    int r = n == NULL || order == NULL ? -1 : 0;
    if (r == 0) {
        r = node_guest_resize(n, a->guest, order, &e);
    }
    return cli_finish(c, r, json_pack("{s:s}", "name", a->guest), &e);
}

int cmd_attach(struct cli *c, const struct op_attach *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    struct node *n;
    int r = cli_order(c, a, false, &order, &e);

    if (r == 0 && json_object_size(order) <= 1) {
        (void)fprintf(stderr,
                      "strata: cannot attach to guest '%s': no option says what (see "
                      "'strata attach --help')\n",
                      a->guest);
        return CLI_USAGE;
    }
    n = r == 0 ? cli_node(c, &e) : NULL;
    r = n == NULL ? -1 : node_guest_attach(n, a->guest, order, &e);
    return cli_finish(c, r, json_pack("{s:s}", "name", a->guest), &e);
}

int cmd_detach(struct cli *c, const struct op_detach *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    struct node *n = cli_order(c, a, false, &order, &e) == 0 ? cli_node(c, &e) : NULL;
    int r = n == NULL ? -1 : node_guest_detach(n, a->guest, order, &e);

    return cli_finish(c, r, json_pack("{s:s}", "name", a->guest), &e);
}

int cmd_clone(struct cli *c, const struct op_clone *a)
{
    struct err e = {0};
    SCOPED(scope_json) json_t *order = NULL;
    json_t *made = NULL;
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : cli_order(c, a, false, &order, &e);
    if (r == 0) {
        r = node_guest_clone(n, a->guest, order, &made, &e);
    }
    return cli_finish(c, r, made, &e);
}

int cmd_rename(struct cli *c, const struct op_rename *a)
{
    struct err e = {0};
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : node_guest_rename(n, a->guest, a->name, &e);
    return cli_finish(c, r, json_pack("{s:s}", "name", a->name), &e);
}

int cmd_cp(struct cli *c, const struct op_cp *a)
{
    struct err e = {0};
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : node_guest_cp(n, a->source, a->target, a->follow_links, &e);
    return cli_finish(c, r, NULL, &e);
}

int cmd_snapshot_create(struct cli *c, const struct op_snapshot_create *a)
{
    struct err e = {0};
    json_t *made = NULL;
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : node_snapshot_create(n, a->guest, a->name, &made, &e);
    return cli_finish(c, r, made, &e);
}

int cmd_snapshot_list(struct cli *c, const struct op_snapshot_list *a)
{
    struct err e = {0};
    json_t *list = NULL;
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : node_snapshot_list(n, a->guest, &list, &e);
    return cli_finish(c, r, list, &e);
}

int cmd_snapshot_restore(struct cli *c, const struct op_snapshot_restore *a)
{
    struct err e = {0};
    struct node *n = cli_node(c, &e);
    int r = n == NULL ? -1 : node_snapshot_restore(n, a->guest, a->name, &e);
    return cli_finish(c, r, json_pack("{s:s, s:s}", "name", a->name, "guest", a->guest),
                      &e);
}

static int delete_snapshot(struct node *n, const char *name, const void *args,
                           struct err *e)
{
    const struct op_snapshot_delete *a = args;
    return node_snapshot_delete(n, a->guest, name, e);
}

int cmd_snapshot_delete(struct cli *c, const struct op_snapshot_delete *a)
{
    return cli_each(c, a->name, a->n_name, delete_snapshot, a);
}
