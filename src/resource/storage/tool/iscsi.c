/* iscsi.c - serve a disk over iSCSI. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/scope.h"
#include "base/sha256.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/iscsi/iscsi.h"
#include "resource/storage/tool/exporter.h"
#include "resource/storage/tool/private.h"

#define BACKLOG      64
#define SECRETS_MOST 2048

static const char *const keys[] = {"target", "lun",       "initiator",
                                   "serial", "read-only", NULL};
static const char *const sockets[] = {"portal", "portal-2", NULL};

struct place;

struct service {
    const struct export_ask *ask; /* while it starts */
    struct iscsi_server *server;
    char secrets[SECRETS_MOST]; /* lines of the file of secrets */
    struct place *kept;         /* owned, two */
    uint64_t turn;
    int keep_fd; /* owned; -1: none */
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

static int open_portals(const struct service *s, struct err *e)
{
    const struct export_ask *ask = s->ask;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < ask->socket_count; i++) {
        int fd = fcntl(ask->sockets[i], F_DUPFD_CLOEXEC, 3);

        r = fd < 0 ? err_sys(e, -errno, "cannot listen for initiators")
                   : iscsi_server_listen(s->server, fd, ask->places[i], e);
    }
    return r;
}

/* Four lines: user, secret, and the target's own, which may be missing.  A file, because
 * words of a command are no secret on a host. */
static int load_secrets(struct service *s, struct iscsi_chap *ret, struct err *e)
{
    const char **const places[] = {&ret->user, &ret->secret, &ret->own_user,
                                   &ret->own_secret};
    char *rest = s->secrets;

    if (s->ask->secrets < 0) {
        return 0;
    }
    if (pread(s->ask->secrets, s->secrets, sizeof s->secrets - 1, 0) < 0) {
        return err_sys(e, -errno, "cannot read the secrets");
    }
    for (unsigned i = 0; i < 4; i++) {
        char *line = strsep(&rest, "\n");

        *places[i] = line != NULL && *line != '\0' ? line : NULL;
    }
    return ret->secret != NULL
               ? 0
               : err_set(e, -EINVAL, "the file of secrets has no user and secret");
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

static int load_kept(struct service *s, struct iscsi_unit_options *u, struct err *e)
{
    struct place *p = NULL;

    if (s->ask->keep < 0) {
        return 0;
    }
    s->keep_fd = fcntl(s->ask->keep, F_DUPFD_CLOEXEC, 3);
    p = s->keep_fd < 0 ? NULL : fault_calloc(2, sizeof *p);
    if (p == NULL) {
        return err_sys(e, s->keep_fd < 0 ? -errno : -ENOMEM, "cannot keep registrations");
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

static int add_unit(struct service *s, const char *target, struct err *e)
{
    const struct request *words = s->ask->words;
    const char *lun = request_get(words, "lun");
    const char *initiators[] = {request_get(words, "initiator"), NULL};
    struct iscsi_unit_options u = {
        .lun = (uint16_t)(lun != NULL ? atoi(lun) : 0),
        .serial = request_get(words, "serial"),
        .read_only = request_has(words, "read-only"),
        .initiators = initiators[0] != NULL ? initiators : NULL,
        .disk = s->ask->disk,
    };
    int r = load_kept(s, &u, e);

    return r != 0 ? r : iscsi_server_add_unit(s->server, target, &u, e);
}

static int fill(struct service *s, struct err *e)
{
    struct iscsi_server_options o = {0};
    struct iscsi_target_options t = {.name = request_get(s->ask->words, "target")};
    int r;

    if (t.name == NULL) {
        return err_set(e, -EINVAL, "no target is named (target=NAME)");
    }
    r = load_secrets(s, &t.chap, e);
    r = r != 0 ? r : iscsi_server_create(s->ask->words->loop, &o, &s->server, e);
    r = r != 0 ? r : iscsi_server_add_target(s->server, &t, e);
    r = r != 0 ? r : add_unit(s, t.name, e);
    return r != 0 ? r : open_portals(s, e);
}

static void stop(void *server)
{
    struct service *s = server;

    iscsi_server_destroy(s->server);
    free(s->kept);
    scope_close(&s->keep_fd);
    explicit_bzero(s->secrets, sizeof s->secrets);
    free(s);
}

static int start(const struct export_ask *ask, void **ret_server, struct err *e)
{
    struct service *s = fault_calloc(1, sizeof *s);
    int r;

    if (s == NULL) {
        return err_sys(e, -ENOMEM, "cannot start the iSCSI server");
    }
    s->ask = ask;
    s->keep_fd = -1;
    r = fill(s, e);
    s->ask = NULL;
    if (r != 0) {
        stop(s);
        return r;
    }
    *ret_server = s;
    return 0;
}

static uint64_t clients(const void *server)
{
    return iscsi_server_counts(((const struct service *)server)->server).sessions;
}

static uint64_t accepted(const void *server)
{
    struct iscsi_counts n = iscsi_server_counts(((const struct service *)server)->server);

    return n.sessions + n.served;
}

const struct exporter exporter_iscsi = {
    .name = "iscsi",
    .keys = keys,
    .sockets = sockets,
    .listen_on = listen_on,
    .start = start,
    .stop = stop,
    .clients = clients,
    .accepted = accepted,
};
