/* loop.c - the keeper's one loop: wait, look at what is ready, act.
 *
 * Order in a round: output first (so that nothing said before the end is lost),
 * then the guest's end, then viewers, then what is due by time. */
#include "node/keeper/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/units.h"
#include "node/keeper/private.h"

#define REST_MS         1000  /* without anything to do: give memory back */
#define END_PATIENCE_MS 10000 /* of a guest that ran as long as it may */
#define CATCH_UP_MS     50    /* how soon to look again at a viewer that is stuck */

int64_t keeper_now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_BOOTTIME, &ts);
    return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

void keeper_stop(struct keeper *k, int signal, uint32_t patience_ms)
{
    k->stop_wanted = true;
    (void)fault_step("keeper.stop.heard");
    if (k->phase == KEEPER_RESTARTING) {
        k->phase = KEEPER_ENDED;
        keeper_write_status(k);
        return;
    }
    keeper_write_status(k);
    (void)fault_step("keeper.stop.written");
    (void)syscall(SYS_pidfd_send_signal, k->pidfd, signal, NULL, 0);
    (void)fault_step("keeper.stop.signalled");
    k->kill_at_ms = keeper_now_ms() + patience_ms;
}

/* Copy what one stream has ready; false when it is empty or over. */
static bool pump(struct keeper *k, struct keeper_stream *s)
{
    char buf[KEEPER_PACKET_BYTES];
    ssize_t n = s->fd >= 0 ? read(s->fd, buf, sizeof buf) : 0;

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (n <= 0) { /* also EIO: the last user of the terminal closed it */
        if (s->fd >= 0 && s->fd != k->c.master) {
            (void)close(s->fd);
        }
        s->fd = -1;
        keeper_log_flush(k, s);
        return false;
    }
    keeper_log_bytes(k, s, buf, (size_t)n);
    keeper_viewers_send(k, s->type, buf, (size_t)n);
    return true;
}

static void reap_guest(struct keeper *k)
{
    int status = 0;

    if (waitpid(k->c.pid, &status, WNOHANG) != k->c.pid) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        while (pump(k, &k->streams[i])) {
        }
        keeper_log_flush(k, &k->streams[i]);
    }
    keeper_guest_ended(k, status);
}

/* Milliseconds until the next thing is due by time, or -1. */
static int next_wait(const struct keeper *k, int64_t now)
{
    int64_t due[4] = {k->kill_at_ms, k->health_at_ms, k->end_at_ms,
                      k->phase == KEEPER_RESTARTING ? k->restart_at_ms : 0};
    int64_t best = -1;

    for (int i = 0; i < 4; i++) {
        if (due[i] != 0 && (best < 0 || due[i] < best)) {
            best = due[i];
        }
    }
    return best < 0 ? -1 : best <= now ? 0 : (int)(best - now);
}

static void do_what_is_due(struct keeper *k)
{
    int64_t now = keeper_now_ms();

    if (k->kill_at_ms != 0 && now >= k->kill_at_ms) {
        (void)syscall(SYS_pidfd_send_signal, k->pidfd, SIGKILL, NULL, 0);
        (void)fault_step("keeper.stop.killed");
        k->kill_at_ms = 0;
    }
    if (k->end_at_ms != 0 && now >= k->end_at_ms) {
        k->end_at_ms = 0;
        keeper_stop(k, SIGTERM, END_PATIENCE_MS);
    }
    if (k->health_at_ms != 0 && now >= k->health_at_ms) {
        keeper_health_due(k, now);
    }
    if (k->phase == KEEPER_RESTARTING && now >= k->restart_at_ms) {
        keeper_restart_now(k);
    }
}

enum {
    SLOT_PID,
    SLOT_OUT,
    SLOT_ERR,
    SLOT_IN,
    SLOT_CONTROL,
    SLOT_HEALTH,
    SLOT_VIEWERS
};

#define SLOTS (SLOT_VIEWERS + KEEPER_VIEWERS_MAX)

static void fill(const struct keeper *k, bool stuck, struct pollfd p[SLOTS])
{
    bool runs = k->phase == KEEPER_RUNNING;
    bool held = k->input_at < k->input_len;

    p[SLOT_PID] = (struct pollfd){.fd = runs ? k->pidfd : -1, .events = POLLIN};
    p[SLOT_OUT] = (struct pollfd){.fd = stuck ? -1 : k->streams[0].fd, .events = POLLIN};
    p[SLOT_ERR] = (struct pollfd){.fd = stuck ? -1 : k->streams[1].fd, .events = POLLIN};
    p[SLOT_IN] = (struct pollfd){.fd = held ? k->c.input : -1, .events = POLLOUT};
    p[SLOT_CONTROL] = (struct pollfd){.fd = k->c.control, .events = POLLIN};
    p[SLOT_HEALTH] = (struct pollfd){.fd = k->health_pidfd, .events = POLLIN};
    for (int i = 0; i < KEEPER_VIEWERS_MAX; i++) {
        p[SLOT_VIEWERS + i] =
            (struct pollfd){.fd = held ? -1 : k->viewers[i].fd, .events = POLLIN};
    }
}

/* What of the program is never written. */
struct text_range {
    uintptr_t from[4], end[4];
    int n;
};

static int find_text(struct dl_phdr_info *info, size_t size, void *arg)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct text_range *t = arg;

    (void)size;
    for (int i = 0; i < info->dlpi_phnum && t->n < 4; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];

        if (h->p_type == PT_LOAD && (h->p_flags & PF_W) == 0) {
            t->from[t->n] = (info->dlpi_addr + h->p_vaddr) & ~(page - 1);
            t->end[t->n++] = info->dlpi_addr + h->p_vaddr + h->p_filesz;
        }
    }
    return 1; /* the program itself, no library */
}

/* Pages that only the start needed; they come back when touched. */
static void give_back(void)
{
    struct text_range t = {.n = 0};

    (void)dl_iterate_phdr(find_text, &t);
    for (int i = 0; i < t.n; i++) {
        (void)madvise((void *)t.from[i], t.end[i] - t.from[i], MADV_DONTNEED);
    }
}

static void one_round(struct keeper *k)
{
    struct pollfd p[SLOTS];
    bool stuck = keeper_viewers_stuck(k);
    int wait = next_wait(k, keeper_now_ms());
    bool may_rest;
    int n;

    fill(k, stuck, p);
    if (stuck && (wait < 0 || wait > CATCH_UP_MS)) {
        wait = CATCH_UP_MS;
    }
    may_rest = !k->rested && (wait < 0 || wait > REST_MS);
    n = poll(p, SLOTS, may_rest ? REST_MS : wait);
    if (n < 0) {
        return;
    }
    if (n == 0 && may_rest) {
        give_back();
        k->rested = true;
        return;
    }
    k->rested = k->rested && n == 0;
    for (int i = 0; i < 2; i++) {
        if (p[SLOT_OUT + i].revents != 0) {
            (void)pump(k, &k->streams[i]);
        }
    }
    if (p[SLOT_PID].revents != 0) {
        reap_guest(k);
    }
    if (p[SLOT_IN].revents != 0) {
        keeper_input_push(k);
    }
    if (p[SLOT_HEALTH].revents != 0 && k->health_pid != 0) {
        keeper_health_ended(k);
    }
    for (int i = 0; i < KEEPER_VIEWERS_MAX; i++) {
        if (p[SLOT_VIEWERS + i].revents != 0 && k->input_len == 0) {
            keeper_viewer_read(k, &k->viewers[i]);
        }
    }
    if (p[SLOT_CONTROL].revents != 0) {
        keeper_viewer_accept(k);
    }
    do_what_is_due(k);
}

static void set_flags(int fd)
{
    if (fd >= 0) {
        (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
}

static void set_cloexec(int fd)
{
    if (fd >= 0) {
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
}

static void begin(struct keeper *k, const struct keeper_config *c)
{
    struct timespec ts;
    struct stat st;

    memset(k, 0, sizeof *k);
    k->c = *c;
    k->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
    k->streams[0] = (struct keeper_stream){.fd = c->master >= 0 ? c->master : c->output,
                                           .type = KEEPER_OUT,
                                           .name = "stdout"};
    k->streams[1] =
        (struct keeper_stream){.fd = c->error, .type = KEEPER_ERR, .name = "stderr"};
    if (c->master >= 0) {
        k->c.input = c->master;
    }
    set_flags(k->c.input);
    set_flags(k->streams[0].fd);
    set_flags(k->streams[1].fd);
    set_flags(k->c.control);
    set_cloexec(k->c.status);
    set_cloexec(k->c.log);
    set_cloexec(k->c.log_dir);
    set_cloexec(k->c.lock);
    set_cloexec(k->c.events);
    set_cloexec(k->c.events_dir);
    if (c->log >= 0 && fstat(c->log, &st) == 0) {
        k->log_size = (uint64_t)st.st_size;
    }
    k->started_ms = keeper_now_ms();
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    units_print_time(ts.tv_sec * 1000000000LL + ts.tv_nsec, k->started_text);
    k->end_at_ms = c->run_ms != 0 ? k->started_ms + (int64_t)c->run_ms : 0;
    keeper_viewers_init(k);
    keeper_health_init(k);
}

int keeper_run(const struct keeper_config *c)
{
    struct keeper k;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)fault_step("keeper.executed");
    begin(&k, c);
    (void)fault_step("keeper.begun");
    keeper_write_status(&k);
    (void)fault_step("keeper.status.written");
    while (k.phase != KEEPER_ENDED) {
        one_round(&k);
    }
    return keeper_finish(&k);
}
