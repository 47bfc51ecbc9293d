/* tool.c - the operations of the program `volume`, by name. */
#include "resource/storage/tool/tool.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "host/loop/loop.h"
#include "resource/storage/graph/graph.h"
#include "resource/storage/graph/node.h"
#include "resource/storage/tool/exporter.h"
#include "resource/storage/tool/private.h"

static int serve_nbd(struct request *r)
{
    return exporter_alone(r, &exporter_nbd);
}

static int serve_iscsi(struct request *r)
{
    return exporter_alone(r, &exporter_iscsi);
}

static int serve_vhost_user(struct request *r)
{
    return exporter_alone(r, &exporter_vhost_user);
}

/* ---- what a word `node=` can say, for people ---- */

static const char *const kinds[] = {
    [GRAPH_KEY_FLAG] = "",          [GRAPH_KEY_TEXT] = "=TEXT",
    [GRAPH_KEY_NUMBER] = "=NUMBER", [GRAPH_KEY_FD] = "=DESCRIPTOR",
    [GRAPH_KEY_NODE] = "=NODE",     [GRAPH_KEY_PIECES] = "=NODE|-...",
    [GRAPH_KEY_STORE] = "=STORE",
};

static const char *const no_keys[] = {NULL};

/* One line for each type; what need not be there is in brackets. */
int tool_types(struct request *r)
{
    int e = request_check(r, no_keys);

    for (const struct graph_type *const *t = graph_types; e == 0 && *t != NULL; t++) {
        struct str line = {0};

        str_add(&line, (*t)->name);
        for (const struct graph_key *k = (*t)->keys; k->name != NULL; k++) {
            str_addf(&line, k->required ? " %s%s" : " [%s%s]", k->name, kinds[k->kind]);
        }
        e = request_answer(r, "type", str_text(&line));
        str_fini(&line);
    }
    return e;
}

/* ---- by name ---- */

static const struct operation {
    const char *name;
    int (*run)(struct request *r);
} operations[] = {
    {"nbd", serve_nbd},
    {"iscsi", serve_iscsi},
    {"vhost-user", serve_vhost_user},
    {"create", tool_create},
    {"arrange", tool_arrange},
    {"info", tool_info},
    {"check", tool_check},
    {"resize", tool_resize},
    {"map", tool_map},
    {"convert", tool_convert},
    {"marks", tool_marks},
    {"merge", tool_merge},
    {"rebase", tool_rebase},
    {"key", tool_key},
    {"scrub", tool_scrub},
    {"reclaim", tool_reclaim},
    {"replay", tool_replay},
    {"settle", tool_settle},
    {"replace", tool_replace},
    {"evacuate", tool_evacuate},
    {"serve", tool_serve},
    {"fuse", tool_fuse},
    {"store", tool_store},
    {"rbd", tool_rbd},
    {"types", tool_types},
};

struct running {
    const struct operation *operation;
    struct request request;
};

static int run(void *arg)
{
    struct running *x = arg;

    int r = graph_create(x->request.loop, &x->request.graph, x->request.e);

    if (r == 0) {
        r = x->operation->run(&x->request);
        graph_destroy(x->request.graph);
        scope_close(&x->request.signals);
    }
    return r;
}

static int start_loop(const struct request *r, struct loop **ret)
{
    const char *driver = request_get(r, "driver");

    return loop_create(driver != NULL && strcmp(driver, "crew") == 0 ? LOOP_DRIVER_CREW
                                                                     : LOOP_DRIVER_AUTO,
                       ret, r->e);
}

int tool_run(char **words, unsigned count, int answer_fd, struct err *e)
{
    struct running x = {.request = {.words = words + 1,
                                    .count = count - 1,
                                    .answer_fd = answer_fd,
                                    .signals = -1,
                                    .e = e}};
    int r;

    for (unsigned i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        if (strcmp(operations[i].name, words[0]) == 0) {
            x.operation = &operations[i];
        }
    }
    if (x.operation == NULL) {
        return err_set(e, -EINVAL, "'%s' is no operation", words[0]);
    }
    r = start_loop(&x.request, &x.request.loop);
    if (r == 0) {
        r = loop_do(x.request.loop, run, &x);
        loop_destroy(x.request.loop);
    }
    return r;
}
