/* iscsi_test.c - the promises of disks over iSCSI: our client at our server and at tgt;
 * connections that are cut, targets that are killed, secrets, and what is no disk. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>

#include "base/err.h"
#include "base/fault.h"
#include "host/loop/loop.h"
#include "resource/storage/iscsi/iscsi.h"
#include "resource/storage/leaf/leaf.h"
#include "resource/storage/remote/remote.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/remote/through.h"

#define TARGET     "iqn.2024-01.t:a"
#define SIZE_BYTES (4u * 1024 * 1024)
#define SECRET     "a-secret-of-16-b"
#define OTHER      "b-secret-of-16-b"

/* ---- our own server ---- */

struct served {
    struct through through; /* first */
    struct iscsi_server *server;
    unsigned port;
};

static void release(struct through *t)
{
    struct served *x = (struct served *)t;

    iscsi_server_destroy(x->server);
    free(x);
}

/* Serve a disk as unit 0; takes it.  The port is added to `x`. */
static void serve(struct served *x, struct loop *l, struct blk *take_disk,
                  const struct iscsi_chap *chap, const char *serial)
{
    struct iscsi_server_options o = {0};
    struct iscsi_target_options t = {.name = TARGET};
    struct iscsi_unit_options u = {.disk = take_disk, .serial = serial};
    int fd = through_listen(&x->port);
    char address[32];

    t.chap = chap != NULL ? *chap : t.chap;
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", x->port);
    must_be_0(iscsi_server_create(l, &o, &x->server, NULL));
    must_be_0(iscsi_server_add_target(x->server, &t, NULL));
    must_be_0(iscsi_server_add_unit(x->server, TARGET, &u, NULL));
    must_be_0(iscsi_server_listen(x->server, fd, address, NULL));
}

static int open_at(struct loop *l, unsigned port, struct remote_iscsi_options o,
                   struct blk **ret_disk, struct err *e)
{
    char url[128];

    (void)snprintf(url, sizeof url, "iscsi://127.0.0.1:%u/" TARGET "/0", port);
    o.url = o.url != NULL ? o.url : url;
    return remote_iscsi_create(l, &o, ret_disk, e);
}

static int make(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                struct blk **ret_disk, struct err *e)
{
    struct served *x = calloc(1, sizeof *x);
    struct blk *client = NULL;

    (void)size_bytes;
    serve(x, l, take_lower[0], NULL, NULL);
    must_be_0(open_at(l, x->port, (struct remote_iscsi_options){0}, &client, e));
    x->through.release = release;
    through_init(&x->through, client);
    *ret_disk = &x->through.blk;
    return 0;
}

/* ---- a relay that cuts connections ---- */

struct relay {
    pthread_t thread;
    int listener;
    unsigned port;
    atomic_uint to;       /* port of the server; 0: connections are closed at once */
    unsigned least_bytes; /* a connection is cut after so many, and a random part more */
    unsigned cuts;
    uint64_t random;
    atomic_bool cutting;
    atomic_bool stop;
    atomic_bool silent; /* what comes is neither passed on nor refused */
};

/* One connection, until it is cut or ends. */
static void relay_one(struct relay *r, int client)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)r->to),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct pollfd p[2] = {{.fd = client, .events = POLLIN}, {.events = POLLIN}};
    long left = (long)(r->least_bytes + suite_random(&r->random) % (r->least_bytes + 1));
    static char room[8192];
    int yes = 1;

    p[1].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    (void)setsockopt(p[1].fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (r->to != 0 && connect(p[1].fd, (struct sockaddr *)&a, sizeof a) == 0) {
        while (!r->stop && (left > 0 || !r->cutting)) {
            (void)poll(p, 2, 20);
            for (unsigned i = 0; i < 2 && !r->silent; i++) {
                ssize_t n = p[i].revents != 0
                                ? recv(p[i].fd, room, sizeof room, MSG_DONTWAIT)
                                : -1;

                if (n == 0 || (n < 0 && p[i].revents != 0 && errno != EAGAIN)) {
                    left = 0;
                    goto out;
                }
                if (n > 0) {
                    left -= n;
                    (void)send(p[1 - i].fd, room, (size_t)n, MSG_NOSIGNAL);
                }
            }
        }
        r->cuts++;
    }
out:
    (void)close(p[1].fd);
    (void)close(client);
}

static void *relay_run(void *arg)
{
    struct relay *r = arg;
    struct pollfd p = {.fd = r->listener, .events = POLLIN};

    while (!r->stop) {
        if (poll(&p, 1, 20) == 1) {
            int fd = accept(r->listener, NULL, NULL);

            if (fd >= 0) {
                relay_one(r, fd);
            }
        }
    }
    return NULL;
}

static void relay_start(struct relay *r)
{
    r->listener = through_listen(&r->port);
    r->random = 77;
    r->stop = false;
    r->cutting = false;
    r->cuts = 0;
    must_be_0(pthread_create(&r->thread, NULL, relay_run, r));
}

static void relay_stop(struct relay *r)
{
    r->stop = true;
    must_be_0(pthread_join(r->thread, NULL));
    (void)close(r->listener);
}

/* ---- requests that are done again ---- */

#define SLOTS      16
#define SLOT_BYTES (64u * 1024)
#define ROUNDS     20

struct slot {
    struct blk_request request;
    struct iovec piece;
    char bytes[SLOT_BYTES];
};

struct cutting {
    struct loop *loop;
    struct relay relay;
    struct slot slots[SLOTS];
};

/* All slots at once, each in its own place; then read back what must be there. */
static void write_and_compare(struct blk *b, struct slot *slots, unsigned round)
{
    struct blk_request r[SLOTS];
    static char got[SLOT_BYTES];

    for (unsigned i = 0; i < SLOTS; i++) {
        memset(slots[i].bytes, (int)(round * 31 + i), SLOT_BYTES);
        r[i] = (struct blk_request){
            .disk = b,
            .kind = BLK_WRITE,
            .off = (uint64_t)i * SLOT_BYTES,
            .vec = blk_vec_of(&slots[i].piece, slots[i].bytes, SLOT_BYTES)};
    }
    must_be_0(blk_run_all(r, SLOTS));
    must_be_0(blk_flush(b));
    for (unsigned i = 0; i < SLOTS; i++) {
        must_be_0(blk_read(b, got, SLOT_BYTES, (uint64_t)i * SLOT_BYTES));
        must(memcmp(got, slots[i].bytes, SLOT_BYTES) == 0);
    }
}

static int cut_connections(void *arg)
{
    struct cutting *c = arg;
    struct served *x = calloc(1, sizeof *x);
    struct blk_edge edge = {.user = "test", .uses = BLK_USE_READ | BLK_USE_WRITE};
    struct blk *disk;

    must_be_0(leaf_memory_create(loop_strands(c->loop), SIZE_BYTES, 512, &disk, NULL));
    serve(x, c->loop, disk, NULL, NULL);
    c->relay.to = x->port;
    c->relay.least_bytes = 300000;
    relay_start(&c->relay);
    must_be_0(
        open_at(c->loop, c->relay.port, (struct remote_iscsi_options){0}, &disk, NULL));
    must_be_0(blk_attach(&edge, disk, NULL));
    c->relay.cutting = true;
    for (unsigned i = 0; i < ROUNDS; i++) {
        write_and_compare(disk, c->slots, i);
    }
    must(c->relay.cuts > ROUNDS / 2);
    blk_detach(&edge);
    relay_stop(&c->relay);
    release(&x->through);
    return 0;
}

/* ---- targets that go away ---- */

struct going {
    struct loop *loop;
    struct relay relay;
};

/* Another disk at the same address; nobody at all; and one that is slow to come back. */
static int go_away(void *arg)
{
    struct going *g = arg;
    struct served *x = calloc(1, sizeof *x);
    struct served *y = calloc(1, sizeof *y);
    struct remote_iscsi_options o = {.patience_seconds = 1};
    struct blk_edge edge = {.user = "test", .uses = BLK_USE_READ | BLK_USE_WRITE};
    struct blk *disk;
    char room[512] = "kept";

    must_be_0(leaf_memory_create(loop_strands(g->loop), SIZE_BYTES, 512, &disk, NULL));
    serve(x, g->loop, disk, NULL, "one");
    must_be_0(leaf_memory_create(loop_strands(g->loop), SIZE_BYTES, 512, &disk, NULL));
    serve(y, g->loop, disk, NULL, "two");
    g->relay.to = x->port;
    g->relay.least_bytes = 1;
    relay_start(&g->relay);

    /* Away while nobody asks, for longer than the patience: nothing happened. */
    must_be_0(open_at(g->loop, g->relay.port, o, &disk, NULL));
    must_be_0(blk_attach(&edge, disk, NULL));
    must_be_0(blk_write(disk, room, sizeof room, 0, 0));
    g->relay.to = 0;
    g->relay.cutting = true;
    loop_sleep(g->loop, 1500000000);
    g->relay.cutting = false;
    g->relay.to = x->port;
    memset(room, 0, sizeof room);
    must_be_0(blk_read(disk, room, sizeof room, 0));
    must(strcmp(room, "kept") == 0);

    /* Away for good. */
    g->relay.to = 0;
    g->relay.cutting = true;
    must(blk_read(disk, room, sizeof room, 0) == -ENODEV);
    must(blk_write(disk, room, sizeof room, 0, 0) == -ENODEV);
    blk_detach(&edge);

    /* Somebody else's disk. */
    g->relay.cutting = false;
    g->relay.to = x->port;
    edge = (struct blk_edge){.user = "test", .uses = BLK_USE_READ | BLK_USE_WRITE};
    must_be_0(open_at(g->loop, g->relay.port, o, &disk, NULL));
    must_be_0(blk_attach(&edge, disk, NULL));
    g->relay.to = y->port;
    g->relay.cutting = true;
    loop_sleep(g->loop, 100000000);
    g->relay.cutting = false;
    must(blk_write(disk, room, sizeof room, 0, 0) == -ENODEV);
    blk_detach(&edge);

    /* Closed while it is being mended. */
    g->relay.to = x->port;
    edge = (struct blk_edge){.user = "test", .uses = BLK_USE_READ | BLK_USE_WRITE};
    must_be_0(open_at(g->loop, g->relay.port, o, &disk, NULL));
    must_be_0(blk_attach(&edge, disk, NULL));
    g->relay.to = 0;
    g->relay.cutting = true;
    loop_sleep(g->loop, 100000000);
    blk_detach(&edge);
    relay_stop(&g->relay);
    release(&x->through);
    release(&y->through);
    return 0;
}

struct falling {
    struct loop_timer timer; /* first */
    struct relay *relay;
};

static void speak(struct loop_timer *t)
{
    ((struct falling *)t)->relay->silent = false;
}

/* A target that takes a command and says nothing: another connection is made. */
static int fall_silent(void *arg)
{
    struct going *g = arg;
    struct served *x = calloc(1, sizeof *x);
    struct remote_iscsi_options o = {.silence_seconds = 1};
    struct blk_edge edge = {.user = "test", .uses = BLK_USE_READ | BLK_USE_WRITE};
    struct falling f = {{.fn = speak}, &g->relay};
    struct blk *disk;
    char room[512] = "kept";

    must_be_0(leaf_memory_create(loop_strands(g->loop), SIZE_BYTES, 512, &disk, NULL));
    serve(x, g->loop, disk, NULL, NULL);
    g->relay.to = x->port;
    g->relay.least_bytes = 1;
    relay_start(&g->relay);
    must_be_0(open_at(g->loop, g->relay.port, o, &disk, NULL));
    must_be_0(blk_attach(&edge, disk, NULL));
    must_be_0(blk_write(disk, room, sizeof room, 0, 0));
    must(g->relay.cuts == 0);
    g->relay.silent = true;
    loop_timer_set(g->loop, &f.timer, 2500000000);
    memset(room, 0, sizeof room);
    must_be_0(blk_read(disk, room, sizeof room, 0));
    must(strcmp(room, "kept") == 0 && !g->relay.silent);
    blk_detach(&edge);
    relay_stop(&g->relay);
    release(&x->through);
    return 0;
}

/* ---- who may ---- */

static const struct {
    const char *user;
    const char *secret;
    const char *target_user;
    const char *target_secret;
    bool good;
} chap_rows[] = {
    {"me", SECRET, NULL, NULL, true},   {"me", OTHER, NULL, NULL, false},
    {"you", SECRET, NULL, NULL, false}, {NULL, NULL, NULL, NULL, false},
    {"me", SECRET, "it", OTHER, true},  {"me", SECRET, "it", SECRET, false},
};

static int ask_for_secrets(void *arg)
{
    struct loop *l = arg;
    struct served *x = calloc(1, sizeof *x);
    struct iscsi_chap chap = {"me", SECRET, "it", OTHER};
    struct blk *disk;
    char url[160];
    struct err e = {0};

    must_be_0(leaf_memory_create(loop_strands(l), SIZE_BYTES, 512, &disk, NULL));
    serve(x, l, disk, &chap, NULL);
    for (unsigned i = 0; i < sizeof chap_rows / sizeof chap_rows[0]; i++) {
        struct remote_iscsi_options o = {.user = chap_rows[i].user,
                                         .secret = chap_rows[i].secret,
                                         .target_user = chap_rows[i].target_user,
                                         .target_secret = chap_rows[i].target_secret};
        int r;

        err_clear(&e);
        r = open_at(l, x->port, o, &disk, &e);
        must(chap_rows[i].good ? r == 0 : r < 0 && e.text[0] != '\0');
        if (r == 0) {
            blk_drop(disk);
        }
    }
    (void)snprintf(url, sizeof url, "iscsi://me%%" SECRET "@127.0.0.1:%u/" TARGET "/0",
                   x->port);
    must_be_0(open_at(l, 0, (struct remote_iscsi_options){.url = url}, &disk, NULL));
    must(strstr(disk->label, SECRET) == NULL);
    blk_drop(disk);
    (void)snprintf(url, sizeof url, "iscsi://me%%" SECRET "@127.0.0.1:%u/iqn.t:no/0",
                   x->port);
    err_clear(&e);
    must(open_at(l, 0, (struct remote_iscsi_options){.url = url}, &disk, &e) < 0);
    must(strstr(e.text, SECRET) == NULL && strstr(e.text, "iqn.t:no") != NULL);
    release(&x->through);
    return 0;
}

/* URLs of nothing, units that are not, and memory that runs out anywhere. */
static int refuse(void *arg)
{
    static const char *const bad[] = {"",
                                      "iscsi:",
                                      "nbd://127.0.0.1/x",
                                      "iscsi://",
                                      "iscsi://127.0.0.1",
                                      "iscsi://127.0.0.1:1/" TARGET "/0",
                                      "iscsi://127.0.0.1/" TARGET "/x"};
    struct loop *l = arg;
    struct served *x = calloc(1, sizeof *x);
    struct remote_iscsi_options o = {0};
    struct blk *disk;
    char url[128];
    int r = -ENOMEM;

    must_be_0(leaf_memory_create(loop_strands(l), SIZE_BYTES, 512, &disk, NULL));
    serve(x, l, disk, NULL, NULL);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {0};

        o.url = bad[i];
        must(remote_iscsi_create(l, &o, &disk, &e) < 0);
        must(strstr(e.text, "cannot") != NULL);
    }
    (void)snprintf(url, sizeof url, "iscsi://127.0.0.1:%u/" TARGET "/5", x->port);
    o.url = url;
    must(remote_iscsi_create(l, &o, &disk, NULL) < 0);
    url[strlen(url) - 1] = '0';
    for (long n = 0; n < 200 && r != 0; n++) {
        fault_fail_alloc_at(n);
        r = remote_iscsi_create(l, &o, &disk, NULL);
        fault_fail_alloc_at(-1);
    }
    must_be_0(r);
    must(!blk_is_read_only(disk));
    blk_drop(disk);
    o.read_only = true;
    must_be_0(remote_iscsi_create(l, &o, &disk, NULL));
    must(blk_is_read_only(disk) && blk_size(disk) == SIZE_BYTES);
    blk_drop(disk);
    release(&x->through);
    return 0;
}

/* What is mapped is told, and what was given back reads zeros. */
static int tell_status(void *arg)
{
    struct loop *l = arg;
    struct served *x = calloc(1, sizeof *x);
    struct blk_edge edge = {.user = "test", .uses = BLK_USE_READ | BLK_USE_WRITE};
    struct blk_extent extent;
    struct blk *disk;
    static char room[65536];

    must_be_0(leaf_memory_create(loop_strands(l), SIZE_BYTES, 512, &disk, NULL));
    serve(x, l, disk, NULL, NULL);
    must_be_0(open_at(l, x->port, (struct remote_iscsi_options){0}, &disk, NULL));
    must_be_0(blk_attach(&edge, disk, NULL));
    memset(room, 7, sizeof room);
    must_be_0(blk_write(disk, room, sizeof room, 1 << 20, 0));
    must_be_0(blk_status(disk, 0, SIZE_BYTES, &extent));
    must((extent.state & BLK_DATA) == 0 && extent.bytes == 1 << 20);
    must_be_0(blk_status(disk, 1 << 20, SIZE_BYTES - (1 << 20), &extent));
    must((extent.state & BLK_DATA) != 0 && extent.bytes == sizeof room);
    must_be_0(blk_zero(disk, 1 << 20, sizeof room, BLK_UNMAP));
    must_be_0(blk_status(disk, 0, SIZE_BYTES, &extent));
    must((extent.state & BLK_DATA) == 0 && extent.bytes == SIZE_BYTES);
    blk_detach(&edge);
    release(&x->through);
    return 0;
}

/* ---- tgt ---- */

struct tgt {
    pid_t pid;
    char work[64];
    unsigned port;
    unsigned units;
};

static struct tgt tgt;

static int admin(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int admin(const char *format, ...)
{
    char command[512];
    size_t n = (size_t)snprintf(command, sizeof command, "tgtadm --lld iscsi ");
    va_list list;

    va_start(list, format);
    (void)vsnprintf(command + n, sizeof command - n, format, list);
    va_end(list);
    return system(command);
}

static void tgt_spawn(void)
{
    char portal[64];

    (void)snprintf(portal, sizeof portal, "portal=127.0.0.1:%u", tgt.port);
    tgt.pid = fork();
    if (tgt.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)freopen("/dev/null", "w", stderr);
        (void)execlp("tgtd", "tgtd", "-f", "--iscsi", portal, (char *)NULL);
        _exit(127);
    }
    for (unsigned i = 0; i < 100; i++) {
        if (admin("--op show --mode target >/dev/null 2>&1") == 0) {
            break;
        }
        (void)usleep(50000);
    }
    must_be_0(admin("--op new --mode target --tid 1 -T " TARGET));
    must_be_0(admin("--op bind --mode target --tid 1 -I ALL"));
}

static bool tgt_start(void)
{
    char path[96];

    if (system("command -v tgtd >/dev/null 2>&1 && command -v tgtadm >/dev/null 2>&1") !=
        0) {
        (void)printf("skip: tgt is not installed\n");
        return false;
    }
    (void)strcpy(tgt.work, "/var/tmp/iscsi-tgt-XXXXXX");
    must(mkdtemp(tgt.work) != NULL);
    (void)snprintf(path, sizeof path, "%s/ipc", tgt.work);
    (void)setenv("TGT_IPC_SOCKET", path, 1);
    must_be_0(close(through_listen(&tgt.port)));
    tgt_spawn();
    return true;
}

static void tgt_kill(void)
{
    must_be_0(kill(tgt.pid, SIGKILL));
    must(waitpid(tgt.pid, NULL, 0) == tgt.pid);
}

static void tgt_stop(void)
{
    char command[96];

    tgt_kill();
    (void)snprintf(command, sizeof command, "rm -rf %s", tgt.work);
    must_be_0(system(command));
}

static void tgt_add_unit(unsigned unit)
{
    must_be_0(admin("--op new --mode logicalunit --tid 1 --lun %u -b %s/%u", unit,
                    tgt.work, unit));
    must_be_0(admin("--op update --mode logicalunit --tid 1 --lun %u "
                    "--params thin_provisioning=1,scsi_sn=unit%u",
                    unit, unit));
}

static int tgt_open(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                    struct blk **ret_disk, struct err *e)
{
    char url[128];
    struct remote_iscsi_options o = {.url = url};

    (void)take_lower;
    (void)size_bytes;
    (void)snprintf(url, sizeof url, "iscsi://127.0.0.1:%u/" TARGET "/%u", tgt.port,
                   tgt.units);
    return remote_iscsi_create(l, &o, ret_disk, e);
}

static int tgt_make(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                    struct blk **ret_disk, struct err *e)
{
    char path[96];
    FILE *f;

    tgt.units++;
    (void)snprintf(path, sizeof path, "%s/%u", tgt.work, tgt.units);
    f = fopen(path, "w");
    must(f != NULL && ftruncate(fileno(f), (off_t)size_bytes) == 0);
    must_be_0(fclose(f));
    tgt_add_unit(tgt.units);
    return tgt_open(l, take_lower, size_bytes, ret_disk, e);
}

/* Killed with writes under way, and started again. */
static int kill_tgt(void *arg)
{
    struct cutting *c = arg;
    struct blk_edge edge = {.user = "test", .uses = BLK_USE_READ | BLK_USE_WRITE};
    struct blk *disk;

    must_be_0(tgt_make(c->loop, NULL, SIZE_BYTES, &disk, NULL));
    must_be_0(blk_attach(&edge, disk, NULL));
    for (unsigned i = 0; i < 3; i++) {
        write_and_compare(disk, c->slots, i);
        tgt_kill();
        tgt_spawn();
        tgt_add_unit(tgt.units);
        write_and_compare(disk, c->slots, i + 100);
    }
    blk_detach(&edge);
    return 0;
}

/* ---- all ---- */

static void in_a_loop(const char *name, int (*fn)(void *arg), void *arg,
                      struct loop **loop)
{
    struct loop *own = NULL;

    loop = loop != NULL ? loop : &own;
    for (int driver = LOOP_DRIVER_RING; driver <= LOOP_DRIVER_CREW; driver++) {
        if (loop_create((enum loop_driver_kind)driver, loop, NULL) != 0) {
            continue;
        }
        must_be_0(loop_do(*loop, fn, arg != NULL ? arg : *loop));
        loop_destroy(*loop);
    }
    (void)printf("ok   %s\n", name);
    (void)fflush(stdout);
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "iscsi", .lowers = 1, .fixed_size = true, .far = true, .make = make},
        {.name = "tgt",
         .fixed_size = true,
         .far = true,
         .make = tgt_make,
         .open = tgt_open},
    };
    static struct cutting cutting;
    static struct going going;
    bool has_tgt;
    int r;

    (void)signal(SIGPIPE, SIG_IGN); /* as remote.h wants it */
    in_a_loop("secrets", ask_for_secrets, NULL, NULL);
    in_a_loop("refusals", refuse, NULL, NULL);
    in_a_loop("status", tell_status, NULL, NULL);
    in_a_loop("cut connections", cut_connections, &cutting, &cutting.loop);
    in_a_loop("targets that go away", go_away, &going, &going.loop);
    in_a_loop("a target that says nothing", fall_silent, &going, &going.loop);
    has_tgt = tgt_start();
    if (has_tgt) {
        in_a_loop("tgt killed", kill_tgt, &cutting, &cutting.loop);
    }
    r = suite_main(disks, has_tgt ? 2 : 1);
    if (has_tgt) {
        tgt_stop();
    }
    return r;
}
