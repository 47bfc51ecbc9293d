/* gdb.c - a client: bytes become packets, answers become bytes.
 *
 * "$BODY#SUM", a '+' or '-' for each while there are acknowledgements, and 0x03 at any time,
 * which stops the machine.  A client is believed nothing: a packet that is too long or does
 * not add up, or answers that nobody reads, end it.  When it goes the machine goes on without
 * its breakpoints. */
#include "virt/monitor/gdb/gdb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/str.h"
#include "virt/monitor/gdb/private.h"

#define INTERRUPT 0x03

/* ---- out ---- */

static void put_bytes(struct gdb *g, const void *bytes, size_t n)
{
    if (n > sizeof g->out - g->out_n) {
        g->is_lost = true; /* who does not read is not waited for */
        return;
    }
    memcpy(g->out + g->out_n, bytes, n);
    g->out_n += n;
}

static void put_packet(struct gdb *g, const char *body, size_t n)
{
    char end[4];
    uint8_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum = (uint8_t)(sum + (uint8_t)body[i]);
    }
    (void)str_print(end, sizeof end, "#%02x", sum);
    put_bytes(g, "$", 1);
    put_bytes(g, body, n);
    put_bytes(g, end, 3);
}

/* ---- in ---- */

/* Stop, and say that it was asked for. */
static void interrupt(struct gdb *g)
{
    if (!g->is_running || g->target.stop(g->target.who) < 0) {
        return;
    }
    g->is_running = false;
    (void)str_print(g->stop, sizeof g->stop, "T02thread:%x;", g->cpu + 1);
    put_packet(g, g->stop, strlen(g->stop));
}

static void take_packet(struct gdb *g)
{
    bool acked = g->acks;

    g->in[g->in_n] = '\0';
    if (g->sum != g->sum_said) {
        if (acked) {
            put_bytes(g, "-", 1);
        } else {
            g->is_lost = true;
        }
        return;
    }
    if (acked) {
        put_bytes(g, "+", 1);
    }
    /* A machine that runs is only interrupted. */
    if (!g->is_running && packet_do(g)) {
        put_packet(g, g->answer, g->answer_n);
    }
}

static void take_outside(struct gdb *g, uint8_t c)
{
    if (c == INTERRUPT) {
        interrupt(g);
    } else if (c == '$') {
        g->coming = COMING_BODY;
        g->in_n = 0;
        g->sum = 0;
    } else if (c == '-' && g->acks && !g->is_running && g->answer_n > 0) {
        put_packet(g, g->answer, g->answer_n);
    }
}

static bool take_digit(struct gdb *g, uint8_t c)
{
    const char digit[2] = {(char)c, '\0'};
    const char *at = digit;
    uint64_t v;

    if (!text_number(&at, &v)) {
        g->is_lost = true;
        return false;
    }
    g->sum_said = (uint8_t)(g->sum_said << 4 | v);
    return true;
}

static void take_byte(struct gdb *g, uint8_t c)
{
    switch (g->coming) {
    case COMING_NOTHING:
        take_outside(g, c);
        break;
    case COMING_BODY:
        if (c == '#') {
            g->coming = COMING_SUM_HIGH;
            g->sum_said = 0;
        } else if (g->in_n == GDB_PACKET_MOST) {
            g->is_lost = true;
        } else {
            g->in[g->in_n++] = (char)c;
            g->sum = (uint8_t)(g->sum + c);
        }
        break;
    case COMING_SUM_HIGH:
        if (take_digit(g, c)) {
            g->coming = COMING_SUM_LOW;
        }
        break;
    case COMING_SUM_LOW:
        g->coming = COMING_NOTHING;
        if (take_digit(g, c)) {
            take_packet(g);
        }
        break;
    }
}

static void take_bytes(struct gdb *g, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n && !g->is_lost; i++) {
        take_byte(g, bytes[i]);
    }
}

/* ---- a client comes and goes ---- */

void gdb_open(struct gdb *g)
{
    g->is_open = true;
    g->is_lost = g->physical = false;
    g->acks = true;
    g->coming = COMING_NOTHING;
    g->cpu = 0;
    g->out_n = g->answer_n = 0;
    g->points = (struct cpu_debug){.steps = false};
    g->is_running = g->target.stop(g->target.who) < 0;
    (void)str_print(g->stop, sizeof g->stop, "T05thread:1;");
}

static void close_client(struct gdb *g)
{
    bool stood = g->is_open && !g->is_running;

    g->is_busy = true;
    if (g->client.fd >= 0) {
        loop_unwatch(&g->client);
        (void)close(g->client.fd);
        g->client.fd = -1;
    }
    if (g->is_open && (stood || g->target.stop(g->target.who) == 0)) {
        points_clear(g);
        g->target.go(g->target.who);
    }
    g->is_open = g->is_busy = false;
}

static void send_out(struct gdb *g)
{
    ssize_t n = 0;

    if (g->client.fd < 0) {
        return;
    }
    if (g->out_n > 0) {
        n = send(g->client.fd, g->out, g->out_n, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        g->is_lost = true;
    } else if (n > 0) {
        g->out_n -= (size_t)n;
        memmove(g->out, g->out + n, g->out_n);
    }
    if (!g->is_lost) {
        (void)loop_watch_change(&g->client, EPOLLIN | (g->out_n > 0 ? EPOLLOUT : 0u));
    }
}

static void on_client(struct loop_watch *w, uint32_t events)
{
    struct gdb *g = (struct gdb *)((char *)w - offsetof(struct gdb, client));
    uint8_t bytes[4096];
    ssize_t n = 0;

    if (g->is_busy) {
        (void)loop_watch_change(w, 0);
        return;
    }
    g->is_busy = true;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        n = recv(w->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            g->is_lost = true;
        }
    }
    if (n > 0) {
        take_bytes(g, bytes, (size_t)n);
    }
    g->is_busy = false;
    send_out(g);
    if (g->is_lost) {
        close_client(g);
    }
}

int gdb_connect(struct gdb *g, int take_fd, struct err *e)
{
    SCOPED(scope_close) int fd = take_fd;
    int r;

    if (g->is_open) {
        return err_set(e, -EBUSY, "a debugger is there already");
    }
    g->client = (struct loop_watch){.fd = fd, .events = EPOLLIN, .fn = on_client};
    r = loop_watch(g->loop, &g->client);
    if (r < 0) {
        g->client.fd = -1;
        return err_sys(e, r, "cannot hear a debugger");
    }
    (void)scope_take_fd(&fd);
    g->is_busy = true;
    gdb_open(g);
    g->is_busy = false;
    send_out(g);
    return 0;
}

static void on_listen(struct loop_watch *w, uint32_t events)
{
    struct gdb *g = (struct gdb *)((char *)w - offsetof(struct gdb, listen));
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd >= 0) {
        (void)gdb_connect(g, fd, NULL);
    }
}

int gdb_listen(struct gdb *g, int take_fd, struct err *e)
{
    SCOPED(scope_close) int fd = take_fd;
    int r;

    if (g->listen.fd >= 0) {
        loop_unwatch(&g->listen);
        (void)close(g->listen.fd);
        g->listen.fd = -1;
    }
    if (fd < 0) {
        return 0;
    }
    g->listen = (struct loop_watch){.fd = fd, .events = EPOLLIN, .fn = on_listen};
    r = loop_watch(g->loop, &g->listen);
    if (r < 0) {
        g->listen.fd = -1;
        return err_sys(e, r, "cannot wait for a debugger");
    }
    (void)scope_take_fd(&fd);
    return 0;
}

/* ---- what the machine does ---- */

void gdb_stopped(struct gdb *g, unsigned cpu, unsigned kind, uint64_t address)
{
    if (!g->is_open || !g->is_running) {
        if (!g->is_open) {
            points_clear(g);
        }
        g->target.go(g->target.who);
        return;
    }
    g->is_running = false;
    points_stopped(g, cpu, kind, address);
    put_packet(g, g->stop, strlen(g->stop));
    send_out(g);
}

void gdb_ended(struct gdb *g, unsigned code)
{
    char text[8];

    if (g->is_open && g->is_running) {
        (void)str_print(text, sizeof text, "W%02x", code & 0xff);
        put_packet(g, text, strlen(text));
        send_out(g);
    }
    g->is_running = true; /* nothing is to be let go */
}

size_t gdb_answer(struct gdb *g, const uint8_t *bytes, size_t n, uint8_t *ret,
                  size_t room)
{
    size_t length;

    take_bytes(g, bytes, n);
    length = g->out_n < room ? g->out_n : room;
    memcpy(ret, g->out, length);
    g->out_n = 0;
    if (g->is_lost) {
        close_client(g);
        return SIZE_MAX;
    }
    return length;
}

int gdb_create(struct loop *l, const struct gdb_target *t, struct gdb **ret,
               struct err *e)
{
    struct gdb *g = fault_calloc(1, sizeof *g);

    if (g == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    g->loop = l;
    g->target = *t;
    g->listen.fd = g->client.fd = -1;
    *ret = g;
    return 0;
}

void gdb_destroy(struct gdb *g)
{
    if (g == NULL) {
        return;
    }
    (void)gdb_listen(g, -1, NULL);
    close_client(g);
    free(g);
}
