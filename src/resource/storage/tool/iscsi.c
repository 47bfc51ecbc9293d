/* iscsi.c - serve a disk over iSCSI until a signal ends it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/sha256.h"
#include "host/loop/loop.h"
#include "resource/storage/iscsi/iscsi.h"
#include "resource/storage/tool/private.h"

#define BACKLOG      64
#define SECRETS_MOST 2048
#define PORTALS      2

static const char *const keys[] = {
    "file",   "fd",  "format",    "read-only", "direct", "driver", "portal", "portal-2",
    "target", "lun", "initiator", "serial",    "chap",   "keep",   NULL};

struct place;

struct service {
    struct request *r;
    struct iscsi_server *server;
    char secrets[SECRETS_MOST]; /* lines of the file that `chap` names */
    struct place *kept;         /* owned, two */
    uint64_t turn;
    int keep_fd;           /* owned; -1: none */
    int listener[PORTALS]; /* owned; -1: none */
};

/* A listening socket at HOST:PORT, the host being an address. */
static int listen_on(const char *portal, struct err *e)
{
    char host[INET6_ADDRSTRLEN + 2];
    const char *colon = strrchr(portal, ':');
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *a = NULL;
    SCOPED(scope_close) int fd = -1;
    int yes = 1;
    size_t n = colon != NULL ? (size_t)(colon - portal) : 0;
    size_t bracket = n > 2 && portal[0] == '[' ? 1 : 0;

    if (n == 0 || n >= sizeof host) {
        return err_set(e, -EINVAL, "cannot listen on '%s': not ADDRESS:PORT", portal);
    }
    (void)snprintf(host, sizeof host, "%.*s", (int)(n - 2 * bracket), portal + bracket);
    if (getaddrinfo(host, colon + 1, &hints, &a) != 0) {
        return err_set(e, -EINVAL, "cannot listen on '%s': not ADDRESS:PORT", portal);
    }
    fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int r = -errno;

        freeaddrinfo(a);
        return err_sys(e, r, "cannot listen on '%s'", portal);
    }
    freeaddrinfo(a);
    return scope_take_fd(&fd);
}

static const char *const portals[PORTALS] = {"portal", "portal-2"};

/* Listening sockets; -1 where no portal is named. */
static int open_portals(struct service *s)
{
    if (!request_has(s->r, portals[0])) {
        return err_set(s->r->e, -EINVAL, "no portal is named (portal=ADDRESS:PORT)");
    }
    for (unsigned i = 0; i < PORTALS; i++) {
        const char *portal = request_get(s->r, portals[i]);

        if (portal != NULL) {
            s->listener[i] = listen_on(portal, s->r->e);
            if (s->listener[i] < 0) {
                return s->listener[i];
            }
        }
    }
    return 0;
}

static int start_portals(struct service *s)
{
    int e = 0;

    for (unsigned i = 0; e == 0 && i < PORTALS; i++) {
        if (s->listener[i] >= 0) {
            e = iscsi_server_listen(s->server, scope_take_fd(&s->listener[i]),
                                    request_get(s->r, portals[i]), s->r->e);
        }
    }
    return e;
}

/* Up to `most` bytes of a file; 0 of one that is not there.  -errno. */
static ssize_t read_file(const char *path, char *to, size_t most)
{
    SCOPED(scope_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    n = read(fd, to, most);
    return n < 0 ? -errno : n;
}

/* Four lines: user, secret, and the target's own, which may be missing.  A file, because
 * words of a command are no secret on a host. */
static int load_secrets(struct service *s, struct iscsi_chap *ret)
{
    const char *path = request_get(s->r, "chap");
    const char **const places[] = {&ret->user, &ret->secret, &ret->own_user,
                                   &ret->own_secret};
    char *rest = s->secrets;
    ssize_t n;

    if (path == NULL) {
        return 0;
    }
    n = read_file(path, s->secrets, sizeof s->secrets - 1);
    if (n <= 0) {
        return err_sys(s->r->e, n < 0 ? (int)n : -ENOENT, "cannot read '%s'", path);
    }
    for (unsigned i = 0; i < 4; i++) {
        char *line = strsep(&rest, "\n");

        *places[i] = line != NULL && *line != '\0' ? line : NULL;
    }
    return ret->secret != NULL
               ? 0
               : err_set(s->r->e, -EINVAL, "'%s' has no user and secret", path);
}

/* ---- registrations in a file ----
 *
 * Two places of fixed size, written in turns: a power cut spoils the one that was being
 * written, and the other has what was there before.  The file stays open, because
 * nothing can be opened once the server is confined. */

#define PLACE_BYTES 32768

struct place {
    uint64_t turn; /* the place with the higher one counts; little endian like the rest */
    uint64_t bytes;
    uint8_t sum[SHA256_BYTES]; /* of turn, bytes and what is stored */
    uint8_t stored[PLACE_BYTES - 16 - SHA256_BYTES];
};

static void sum_of(const struct place *p, uint8_t ret[SHA256_BYTES])
{
    struct sha256 s;

    sha256_init(&s);
    sha256_add(&s, &p->turn, sizeof p->turn);
    sha256_add(&s, &p->bytes, sizeof p->bytes);
    sha256_add(&s, p->stored, p->bytes);
    sha256_end(&s, ret);
}

static int store(void *arg, const void *bytes, size_t count)
{
    struct service *s = arg;
    struct place *p = s->kept;

    if (count > sizeof p->stored) {
        return -EMSGSIZE;
    }
    p->turn = ++s->turn;
    p->bytes = count;
    memcpy(p->stored, bytes, count);
    sum_of(p, p->sum);
    if (pwrite(s->keep_fd, p, sizeof *p, (off_t)(p->turn % 2 * sizeof *p)) !=
            (ssize_t)sizeof *p ||
        fdatasync(s->keep_fd) != 0) {
        return -EIO;
    }
    return 0;
}

static bool read_place(const struct service *s, unsigned i, struct place *p)
{
    uint8_t sum[SHA256_BYTES];

    if (pread(s->keep_fd, p, sizeof *p, (off_t)(i * sizeof *p)) != (ssize_t)sizeof *p ||
        p->bytes > sizeof p->stored) {
        return false;
    }
    sum_of(p, sum);
    return memcmp(sum, p->sum, sizeof sum) == 0;
}

static int load_kept(struct service *s, struct iscsi_unit_options *u)
{
    const char *path = request_get(s->r, "keep");
    struct place *p = NULL;

    if (path == NULL) {
        return 0;
    }
    s->keep_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    p = s->keep_fd < 0 ? NULL : fault_calloc(2, sizeof *p);
    if (p == NULL) {
        return err_sys(s->r->e, s->keep_fd < 0 ? -errno : -ENOMEM, "cannot use '%s'",
                       path);
    }
    s->kept = p;
    u->keep = (struct iscsi_keep){store, s};
    for (unsigned i = 0; i < 2; i++) {
        if (read_place(s, i, &p[i]) && p[i].turn > s->turn) {
            s->turn = p[i].turn;
            u->kept = p[i].stored;
            u->kept_bytes = p[i].bytes;
        }
    }
    return 0;
}

static int add_unit(struct service *s, const char *target)
{
    const char *lun = request_get(s->r, "lun");
    const char *initiators[] = {request_get(s->r, "initiator"), NULL};
    struct iscsi_unit_options u = {
        .lun = (uint16_t)(lun != NULL ? atoi(lun) : 0),
        .serial = request_get(s->r, "serial"),
        .read_only = request_has(s->r, "read-only"),
        .initiators = initiators[0] != NULL ? initiators : NULL,
    };
    int e = load_kept(s, &u);

    e = e != 0 ? e : request_plan_file(s->r);
    e = e != 0 ? e : tool_confine(NULL, s->r->e);
    e = e != 0 ? e : request_make(s->r, &u.disk);
    return e != 0 ? e : iscsi_server_add_unit(s->server, target, &u, s->r->e);
}

static int set_up(struct service *s)
{
    struct iscsi_server_options o = {0};
    struct iscsi_target_options t = {.name = request_get(s->r, "target")};
    int e;

    if (t.name == NULL) {
        return err_set(s->r->e, -EINVAL, "no target is named (target=NAME)");
    }
    e = load_secrets(s, &t.chap);
    e = e != 0 ? e : iscsi_server_create(s->r->loop, &o, &s->server, s->r->e);
    e = e != 0 ? e : iscsi_server_add_target(s->server, &t, s->r->e);
    e = e != 0 ? e : open_portals(s);
    e = e != 0 ? e : add_unit(s, t.name);
    return e != 0 ? e : start_portals(s);
}

int tool_iscsi(struct request *r)
{
    struct service s = {.r = r, .keep_fd = -1, .listener = {-1, -1}};
    int e = request_check(r, keys);

    request_catch_signals(r);
    if (e == 0) {
        e = set_up(&s);
    }
    if (e == 0) {
        (void)request_answer(r, "listening", request_get(r, "portal"));
        (void)loop_wait_fd(r->loop, r->signals, EPOLLIN, -1);
    }
    iscsi_server_destroy(s.server);
    free(s.kept);
    scope_close(&s.keep_fd);
    scope_close(&s.listener[0]);
    scope_close(&s.listener[1]);
    explicit_bzero(s.secrets, sizeof s.secrets);
    return e;
}
