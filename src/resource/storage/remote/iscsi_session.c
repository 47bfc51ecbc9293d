/* iscsi_session.c - a session with an iSCSI target that is mended when it breaks.
 *
 * libiscsi's handle belongs to the loop: its descriptor is watched for what it wants.  A
 * command is a strand that waits; what is begun in one turn of the loop is sent at its
 * end, in one go.  libiscsi's callbacks only put the command on a list; `pump` resumes
 * those strands when the call of libiscsi has returned.
 *
 * When the connection is lost the handle goes, every command under way is told so, and
 * one strand connects again and again.  Commands wait for it and are done again.  That is
 * safe because each connection names itself with the same ISID: the target ends the old
 * session with all of its tasks before it begins the new one (RFC 7143, 6.3.5), so that
 * no write of the old one comes late.  libiscsi would mend a connection by itself, but
 * without an end, without asking whether the unit is still the same, and under the same
 * descriptor number, which a loop does not notice.
 *
 * A target that says nothing while commands wait is asked (NOP-Out), and counts as lost
 * after `SILENCE_S`.
 *
 * Limit: a target that loses its own cache (its power went, rather than the network) loses
 * what was written and not flushed, and no initiator is told so reliably. */
#include "resource/storage/remote/iscsi_private.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "host/loop/file_io.h"
#include "resource/storage/remote/library.h"

#define SECOND_NS       1000000000ull
#define SILENCE_S       15
#define CONNECT_NS      (15 * SECOND_NS) /* one attempt, with the login */
#define LOGOUT_NS       (2 * SECOND_NS)
#define PAUSE_NS        (SECOND_NS / 10) /* between two attempts, at first */
#define PATIENCE_S      60
#define LOST_MOST       64 /* connections that a command may see go ... */
#define LOST_ALONE_MOST 8  /* ... with nobody else to blame */
#define AGAIN_MOST      32 /* times that a target may be busy */
#define REDIRECTS_MOST  4
#define ISID_QUALIFIER  1
#define RECONNECT_STATE 1 /* libiscsi: 1 means that it does not */

/* What an attempt comes to beside 0 and -errno. */
enum {
    AGAIN = 1,
    LATER,
    LOST
};

/* ---- completions ---- */

static void finish(struct remote_command *c, int status)
{
    struct remote_session *s = c->session;

    if (c->previous != NULL) {
        c->previous->next = c->next;
    } else {
        s->under_way = c->next;
    }
    if (c->next != NULL) {
        c->next->previous = c->previous;
    } else {
        s->under_way_last = c->previous;
    }
    c->status = status;
    c->done = true;
    c->next = NULL;
    if (s->done_first == NULL) {
        s->done_first = c;
    } else {
        s->done_last->next = c;
    }
    s->done_last = c;
}

void remote_session_done(struct iscsi_context *handle, int status, void *data, void *arg)
{
    struct remote_command *c = arg;

    (void)handle;
    (void)data;
    if (status == SCSI_STATUS_CANCELLED || status == SCSI_STATUS_ERROR ||
        status == SCSI_STATUS_TIMEOUT) {
        c->session->lost = true; /* `lose` tells everyone, in their order */
    } else {
        finish(c, status);
    }
}

/* Called once more when the connection goes: then nobody waits for it. */
static void socket_done(struct iscsi_context *handle, int status, void *data, void *arg)
{
    struct remote_session *s = arg;
    struct remote_command *c = s->connecting;

    s->connecting = NULL;
    if (c != NULL) {
        remote_session_done(handle, status, data, c);
    }
}

static void nop_done(struct iscsi_context *handle, int status, void *data, void *arg)
{
    (void)handle;
    (void)status;
    (void)data;
    (void)arg;
}

/* Go on with the strands whose commands are done: the last thing that a handler does, as
 * one of them may end the session. */
static void pump(struct remote_session *s)
{
    struct remote_command *list = s->done_first;

    s->done_first = NULL;
    s->done_last = NULL;
    while (list != NULL) {
        struct remote_command *c = list;

        list = c->next;
        strand_resume(c->waiter);
    }
}

/* ---- one connection ---- */

static void mend(void *arg);

/* Give the connection up; whoever waits for it is told.  As `pump`. */
static void lose(struct remote_session *s)
{
    struct iscsi_context *handle = s->handle;

    s->lost = true;
    s->probing = s->ever;
    if (s->state == REMOTE_SESSION_UP) {
        s->state = REMOTE_SESSION_DOWN;
    }
    if (handle != NULL) {
        loop_unwatch(&s->watch);
        (void)strncpy(s->why, s->call.iscsi_get_error(handle), sizeof s->why - 1);
        s->handle = NULL;
        (void)s->call.iscsi_destroy_context(
            handle); /* ends its commands by their callbacks */
    }
    s->connecting = NULL;
    while (s->under_way != NULL) {
        finish(s->under_way, SCSI_STATUS_CANCELLED);
    }
    if (s->ever && !s->mending && !s->closing && s->state == REMOTE_SESSION_DOWN) {
        s->mending = true;
        if (strand_start(s->strands, mend, s) != 0) {
            s->mending = false;
            s->state = REMOTE_SESSION_DEAD;
        }
    }
    pump(s);
}

/* Whether nobody is at the other end, which libiscsi does not look for while no command
 * is under way. */
static bool is_over(const struct remote_session *s, uint32_t events)
{
    char byte;

    if (s->lost || (events & (EPOLLHUP | EPOLLERR)) != 0) {
        return true;
    }
    return s->under_way == NULL && (events & EPOLLIN) != 0 &&
           recv(s->watch.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Let libiscsi read and write what it can. */
static void serve(struct remote_session *s, uint32_t events)
{
    if (s->call.iscsi_service(s->handle, (int)events) != 0 || is_over(s, events)) {
        lose(s);
        return;
    }
    (void)loop_watch_change(&s->watch, (uint32_t)s->call.iscsi_which_events(s->handle));
    pump(s);
}

static void came(struct loop_watch *w, uint32_t events)
{
    struct remote_session *s =
        (struct remote_session *)((char *)w - offsetof(struct remote_session, watch));

    s->heard_ns = loop_now_ns(s->loop);
    serve(s, events);
}

static void push(struct loop_task *t)
{
    struct remote_session *s =
        (struct remote_session *)((char *)t - offsetof(struct remote_session, push));

    if (s->handle != NULL && s->watch.loop != NULL) {
        serve(s, s->call.iscsi_is_logged_in(s->handle) ? EPOLLOUT : 0);
    }
}

static void ticked(struct loop_timer *t)
{
    struct remote_session *s =
        (struct remote_session *)((char *)t - offsetof(struct remote_session, tick));
    uint64_t quiet_ns = loop_now_ns(s->loop) - s->heard_ns;
    uint64_t silence_ns = s->options.silence_seconds * SECOND_NS;

    if (s->under_way == NULL || s->handle == NULL) {
        return;
    }
    if (quiet_ns >= silence_ns) {
        lose(s);
        return;
    }
    if (quiet_ns >= silence_ns / 3 && s->call.iscsi_is_logged_in(s->handle)) {
        (void)s->call.iscsi_nop_out_async(s->handle, nop_done, NULL, 0, NULL);
        loop_later(s->loop, &s->push);
    }
    loop_timer_set(s->loop, &s->tick, SECOND_NS);
}

/* Wait for a command that libiscsi has. */
static void wait_for(struct remote_session *s, struct remote_command *c)
{
    c->next = NULL;
    c->previous = s->under_way_last;
    if (c->previous != NULL) {
        c->previous->next = c;
    } else {
        s->under_way = c;
        s->heard_ns = loop_now_ns(s->loop);
        if (!s->tick.set) {
            loop_timer_set(s->loop, &s->tick, SECOND_NS);
        }
    }
    s->under_way_last = c;
    c->session = s;
    c->done = false;
    c->waiter = strand_current(s->strands);
    loop_later(s->loop, &s->push);
    strand_suspend(s->strands);
}

/* ---- one command ---- */

static int code_of_sense(const struct scsi_sense *x)
{
    switch ((int)x->key) {
    case SCSI_SENSE_NO_SENSE:
    case SCSI_SENSE_RECOVERED_ERROR:
        return 0;
    case SCSI_SENSE_UNIT_ATTENTION:
    case SCSI_SENSE_COMMAND_ABORTED:
        return AGAIN;
    case SCSI_SENSE_NOT_READY:
        return LATER;
    case SCSI_SENSE_DATA_PROTECTION: /* SPC-4, table 44: 27h 07h, no room */
        return x->ascq == 0x2707 ? -ENOSPC : -EROFS;
    case SCSI_SENSE_ILLEGAL_REQUEST:
        if (x->ascq == SCSI_SENSE_ASCQ_LOGICAL_UNIT_NOT_SUPPORTED) {
            return -ENODEV;
        }
        return x->ascq == SCSI_SENSE_ASCQ_LBA_OUT_OF_RANGE ? -ERANGE : -EOPNOTSUPP;
    default:
        return -EIO;
    }
}

static int code_of(const struct remote_command *c)
{
    switch (c->status) {
    case SCSI_STATUS_GOOD:
    case SCSI_STATUS_CONDITION_MET:
        return 0;
    case SCSI_STATUS_CHECK_CONDITION:
        return c->task != NULL ? code_of_sense(&c->task->sense) : -EIO;
    case SCSI_STATUS_TASK_ABORTED:
        return AGAIN;
    case SCSI_STATUS_BUSY:
    case SCSI_STATUS_TASK_SET_FULL:
        return LATER;
    case SCSI_STATUS_CANCELLED:
    case SCSI_STATUS_ERROR:
    case SCSI_STATUS_TIMEOUT:
        return LOST;
    default: /* reserved by another, among others */
        return -EIO;
    }
}

static int attempt(struct remote_session *s, struct remote_command *c)
{
    int r;

    if (s->handle == NULL || s->lost) {
        return LOST;
    }
    c->session = s;
    c->task = c->begin(s, c);
    if (c->task == NULL) {
        return s->call.iscsi_is_logged_in(s->handle) ? -ENOMEM : LOST;
    }
    wait_for(s, c);
    r = code_of(c);
    if (r == 0 && c->take != NULL) {
        r = c->take(c);
    }
    s->call.scsi_free_scsi_task(c->task);
    c->task = NULL;
    return r;
}

/* Wait for a connection; on a new one, for an answer to the first command.  That goes
 * alone so that each connection brings at least one command further, and that one which
 * breaks connections is found. */
static int wait_until_up(struct remote_session *s)
{
    while (s->state == REMOTE_SESSION_DOWN ||
           (s->state == REMOTE_SESSION_UP && s->probing && s->under_way != NULL)) {
        if (s->patience_ns == 0 && s->state == REMOTE_SESSION_DOWN) {
            s->patience_ns =
                loop_now_ns(s->loop) + s->options.patience_seconds * SECOND_NS;
        }
        strand_wait(s->strands, &s->waiting);
    }
    return s->state == REMOTE_SESSION_UP ? 0 : -ENODEV;
}

/* As often as a target may be busy: 1 ms first, then twice as long up to a second. */
static void rest(struct remote_session *s, unsigned busy)
{
    loop_sleep(s->loop, SECOND_NS / 1000 << (busy < 10 ? busy : 10));
}

int remote_session_try(struct remote_session *s, struct remote_command *c)
{
    unsigned busy = 0;
    int r;

    do {
        r = attempt(s, c);
        if (r == LATER) {
            rest(s, busy);
        }
    } while ((r == AGAIN || r == LATER) && ++busy < AGAIN_MOST);
    return r == LOST ? -ECONNRESET : r > 0 ? -EIO : r;
}

int remote_session_run(struct remote_session *s, struct remote_command *c)
{
    unsigned lost = 0;
    int r;

    do {
        bool alone;

        r = wait_until_up(s);
        if (r != 0) {
            break;
        }
        alone = s->probing;
        r = remote_session_try(s, c);
        if (r == -ECONNRESET) {
            lost += alone ? LOST_MOST / LOST_ALONE_MOST : 1;
        } else if (s->probing) {
            s->probing = false;
            (void)strand_wake_all(&s->waiting);
        }
    } while (r == -ECONNRESET && lost < LOST_MOST);
    return r == -ECONNRESET ? -EIO : r;
}

/* ---- connecting ---- */

struct dialling {
    struct remote_session *session;
    const char *portal;
};

/* On another thread, as it looks a name up; nobody else has the handle yet. */
static int dial(void *arg)
{
    struct dialling *x = arg;

    return x->session->call.iscsi_connect_async(x->session->handle, x->portal,
                                                socket_done, x->session);
}

static int make_handle(struct remote_session *s)
{
    const struct remote_iscsi_options *o = &s->options;
    struct iscsi_context *h = s->call.iscsi_create_context(o->initiator);

    if (h == NULL) {
        return -ENOMEM;
    }
    s->handle = h;
    s->lost = false;
    s->call.iscsi_set_noautoreconnect(h, RECONNECT_STATE);
    if (s->call.iscsi_set_targetname(h, s->url.target) != 0 ||
        s->call.iscsi_set_session_type(h, ISCSI_SESSION_NORMAL) != 0 ||
        s->call.iscsi_set_header_digest(h, ISCSI_HEADER_DIGEST_NONE_CRC32C) != 0 ||
        s->call.iscsi_set_isid_random(h, s->name, ISID_QUALIFIER) != 0 ||
        (o->user != NULL &&
         s->call.iscsi_set_initiator_username_pwd(h, o->user, o->secret) != 0) ||
        (o->target_user != NULL && s->call.iscsi_set_target_username_pwd(
                                       h, o->target_user, o->target_secret) != 0)) {
        return -EINVAL;
    }
    return 0;
}

/* Keep where the other end is: a process that was confined cannot look names up. */
static void note_address(struct remote_session *s)
{
    struct sockaddr_storage a;
    socklen_t size = sizeof a;
    char host[48];
    char port[8];

    s->address[0] = '\0';
    if (getpeername(s->watch.fd, (struct sockaddr *)&a, &size) == 0 &&
        getnameinfo((struct sockaddr *)&a, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        (void)snprintf(s->address, sizeof s->address,
                       a.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    }
}

/* Where the target sent us; where it was; and where its name says, in turns. */
static const char *portal_of(struct remote_session *s)
{
    if (s->redirect[0] != '\0') {
        return s->redirect;
    }
    s->by_name = !s->by_name || s->address[0] == '\0';
    return s->by_name ? s->url.portal : s->address;
}

/* A socket that is connected, or LOST. */
static int connect_socket(struct remote_session *s)
{
    struct remote_command c = {0};
    struct dialling x = {s, portal_of(s)};
    int r;

    s->connecting = &c;
    c.session = s;
    r = file_io_call(s->loop, dial, &x);
    if (r != 0 || s->closing) {
        s->connecting = NULL;
        return LOST;
    }
    s->watch = (struct loop_watch){
        .fd = s->call.iscsi_get_fd(s->handle), .events = EPOLLOUT, .fn = came};
    r = loop_watch(s->loop, &s->watch);
    if (r != 0) {
        s->connecting = NULL;
        return r;
    }
    wait_for(s, &c);
    return code_of(&c);
}

/* `s->redirect` is set where the target has moved. */
static int log_in(struct remote_session *s)
{
    struct remote_command c = {.session = s};
    const char *address;

    if (s->handle == NULL || s->lost ||
        s->call.iscsi_login_async(s->handle, remote_session_done, &c) != 0) {
        return LOST;
    }
    wait_for(s, &c);
    if (c.status == SCSI_STATUS_REDIRECT && s->handle != NULL) {
        address = s->call.iscsi_get_target_address(s->handle);
        (void)strncpy(s->redirect, address != NULL ? address : "",
                      sizeof s->redirect - 1);
    }
    return code_of(&c);
}

static void alarmed(struct loop_timer *t)
{
    lose((struct remote_session *)((char *)t - offsetof(struct remote_session, alarm)));
}

static int connect_at(struct remote_session *s, struct err *e)
{
    int r = make_handle(s);

    if (r == 0) {
        s->alarm.fn = alarmed;
        loop_timer_set(s->loop, &s->alarm, CONNECT_NS);
        r = connect_socket(s);
        if (r == 0 && s->redirect[0] == '\0') {
            note_address(s);
        }
        r = r == 0 ? log_in(s) : r;
        r = r == 0 ? s->greet(s, e) : r;
        loop_timer_clear(s->loop, &s->alarm);
    }
    if (r != 0 && s->handle != NULL) {
        lose(s);
    }
    return r == LOST ? -ECONNREFUSED : r;
}

static int connect_now(struct remote_session *s, struct err *e)
{
    unsigned turns = 0;
    int r;

    s->redirect[0] = '\0';
    do {
        char before[sizeof s->redirect];

        (void)strcpy(before, s->redirect);
        r = connect_at(s, e);
        if (r == 0 || strcmp(before, s->redirect) == 0) {
            break;
        }
    } while (++turns < REDIRECTS_MOST && !s->closing);
    return r;
}

/* The strand that connects again. */
static void mend(void *arg)
{
    struct remote_session *s = arg;
    uint64_t pause_ns = PAUSE_NS;

    while (!s->closing && s->state == REMOTE_SESSION_DOWN) {
        int r = connect_now(s, NULL);

        if (r == 0 && !s->lost) {
            s->state = REMOTE_SESSION_UP;
            break;
        }
        if (r == -ESTALE ||
            (s->patience_ns != 0 && loop_now_ns(s->loop) >= s->patience_ns)) {
            s->state = REMOTE_SESSION_DEAD;
            break;
        }
        for (uint64_t slept = 0; slept < pause_ns && !s->closing; slept += PAUSE_NS) {
            loop_sleep(s->loop, PAUSE_NS);
        }
        pause_ns = pause_ns < SECOND_NS ? 2 * pause_ns : SECOND_NS;
    }
    s->patience_ns = 0;
    s->mending = false;
    (void)strand_wake_all(s->closing ? &s->ending : &s->waiting);
}

/* ---- life ---- */

/* libiscsi cuts off what is longer than its room. */
static int copy_text(const char **ret, const char *text, bool needed)
{
    if (text == NULL || text[0] == '\0') {
        return needed ? -EINVAL : 0;
    }
    if (strlen(text) > MAX_STRING_SIZE) {
        return -ENAMETOOLONG;
    }
    *ret = fault_strdup(text);
    return *ret != NULL ? 0 : -ENOMEM;
}

static void forget_text(const char *text)
{
    if (text != NULL) {
        explicit_bzero((char *)(uintptr_t)text, strlen(text));
        free((char *)(uintptr_t)text);
    }
}

static int copy_options(struct remote_session *s, const struct remote_iscsi_options *o)
{
    struct utsname host;
    char name[128];
    int r;

    (void)uname(&host);
    (void)strcpy(name, "iqn.2024-01.org.strata:");
    (void)strncat(name, host.nodename, sizeof name - strlen(name) - 1);
    s->options.silence_seconds = o->silence_seconds != 0 ? o->silence_seconds : SILENCE_S;
    s->options.read_only = o->read_only;
    s->options.patience_seconds =
        o->patience_seconds != 0 ? o->patience_seconds : PATIENCE_S;
    r = copy_text(&s->options.url, o->url, true);
    r = r != 0 ? r
               : copy_text(&s->options.initiator,
                           o->initiator != NULL ? o->initiator : name, true);
    r = r != 0 ? r : copy_text(&s->options.user, o->user, false);
    r = r != 0 ? r : copy_text(&s->options.secret, o->secret, o->user != NULL);
    r = r != 0 ? r : copy_text(&s->options.target_user, o->target_user, false);
    return r != 0 ? r
                  : copy_text(&s->options.target_secret, o->target_secret,
                              o->target_user != NULL);
}

static int parse_url(struct remote_session *s, struct err *e)
{
    struct iscsi_context *h = s->call.iscsi_create_context(s->options.initiator);
    struct iscsi_url *url;
    int r = 0;

    if (h == NULL) {
        return err_sys(e, -ENOMEM, "cannot connect to '%s'", s->label);
    }
    url = s->call.iscsi_parse_full_url(h, s->options.url);
    if (url == NULL) {
        r = err_set(e, -EINVAL,
                    "cannot connect to '%s': not iscsi://HOST[:PORT]/TARGET/LUN",
                    s->label);
    } else {
        s->url = *url;
        s->url.iscsi = NULL;
        s->call.iscsi_destroy_url(url);
    }
    if (r == 0 && s->url.user[0] != '\0' && s->options.user == NULL) {
        r = copy_text(&s->options.user, s->url.user, true);
        r = r != 0 ? r : copy_text(&s->options.secret, s->url.passwd, true);
    }
    (void)s->call.iscsi_destroy_context(h);
    return r;
}

static int load(struct remote_session *s, struct err *e)
{
    static const char *const names[] = {
#define CALL(name) #name,
#include "resource/storage/remote/iscsi.rows.h"
#undef CALL
    };

    return remote_library_load("libiscsi.so.7", names, sizeof names / sizeof names[0],
                               &s->call, e);
}

int remote_session_start(struct remote_session *s, const struct remote_iscsi_options *o,
                         struct err *e)
{
    int r = copy_options(s, o);

    s->push.fn = push;
    s->tick.fn = ticked;
    s->strands = loop_strands(s->loop);
    if (r != 0) {
        return err_sys(e, r, "cannot connect to '%s'", s->label);
    }
    if (getrandom(&s->name, sizeof s->name, 0) != sizeof s->name) {
        return err_sys(e, -EIO, "cannot connect to '%s'", s->label);
    }
    r = load(s, e);
    r = r != 0 ? r : parse_url(s, e);
    if (r != 0) {
        return r;
    }
    r = connect_now(s, e);
    if (r != 0) {
        return err_set(e, r, "cannot connect to '%s': %s", s->label,
                       s->why[0] != '\0' ? s->why : strerror(-r));
    }
    s->ever = true;
    s->state = REMOTE_SESSION_UP;
    return 0;
}

static void log_out(struct remote_session *s)
{
    struct remote_command c = {.session = s};

    if (s->call.iscsi_logout_async(s->handle, remote_session_done, &c) == 0) {
        s->alarm.fn = alarmed;
        loop_timer_set(s->loop, &s->alarm, LOGOUT_NS);
        wait_for(s, &c);
        loop_timer_clear(s->loop, &s->alarm);
    }
}

void remote_session_stop(struct remote_session *s)
{
    s->closing = true;
    if (s->state == REMOTE_SESSION_UP && s->handle != NULL && !s->lost) {
        log_out(s);
    }
    while (s->handle != NULL || s->mending) {
        lose(s);
        if (s->mending) {
            strand_wait(s->strands, &s->ending);
        }
    }
    loop_timer_clear(s->loop, &s->tick);
    while (s->push.queued) {
        loop_sleep(s->loop, 1);
    }
    forget_text(s->options.url);
    forget_text(s->options.initiator);
    forget_text(s->options.user);
    forget_text(s->options.secret);
    forget_text(s->options.target_user);
    forget_text(s->options.target_secret);
}
