/* agent.c - the agent inside a guest: reached through the worker, asked for small things. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "base/str.h"
#include "virt/agent/frame/frame.h"
#include "virt/monitor/remote/private.h"

#define LINE_BYTES    64
#define STEP_MS       100
#define ANSWER_MS     5000
#define POWER_WAIT_MS 3000
#define CLOCK_WAIT_MS 3000
#define CLOCK_STEP_MS 1500
#define CLOCK_TRIES   4

#define FREEZE_WAIT_MS 3000
#define FREEZE_MS      10000 /* until what the guest holds back is on its disks */
#define SHORT_BYTES    4096

/* -ENOENT: the worker has no such socket; -ECONNREFUSED: it is gone. */
static int connect_to(const char *directory)
{
    SCOPED(scope_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    SCOPED(scope_close) int dir = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    (void)str_print(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d/" FAR_AGENT, dir);
    if (fd < 0 || dir < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) < 0) {
        return -errno;
    }
    return scope_take_fd(&fd);
}

static int read_byte(int fd, int wait_ms, char *ret)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int r = poll(&p, 1, wait_ms);

    if (r <= 0) {
        return r == 0 ? -ETIMEDOUT : -errno;
    }
    return read(fd, ret, 1) == 1 ? 0 : -ECONNRESET;
}

/* Ask the worker for the agent's port; -ECONNRESET: nobody listens there yet. */
static int greet(int fd, int wait_ms)
{
    char line[LINE_BYTES];
    size_t n = 0;
    int r;

    (void)str_print(line, sizeof line, "CONNECT %u\n", FRAME_PORT);
    if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0) {
        return -errno;
    }
    do {
        r = read_byte(fd, wait_ms, line + n);
    } while (r == 0 && line[n++] != '\n' && n < sizeof line);
    return r < 0 ? r : strncmp(line, "OK", 2) == 0 ? 0 : -EPROTO;
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

int far_agent_connect(const char *directory, int wait_ms, struct err *e)
{
    const struct timespec step = {.tv_nsec = STEP_MS * 1000000L};
    int64_t until = now_ms() + wait_ms;

    for (;;) {
        SCOPED(scope_close) int fd = connect_to(directory);
        int64_t left = until - now_ms();
        int r = fd < 0 ? fd : greet(fd, left > STEP_MS ? (int)left : STEP_MS);

        if (r == 0) {
            return scope_take_fd(&fd);
        }
        if (r == -ENOENT) {
            return err_set(e, -EOPNOTSUPP,
                           "it is a machine without an agent (one that is made from an "
                           "image has it)");
        }
        if (r == -ECONNREFUSED) {
            return err_set(e, -ESRCH, "the machine has ended");
        }
        if (now_ms() >= until) {
            return err_set(
                e, -ETIMEDOUT,
                "its agent does not answer: the guest has not come so far yet, "
                "or has stopped it");
        }
        (void)nanosleep(&step, NULL);
    }
}

/* The one frame that answers. */
static int read_answer(int fd, int wait_ms, uint8_t *bytes, size_t room,
                       struct frame *ret)
{
    size_t have = 0, used;
    int r;

    while ((r = frame_take(bytes, have, ret, &used)) == 0 && have < room) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n = poll(&p, 1, wait_ms) == 1 ? read(fd, bytes + have, room - have) : 0;

        if (n <= 0) {
            return -ETIMEDOUT;
        }
        have += (size_t)n;
    }
    return r == 1 ? 0 : -EPROTO;
}

/* A request that is answered by a number, which is given back. */
static int ask(int fd, int wait_ms, enum frame_type type, const void *what, size_t n)
{
    uint8_t bytes[FRAME_HEAD_BYTES + 4 + SHORT_BYTES];
    int32_t number = 0;
    struct frame f;
    int r;

    frame_put_head(bytes, type, (uint32_t)n);
    if (n > 0) {
        memcpy(bytes + FRAME_HEAD_BYTES, what, n);
    }
    if (send(fd, bytes, FRAME_HEAD_BYTES + n, MSG_NOSIGNAL) < 0) {
        return -errno;
    }
    r = read_answer(fd, wait_ms, bytes, sizeof bytes, &f);
    if (r == 0 && (f.type != FRAME_DONE || f.len < sizeof number)) {
        r = -EPROTO;
    }
    if (r == 0) {
        memcpy(&number, f.bytes, sizeof number);
        r = number;
    }
    return r;
}

int far_agent_power(const char *directory, int signal, struct err *e)
{
    SCOPED(scope_close) int fd = far_agent_connect(directory, POWER_WAIT_MS, e);
    const int32_t number = signal;
    int r = fd < 0 ? fd : ask(fd, ANSWER_MS, FRAME_POWER, &number, sizeof number);

    return r < 0 ? err_sys(e, r, "the agent does not end the guest") : 0;
}

int far_agent_freeze(const char *directory, int *ret_fd, struct err *e)
{
    SCOPED(scope_close) int fd = far_agent_connect(directory, FREEZE_WAIT_MS, e);
    int r = fd < 0 ? fd : ask(fd, FREEZE_MS, FRAME_FREEZE, NULL, 0);

    if (r == 0) {
        *ret_fd = scope_take_fd(&fd);
    }
    return r < 0 ? err_sys(e, r, "the agent cannot hold its file systems") : 0;
}

int far_agent_thaw(int take_fd, struct err *e)
{
    SCOPED(scope_close) int fd = take_fd;
    int r = ask(fd, ANSWER_MS, FRAME_THAW, NULL, 0);

    return r < 0 ? err_sys(e, r, "the agent did not hold its file systems to the end")
                 : 0;
}

static int set_clock(int fd, const char *nothing)
{
    struct timespec now;
    int64_t ns;

    (void)nothing;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    return ask(fd, CLOCK_STEP_MS, FRAME_SET_CLOCK, &ns, sizeof ns);
}

static int renew(int fd, const char *lines)
{
    return ask(fd, CLOCK_STEP_MS, FRAME_RENEW, lines, strlen(lines));
}

/* A guest that goes on drops its connections when it hears of that (VIRTIO 1.2, 5.10.6.7), which
 * may be after it took ours: then it says nothing. */
static int ask_anew(const char *directory, int (*step)(int fd, const char *text),
                    const char *text, struct err *e)
{
    int r = -ETIMEDOUT;

    for (int i = 0; i < CLOCK_TRIES && r == -ETIMEDOUT; i++) {
        SCOPED(scope_close) int fd = far_agent_connect(directory, CLOCK_WAIT_MS, e);

        if (fd < 0) {
            return fd;
        }
        r = step(fd, text);
    }
    return r;
}

int far_agent_set_clock(const char *directory, struct err *e)
{
    int r = ask_anew(directory, set_clock, NULL, e);

    return r < 0 ? err_sys(e, r, "the agent does not set the clock") : 0;
}

int far_agent_renew(const char *directory, const char *lines, struct err *e)
{
    int r =
        strlen(lines) > FRAME_RENEW_BYTES ? -E2BIG : ask_anew(directory, renew, lines, e);

    return r < 0 ? err_sys(e, r, "the agent does not make it another machine") : 0;
}
