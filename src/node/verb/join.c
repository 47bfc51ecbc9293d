/* join.c - a caller's descriptors joined to a guest: console, wait, exec. */
#include "node/verb/private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/scope.h"
#include "base/str.h"
#include "contract/task.h"
#include "node/keeper/keeper.h"

#define LOOK_AGAIN_MS 50

int node_guest_console(struct node *n, const char *guest, int *ret_fd, bool *ret_terminal,
                       struct err *e)
{
    const char packet = KEEPER_ATTACH;
    struct guest g = {0};
    int r = guest_find(n, guest, &g, e);

    if (r == 0) {
        r = guest_connect(n, &g, &packet, 1, ret_fd, e);
        *ret_terminal = guest_is_machine(&g) ||
                        json_is_true(json_object_get(guest_config(&g), "tty"));
    }
    guest_fini(&g);
    return r;
}

int node_guest_wait(struct node *n, const char *guest, int *ret_code, struct err *e)
{
    const char packet = KEEPER_WAIT;
    struct guest_status st;
    struct guest g = {0};
    int r = verb_find(n, guest, &g, &st, e);

    while (r == 0 && guest_is_alive(&st)) {
        SCOPED(scope_close) int fd = -1;
        struct err ended = {0};

        r = guest_connect(n, &g, &packet, 1, &fd, &ended);
        if (r == 0 && guest_await_end(fd, ret_code) == 0) {
            guest_fini(&g);
            return 0;
        }
        if (r == -ESRCH) { /* between the two looks it ended, or its keeper starts */
            guest_await_free(n, &g, LOOK_AGAIN_MS);
            r = 0;
        }
        r = r < 0 ? err_set(e, r, "%s", ended.text) : guest_state_now(n, &g, &st, e);
    }
    if (r == 0) {
        *ret_code = st.exit_code;
    }
    guest_fini(&g);
    return r;
}

/* A NULL-terminated list of borrowed texts. */
static const char **texts_of(const json_t *list)
{
    const char **out = calloc(json_array_size(list) + 1, sizeof *out);
    size_t i;
    json_t *item;

    if (out != NULL) {
        json_array_foreach(list, i, item)
        {
            out[i] = json_string_value(item);
        }
    }
    return out;
}

/* Below this, guests are containers that are called by their identifier. */
static void name_the_guest(const struct guest *g, struct err *e)
{
    char own[NODE_ID_DIGITS + 16];
    struct err named = {0};

    (void)str_print(own, sizeof own, "container '%s'", g->id);
    if (e != NULL && strncmp(e->text, own, strlen(own)) == 0) {
        (void)err_set(&named, e->code, "guest '%s'%s", guest_text(g, "name"),
                      e->text + strlen(own));
        *e = named;
    }
}

/* What a machine's programs have beside what is ordered: of a container the runtime knows it.
 * The texts are borrowed. */
static void fill_machine(const struct guest *g, struct task_exec *x, json_t *env)
{
    const json_t *image = json_object_get(g->record, "image_config");
    const json_t *config = guest_config(g);
    const json_t *own = json_object_get(config, "user");

    if (x->user == NULL) {
        x->user = json_string_value(own != NULL ? own : json_object_get(image, "user"));
    }
    own = json_object_get(config, "workdir");
    if (x->cwd == NULL) {
        x->cwd = json_string_value(own != NULL ? own : json_object_get(image, "workdir"));
    }
    (void)json_array_extend(env, json_object_get(image, "env"));
    (void)json_array_extend(env, json_object_get(config, "env"));
}

int node_guest_exec(struct node *n, const char *guest, const json_t *order,
                    int *ret_pidfd, int *ret_master, struct err *e)
{
    SCOPED(scope_free) const char **argv = texts_of(json_object_get(order, "command"));
    SCOPED(scope_free) const char **env = NULL;
    SCOPED(scope_json) json_t *pairs = json_array();
    struct task_exec x = {.argv = argv,
                          .cwd = json_string_value(json_object_get(order, "workdir")),
                          .user = json_string_value(json_object_get(order, "user")),
                          .terminal = json_is_true(json_object_get(order, "tty"))};
    SCOPED(scope_close) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    bool detach = json_is_true(json_object_get(order, "detach"));
    struct guest_status st;
    struct task *t = NULL;
    struct guest g = {0};
    int r = verb_find(n, guest, &g, &st, e);

    if (r < 0) {
        return r;
    }
    x.stdio[0] =
        !detach && json_is_true(json_object_get(order, "interactive")) ? 0 : null;
    x.stdio[1] = detach ? null : 1;
    x.stdio[2] = detach ? null : 2;
    if (st.state != GUEST_RUNNING) {
        r = err_set(e, -ESRCH,
                    "cannot run a program in guest '%s': it is %s, not running", guest,
                    guest_state_name(st.state));
    }
    if (r == 0) {
        r = guest_task(n, &g, &t, e);
    }
    if (r == 0 && guest_is_machine(&g)) {
        fill_machine(&g, &x, pairs);
    }
    (void)json_array_extend(pairs, json_object_get(order, "env"));
    x.env = env = texts_of(pairs);
    if (r == 0) {
        r = task_exec(t, &x, ret_pidfd, ret_master, e);
        if (r < 0 && guest_is_machine(&g)) {
            (void)err_wrap(e, "cannot run a program in guest '%s'", guest);
        } else if (r < 0) {
            name_the_guest(&g, e);
            r = guest_program_error(argv[0], e);
        }
    }
    task_close(t);
    guest_fini(&g);
    return r;
}

int node_exec_code(int pidfd)
{
    siginfo_t si = {0};

    if (waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED) < 0) {
        return 255;
    }
    return si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
}
