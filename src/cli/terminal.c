/* terminal.c - this terminal joined to a guest.
 *
 * One poll loop over input, guest and signals.  At most one piece of input waits
 * for the guest; while it waits no more is read, and output goes on: a guest that
 * echoes cannot block against us.  The terminal is put back on every way out. */
#include "cli/terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/scope.h"
#include "host/file.h"
#include "node/keeper/keeper.h"

struct join {
    const struct terminal *t;
    int guest; /* socket of a keeper, or master of a terminal */
    bool packets;
    int pidfd; /* of the program, or -1 */
    int signals;
    sigset_t old_mask;
    struct termios old_mode;
    bool mode_changed;
    bool input_ended;
    size_t keys_seen;     /* of the detach sequence */
    size_t held_at, held; /* input in `packet` that the guest has not taken */
    unsigned char packet[1 + KEEPER_PACKET_BYTES];
    bool done;
    int code;
};

/* "ctrl-p" or one character; -1 else. */
static int parse_key(const char *text, size_t len)
{
    if (len == 1) {
        return (unsigned char)*text;
    }
    if (len == 6 && strncmp(text, "ctrl-", 5) == 0) {
        char c = text[5];
        if (c >= 'a' && c <= 'z') {
            return c - 'a' + 1;
        }
        if (c >= '@' && c <= '_') {
            return c - '@';
        }
    }
    return -1;
}

int terminal_parse_keys(const char *text, struct terminal *t, struct err *e)
{
    const char *at = text;
    t->n_keys = 0;
    while (*at != 0) {
        size_t len = strcspn(at, ",");
        int key = parse_key(at, len);
        if (key < 0 || t->n_keys == TERMINAL_KEYS_MOST) {
            return err_set(
                e, -EINVAL,
                "cannot use detach keys '%s': at most %d of ctrl-a ... ctrl-z or "
                "single characters, with commas between",
                text, TERMINAL_KEYS_MOST);
        }
        t->keys[t->n_keys++] = (unsigned char)key;
        at += len;
        at += *at == ',';
    }
    return 0;
}

static int open_signals(struct join *j, struct err *e)
{
    static const int ours[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGWINCH);
    for (size_t i = 0; j->t->on_signal != NULL && i < sizeof ours / sizeof *ours; i++) {
        (void)sigaddset(&set, ours[i]);
    }
    j->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (j->signals < 0) {
        return err_sys(e, -errno, "cannot watch for signals");
    }
    (void)sigprocmask(SIG_BLOCK, &set, &j->old_mask);
    return 0;
}

static void set_raw(struct join *j)
{
    struct termios raw;
    if (!j->t->raw || !j->t->input || tcgetattr(j->t->in, &j->old_mode) < 0) {
        return;
    }
    raw = j->old_mode;
    cfmakeraw(&raw);
    j->mode_changed = tcsetattr(j->t->in, TCSADRAIN, &raw) == 0;
}

static void put_back(struct join *j)
{
    if (j->mode_changed) {
        (void)tcsetattr(j->t->in, TCSADRAIN, &j->old_mode);
    }
    if (j->signals >= 0) {
        (void)sigprocmask(SIG_SETMASK, &j->old_mask, NULL);
        (void)close(j->signals);
    }
}

static void send_size(struct join *j)
{
    struct winsize size;
    if (!j->t->raw || ioctl(j->t->out, TIOCGWINSZ, &size) < 0) {
        return;
    }
    if (!j->packets) {
        (void)ioctl(j->guest, TIOCSWINSZ, &size);
        return;
    }
    unsigned char p[] = {KEEPER_RESIZE, (unsigned char)(size.ws_row & 0xff),
                         (unsigned char)(size.ws_row >> 8),
                         (unsigned char)(size.ws_col & 0xff),
                         (unsigned char)(size.ws_col >> 8)};
    (void)send(j->guest, p, sizeof p, MSG_NOSIGNAL);
}

/* Offer the held input; what is not taken stays. */
static void push_input(struct join *j)
{
    ssize_t n;
    if (j->packets) {
        n = send(j->guest, j->packet, 1 + j->held, MSG_DONTWAIT | MSG_NOSIGNAL);
        n = n > 0 ? n - 1 : n;
    } else {
        n = write(j->guest, j->packet + 1 + j->held_at, j->held);
    }
    if (n < 0) {
        if (errno == EAGAIN || errno == EINTR) {
            return;
        }
        j->held = 0; /* the guest is gone; its end arrives by itself */
        j->input_ended = true;
        return;
    }
    j->held_at += (size_t)n;
    j->held -= (size_t)n;
}

static void end_input(struct join *j)
{
    static const unsigned char eof = KEEPER_EOF, end_of_file_key = 4; /* ctrl-d */
    j->input_ended = true;
    if (j->packets) {
        (void)send(j->guest, &eof, 1, MSG_NOSIGNAL);
    } else {
        (void)!write(j->guest, &end_of_file_key, 1);
    }
}

/* Look for the detach keys in `n` new bytes.  How many bytes may be passed on:
 * all, or those before the sequence that is complete now. */
static size_t find_keys(struct join *j, const unsigned char *bytes, size_t n)
{
    const struct terminal *t = j->t;
    for (size_t i = 0; i < n && t->n_keys > 0; i++) {
        if (bytes[i] == t->keys[j->keys_seen]) {
            j->keys_seen++;
        } else {
            j->keys_seen = bytes[i] == t->keys[0] ? 1 : 0;
        }
        if (j->keys_seen == t->n_keys) {
            j->done = true;
            j->code = TERMINAL_DETACHED;
            return i + 1 > t->n_keys ? i + 1 - t->n_keys : 0;
        }
    }
    return n;
}

static void read_input(struct join *j)
{
    ssize_t n = read(j->t->in, j->packet + 1, KEEPER_PACKET_BYTES);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        end_input(j);
        return;
    }
    j->packet[0] = KEEPER_INPUT;
    j->held_at = 0;
    j->held = j->t->raw ? find_keys(j, j->packet + 1, (size_t)n) : (size_t)n;
    if (j->held > 0) {
        push_input(j);
    }
}

static void take_packet(struct join *j, const unsigned char *p, size_t n)
{
    if (p[0] == KEEPER_OUT) {
        (void)file_write_all(j->t->out, p + 1, n - 1);
    } else if (p[0] == KEEPER_ERR) {
        (void)file_write_all(j->t->err, p + 1, n - 1);
    } else if (p[0] == KEEPER_EXIT && n >= 5) {
        j->done = true;
        j->code = (int)((uint32_t)p[1] | (uint32_t)p[2] << 8 | (uint32_t)p[3] << 16 |
                        (uint32_t)p[4] << 24);
    }
}

/* False when the guest's side has ended. */
static bool read_guest(struct join *j)
{
    unsigned char bytes[1 + KEEPER_PACKET_BYTES];
    ssize_t n = read(j->guest, bytes, sizeof bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (n <= 0) {
        return false;
    }
    if (j->packets) {
        take_packet(j, bytes, (size_t)n);
    } else {
        (void)file_write_all(j->t->out, bytes, (size_t)n);
    }
    return true;
}

static void read_signals(struct join *j)
{
    struct signalfd_siginfo s;
    while (read(j->signals, &s, sizeof s) == (ssize_t)sizeof s) {
        if (s.ssi_signo == SIGWINCH) {
            send_size(j);
        } else if (j->t->on_signal != NULL) {
            j->t->on_signal(j->t->arg, (int)s.ssi_signo);
        }
    }
}

/* One round; false when the guest's side has ended. */
static bool turn(struct join *j)
{
    bool want_input = j->t->input && !j->input_ended && j->held == 0;
    struct pollfd fds[] = {
        {j->guest, (short)(POLLIN | (j->held > 0 ? POLLOUT : 0)), 0},
        {j->signals, POLLIN, 0},
        {want_input ? j->t->in : -1, POLLIN, 0},
        {j->pidfd, POLLIN, 0},
    };
    if (poll(fds, sizeof fds / sizeof *fds, -1) < 0) {
        return errno == EINTR;
    }
    if (fds[1].revents != 0) {
        read_signals(j);
    }
    if ((fds[0].revents & POLLOUT) != 0) {
        push_input(j);
    }
    if (fds[2].revents != 0) {
        read_input(j);
    }
    if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        return read_guest(j);
    }
    return fds[3].revents == 0; /* it ended, and its output is drained */
}

int terminal_join_keeper(const struct terminal *t, int socket, int *ret_code,
                         struct err *e)
{
    struct join *j = calloc(1, sizeof *j);
    if (j == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    *j = (struct join){
        .t = t, .guest = socket, .packets = true, .pidfd = -1, .signals = -1};
    int r = open_signals(j, e);
    if (r == 0) {
        set_raw(j);
        send_size(j);
        while (!j->done && turn(j)) {
        }
        if (!j->done) {
            r = err_set(e, -EPIPE, "cannot follow the guest: its keeper is gone");
        }
        *ret_code = j->code;
    }
    put_back(j);
    free(j);
    return r;
}

int terminal_join_pty(const struct terminal *t, int master, int pidfd, struct err *e)
{
    struct join *j = calloc(1, sizeof *j);
    if (j == NULL) {
        return err_set(e, -ENOMEM, "out of memory");
    }
    *j = (struct join){.t = t, .guest = master, .pidfd = pidfd, .signals = -1};
    int r = open_signals(j, e);
    if (r == 0) {
        set_raw(j);
        send_size(j);
        while (!j->done && turn(j)) {
        }
    }
    put_back(j);
    free(j);
    return r;
}
