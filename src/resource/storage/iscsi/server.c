/* server.c - who is connected, and what is offered to whom.
 *
 * A session is one connection.  It begins with a login, which a strand reads step by
 * step, and goes on with PDUs, which handlers take in batches (transmit.c).  It ends
 * in three steps: nothing more is read, commands that run are answered, and at the end
 * of a turn of the loop it is freed. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "resource/storage/iscsi/private.h"

#define SESSIONS_MOST_DEFAULT 64
#define LOGIN_SECONDS_DEFAULT 30
#define SOCKET_BYTES          (4 * 1024 * 1024) /* of the kernel's send buffer */
#define SECRET_MOST           255
#define UNITS_MOST            256 /* of a target: REPORT LUNS is one answer */

/* ---- targets ---- */

struct target *iscsi_target_find(const struct iscsi_server *s, const char *name)
{
    struct target *t = s->targets;

    while (t != NULL && strcmp(t->name, name) != 0) {
        t = t->next;
    }
    return t;
}

bool iscsi_target_lets(const struct target *t, const char *initiator)
{
    for (const struct scsi_unit *u = t->units; u != NULL; u = u->next) {
        if (scsi_unit_lets(u, initiator)) {
            return true;
        }
    }
    return t->units == NULL;
}

static void target_free(struct target *t)
{
    if (t == NULL) {
        return;
    }
    while (t->units != NULL) {
        struct scsi_unit *u = t->units;

        t->units = u->next;
        scsi_unit_free(u);
    }
    free(t->name);
    free(t->alias);
    free(t->user);
    free(t->secret);
    free(t->own_user);
    free(t->own_secret);
    free(t);
}

/* A copy; NULL stays NULL.  False: no memory. */
static bool copy(char **ret, const char *text)
{
    *ret = text != NULL ? fault_strdup(text) : NULL;
    return *ret != NULL || text == NULL;
}

static bool fits(const char *text, size_t most)
{
    return text == NULL || (*text != '\0' && strlen(text) <= most);
}

static bool is_good(const struct iscsi_target_options *o)
{
    const struct iscsi_chap *h = &o->chap;

    return fits(o->name, ISCSI_NAME_BYTES - 1) && fits(o->alias, SECRET_MOST) &&
           fits(h->user, SECRET_MOST) && fits(h->secret, SECRET_MOST) &&
           fits(h->own_user, SECRET_MOST) && fits(h->own_secret, SECRET_MOST) &&
           (h->user == NULL) == (h->secret == NULL) &&
           (h->own_user == NULL) == (h->own_secret == NULL) &&
           (h->own_user == NULL || h->user != NULL) &&
           (h->own_secret == NULL || strcmp(h->secret, h->own_secret) != 0);
}

int iscsi_server_add_target(struct iscsi_server *s, const struct iscsi_target_options *o,
                            struct err *e)
{
    struct target *t;

    if (!is_good(o)) {
        return err_set(e, -EINVAL,
                       "cannot offer '%s': a name, user or secret is empty, too long, "
                       "alone, or the same on both sides",
                       o->name);
    }
    if (iscsi_target_find(s, o->name) != NULL) {
        return err_set(e, -EEXIST, "cannot offer '%s': the name is taken", o->name);
    }
    t = fault_calloc(1, sizeof *t);
    if (t == NULL || !copy(&t->name, o->name) || !copy(&t->alias, o->alias) ||
        !copy(&t->user, o->chap.user) || !copy(&t->secret, o->chap.secret) ||
        !copy(&t->own_user, o->chap.own_user) ||
        !copy(&t->own_secret, o->chap.own_secret)) {
        target_free(t);
        return err_sys(e, -ENOMEM, "cannot offer '%s'", o->name);
    }
    t->next = s->targets;
    s->targets = t;
    return 0;
}

int iscsi_server_add_unit(struct iscsi_server *s, const char *target,
                          const struct iscsi_unit_options *o, struct err *e)
{
    struct target *t = iscsi_target_find(s, target);
    struct scsi_unit **at;
    struct scsi_unit *u = NULL;
    int r;

    if (t == NULL) {
        return err_set(e, -ENOENT, "cannot offer unit %u: there is no target '%s'",
                       o->lun, target);
    }
    at = &t->units;
    while (*at != NULL && (*at)->lun < o->lun) {
        at = &(*at)->next;
    }
    if ((*at != NULL && (*at)->lun == o->lun) || t->unit_count == UNITS_MOST) {
        return err_set(e, -EEXIST,
                       "cannot offer unit %u of '%s': it is there, or there are too many",
                       o->lun, target);
    }
    r = scsi_unit_create(s->loop, o, target, &u, e);
    if (r != 0) {
        return r;
    }
    u->ports = (uint16_t)(s->listen_count > 0 ? s->listen_count : 1);
    u->next = *at;
    *at = u;
    t->unit_count++;
    return 0;
}

int iscsi_enter_units(struct connection *c)
{
    struct scsi_nexus *n;

    if (c->target == NULL || c->target->unit_count == 0) {
        return 0;
    }
    n = fault_calloc(c->target->unit_count, sizeof *n);
    if (n == NULL) {
        return -ENOMEM;
    }
    c->view.nexus = n;
    for (struct scsi_unit *u = c->target->units; u != NULL; u = u->next) {
        if (scsi_unit_lets(u, c->initiator)) {
            struct scsi_nexus *own = &n[c->view.count++];

            own->name = c->port_name;
            own->port = c->port;
            own->owner = c;
            scsi_nexus_enter(own, u);
        }
    }
    return 0;
}

/* ---- connections ---- */

static void free_commands(struct command *m)
{
    while (m != NULL) {
        struct command *next = m->next;

        free(m->scsi.data);
        free(m);
        m = next;
    }
}

static void connection_free(struct connection *c)
{
    for (unsigned i = 0; i < c->view.count; i++) {
        scsi_nexus_leave(&c->view.nexus[i]);
    }
    free(c->view.nexus);
    free_commands(c->free);
    free(c->incoming.own);
    free(c->text);
    free(c->in);
    free(c);
}

static void end_now(struct loop_task *t)
{
    struct connection *c =
        (struct connection *)((char *)t - offsetof(struct connection, end_task));
    struct iscsi_server *s = c->server;
    struct connection **at = &s->connections;
    struct strand_queue gone = c->gone;

    loop_unwatch(&c->watch);
    if (c->send_task.queued) { /* behind this one: it goes first */
        loop_later(s->loop, t);
        return;
    }
    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    (void)close(c->fd);
    connection_free(c);
    s->counts.sessions--;
    (void)strand_wake_all(&gone);
    if (s->connections == NULL) {
        (void)strand_wake_all(&s->all_gone);
    }
}

void iscsi_connection_maybe_free(struct connection *c)
{
    if (c->phase == PHASE_ENDING && c->broken && c->out_first != NULL) {
        iscsi_reply_drop(c);
    }
    if (c->phase == PHASE_ENDING && c->flight == 0 && c->tasks == 0 && c->login == NULL &&
        c->out_first == NULL && !c->ended) {
        c->ended = true;
        c->end_task.fn = end_now;
        loop_later(c->server->loop, &c->end_task);
    }
}

void iscsi_connection_end(struct connection *c)
{
    struct command *next;

    if (c->phase == PHASE_FULL) {
        loop_poller_remove(c->server->loop, &c->poller);
    }
    c->phase = PHASE_ENDING;
    if (c->watch.loop != NULL) {
        (void)loop_watch_change(&c->watch, c->out_blocked ? EPOLLOUT : 0);
    }
    for (struct command *m = c->live; m != NULL; m = next) {
        next = m->live_next;
        if (m->state < STATE_RUNNING) { /* its data will not come any more */
            iscsi_command_abort(m, NULL);
        }
    }
    iscsi_connection_maybe_free(c);
}

void iscsi_reinstate(struct connection *c)
{
    struct connection *old = c->server->connections;

    while (old != NULL) {
        if (old != c && old->target != NULL && old->target == c->target &&
            old->phase != PHASE_LOGIN && old->port == c->port &&
            strcmp(old->port_name, c->port_name) == 0) {
            old->broken = true;
            (void)shutdown(old->fd, SHUT_RDWR);
            if (old->phase == PHASE_FULL) {
                iscsi_connection_end(old);
            }
            iscsi_connection_maybe_free(old);
            strand_wait(loop_strands(c->server->loop), &old->gone);
            old = c->server->connections;
        } else {
            old = old->next;
        }
    }
}

static void log_in(void *arg)
{
    struct connection *c = arg;
    int r;

    c->login = strand_current(loop_strands(c->server->loop));
    r = iscsi_login(c);
    c->login = NULL;
    if (r == 0 && !c->server->ending) {
        r = iscsi_transmit_begin(c);
    }
    if (r != 0 || c->server->ending) {
        c->server->counts.refused++;
        c->broken = true;
        iscsi_connection_end(c);
    }
}

static void tune(int fd)
{
    int yes = 1;
    int bytes = SOCKET_BYTES;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    }
}

static int serve(struct iscsi_server *s, int take_fd, uint16_t port, struct err *e)
{
    struct connection *c = fault_calloc(1, sizeof *c);
    int r = -ENOMEM;

    if (c != NULL) {
        c->server = s;
        c->fd = take_fd;
        c->port = port;
        c->in = fault_malloc(ISCSI_IN_BYTES);
    }
    if (c != NULL && c->in != NULL) {
        tune(take_fd);
        c->next = s->connections;
        s->connections = c;
        s->counts.sessions++;
        r = strand_start(loop_strands(s->loop), log_in, c);
        if (r == 0) {
            return 0;
        }
        s->connections = c->next;
        s->counts.sessions--;
    }
    (void)close(take_fd);
    if (c != NULL) {
        connection_free(c);
    }
    return err_sys(e, r, "cannot serve an initiator");
}

int iscsi_server_serve(struct iscsi_server *s, int take_fd, struct err *e)
{
    return serve(s, take_fd, 1, e);
}

static void accept_initiators(struct loop_watch *w, uint32_t events)
{
    struct listener *l = (struct listener *)w;
    struct iscsi_server *s = l->server;

    (void)events;
    for (;;) {
        int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0) {
            return;
        }
        if (s->counts.sessions >= s->options.sessions_most) {
            (void)close(fd);
            s->counts.refused++;
        } else {
            (void)serve(s, fd, l->port, NULL);
        }
    }
}

int iscsi_server_listen(struct iscsi_server *s, int take_fd, const char *address,
                        struct err *e)
{
    struct listener *l = &s->listen[s->listen_count];
    int flags = fcntl(take_fd, F_GETFL);
    char *own = NULL;
    int r = s->listen_count == ISCSI_PORTALS_MOST ? -ENOSPC : 0;

    if (r == 0 && (flags < 0 || fcntl(take_fd, F_SETFL, flags | O_NONBLOCK) != 0)) {
        r = -errno;
    }
    if (r == 0) {
        own = strlen(address) < ISCSI_NAME_BYTES ? fault_strdup(address) : NULL;
        r = own == NULL ? -ENOMEM : 0;
    }
    if (r == 0) {
        l->server = s;
        l->port = (uint16_t)(s->listen_count + 1);
        l->watch = (struct loop_watch){
            .fd = take_fd, .events = EPOLLIN, .fn = accept_initiators};
        r = loop_watch(s->loop, &l->watch);
    }
    if (r != 0) {
        (void)close(take_fd);
        free(own);
        return err_sys(e, r, "cannot listen for initiators");
    }
    l->address = own;
    s->listen_count++;
    for (struct target *t = s->targets; t != NULL; t = t->next) {
        for (struct scsi_unit *u = t->units; u != NULL; u = u->next) {
            u->ports = (uint16_t)s->listen_count;
        }
    }
    return 0;
}

struct iscsi_counts iscsi_server_counts(const struct iscsi_server *s)
{
    return s->counts;
}

int iscsi_server_create(struct loop *l, const struct iscsi_server_options *o,
                        struct iscsi_server **ret_server, struct err *e)
{
    struct iscsi_server *s = fault_calloc(1, sizeof *s);

    if (s == NULL) {
        return err_sys(e, -ENOMEM, "cannot start the iSCSI server");
    }
    s->loop = l;
    s->options = *o;
    if (s->options.sessions_most == 0) {
        s->options.sessions_most = SESSIONS_MOST_DEFAULT;
    }
    if (s->options.login_seconds == 0) {
        s->options.login_seconds = LOGIN_SECONDS_DEFAULT;
    }
    *ret_server = s;
    return 0;
}

void iscsi_server_destroy(struct iscsi_server *s)
{
    if (s == NULL) {
        return;
    }
    s->ending = true;
    for (unsigned i = 0; i < s->listen_count; i++) {
        loop_unwatch(&s->listen[i].watch);
        (void)close(s->listen[i].watch.fd);
        free(s->listen[i].address);
    }
    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        (void)shutdown(c->fd, SHUT_RD); /* a login that waits sees the end */
        if (c->phase == PHASE_FULL) {
            iscsi_connection_end(c);
        }
    }
    while (s->connections != NULL) {
        strand_wait(loop_strands(s->loop), &s->all_gone);
    }
    while (s->targets != NULL) {
        struct target *t = s->targets;

        s->targets = t->next;
        target_free(t);
    }
    free(s);
}
