/* nbd_test.c - the promises of disks over NBD: our client at our server, and at nbdkit. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "host/loop/loop.h"
#include "resource/storage/nbd/nbd.h"
#include "resource/storage/remote/remote.h"
#include "tests/contract/blk_suite.h"
#include "tests/resource/storage/remote/through.h"

struct served {
    struct through through; /* first */
    struct nbd_server *server;
    char socket[64];
};

static void release(struct through *t)
{
    struct served *x = (struct served *)t;

    nbd_server_destroy(x->server);
    (void)unlink(x->socket);
    free(x);
}

static int listen_on(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)strcpy(a.sun_path, path);
    must(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0);
    must_be_0(listen(fd, 4));
    return fd;
}

static int make(struct loop *l, struct blk **take_lower, uint64_t size_bytes,
                struct blk **ret_disk, struct err *e)
{
    struct served *t = calloc(1, sizeof *t);
    struct nbd_server_options o = {0};
    struct nbd_export x = {.name = "", .disk = take_lower[0]};
    struct blk *client = NULL;
    char uri[128];
    int r;

    (void)size_bytes;
    (void)snprintf(t->socket, sizeof t->socket, "/var/tmp/nbd-client-%d", (int)getpid());
    (void)unlink(t->socket);
    (void)snprintf(uri, sizeof uri, "nbd+unix:///?socket=%s", t->socket);
    r = nbd_server_create(l, &o, &t->server, e);
    r = r != 0 ? r : nbd_server_add(t->server, &x, e);
    if (r != 0) {
        blk_drop(take_lower[0]);
    }
    r = r != 0 ? r : nbd_server_listen(t->server, listen_on(t->socket), e);
    r = r != 0 ? r : remote_nbd_create(l, uri, false, &client, e);
    if (r != 0) {
        release(&t->through);
        return r;
    }
    t->through.release = release;
    through_init(&t->through, client);
    *ret_disk = &t->through.blk;
    return 0;
}

/* ---- another server ---- */

struct other {
    struct loop *loop;
    const char *socket;
    const char *fails;
    pid_t pid;
};

static pid_t start_nbdkit(const char *socket, const char *option)
{
    pid_t pid = fork();

    (void)unlink(socket);
    if (pid == 0) {
        (void)execlp("nbdkit", "nbdkit", "-f", "-U", socket, "--filter=error", "memory",
                     "8M", "error=EIO", "error-pread-rate=100%", option, (char *)NULL);
        _exit(127);
    }
    for (unsigned i = 0; i < 100 && access(socket, F_OK) != 0; i++) {
        (void)usleep(50000);
    }
    return pid;
}

static int use_other(void *arg)
{
    struct other *x = arg;
    struct blk_edge edge = {.user = "test", .uses = BLK_USE_READ | BLK_USE_WRITE};
    struct blk *b = NULL;
    struct err e = {0};
    char room[4096];
    char uri[128];

    (void)snprintf(uri, sizeof uri, "nbd+unix:///?socket=%s", x->socket);
    must_be_0(remote_nbd_create(x->loop, uri, false, &b, &e));
    must_be_0(blk_attach(&edge, b, &e));
    must(blk_size(b) == 8 << 20);
    memset(room, 'k', sizeof room);
    must_be_0(blk_write(b, room, sizeof room, 4096, BLK_FUA));
    must_be_0(blk_zero(b, 65536, 65536, 0));
    must_be_0(blk_flush(b));
    memset(room, 0, sizeof room);
    must_be_0(blk_read(b, room, sizeof room, 4096));
    must(room[0] == 'k' && room[4095] == 'k');
    must_be_0(fclose(fopen(x->fails, "w")));
    must(blk_read(b, room, sizeof room, 1 << 20) == -EIO);
    must_be_0(unlink(x->fails));
    must_be_0(blk_read(b, room, sizeof room, 1 << 20));

    must_be_0(kill(x->pid, SIGKILL));
    must(waitpid(x->pid, NULL, 0) == x->pid);
    must(blk_read(b, room, sizeof room, 4096) == -ENODEV);
    must(blk_write(b, room, sizeof room, 4096, 0) == -ENODEV);
    blk_detach(&edge);
    must(remote_nbd_create(x->loop, uri, false, &b, &e) < 0);
    must(strstr(e.text, "cannot connect to") != NULL);
    return 0;
}

/* nbdkit, whose reads fail while the file `fails` is there. */
static void talk_to_nbdkit(void)
{
    char socket[64];
    char fails[80];
    char option[112];
    struct other x = {.socket = socket, .fails = fails};

    if (system("command -v nbdkit >/dev/null 2>&1") != 0) {
        (void)printf("skip: nbdkit is not installed\n");
        return;
    }
    (void)snprintf(socket, sizeof socket, "/var/tmp/nbdkit-%d", (int)getpid());
    (void)snprintf(fails, sizeof fails, "%s.fails", socket);
    (void)snprintf(option, sizeof option, "error-pread-file=%s", fails);
    x.pid = start_nbdkit(socket, option);
    must_be_0(loop_create(LOOP_DRIVER_AUTO, &x.loop, NULL));
    must_be_0(loop_do(x.loop, use_other, &x));
    loop_destroy(x.loop);
    (void)unlink(socket);
    (void)printf("ok   nbdkit\n");
}

int main(void)
{
    static const struct suite_disk disks[] = {
        {.name = "nbd", .lowers = 1, .fixed_size = true, .far = true, .make = make},
    };

    talk_to_nbdkit();
    return suite_main(disks, sizeof disks / sizeof disks[0]);
}
