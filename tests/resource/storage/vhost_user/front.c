/* front.c - a vhost-user front end for tests. */
#include "tests/resource/storage/vhost_user/front.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RINGS_BYTES (1u << 20) /* of one queue, heads and states included */
#define QUEUE_BYTES (RINGS_BYTES + FRONT_SLOTS * FRONT_DATA)
#define HEADS_AT    (RINGS_BYTES - FRONT_SLOTS * 64)
#define WAIT_MS     20000

void front_must(bool so, const char *file, int line, const char *what)
{
    if (!so) {
        (void)fprintf(stderr, "%s:%d: %s (%s)\n", file, line, what, strerror(errno));
        abort();
    }
}

/* ---- back ends ---- */

pid_t front_spawn(const char *const *words, int *ret_out)
{
    int out[2];
    char line[64] = "";
    pid_t pid;

    must(pipe(out) == 0);
    pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody */
        (void)dup2(out[1], 1);
        (void)close(out[0]);
        (void)execv(words[0], (char *const *)(uintptr_t)words);
        _exit(127);
    }
    (void)close(out[1]);
    must(read(out[0], line, sizeof line - 1) > 0 && strncmp(line, "listening", 9) == 0);
    if (ret_out != NULL) {
        *ret_out = out[0];
    } else {
        (void)close(out[0]);
    }
    return pid;
}

void front_kill(pid_t pid, int sig)
{
    int status;

    (void)kill(pid, sig);
    must(waitpid(pid, &status, 0) == pid);
    must(sig == SIGKILL || status == 0); /* sanitizers speak up here */
}

/* ---- messages ---- */

struct head {
    uint32_t request;
    uint32_t flags;
    uint32_t bytes;
};

int front_send(struct front *f, uint32_t request, const void *payload, uint32_t bytes,
               const int *fds, unsigned count)
{
    struct head h = {request & ~FRONT_REPLY, (request & FRONT_REPLY) != 0 ? 9 : 1, bytes};

    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int) * 32)];
    } control = {0};
    struct iovec iov[2] = {{&h, sizeof h}, {(void *)(uintptr_t)payload, bytes}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = bytes > 0 ? 2 : 1};

    if (count > 0) {
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(&control.head), fds, sizeof(int) * count);
    }
    return sendmsg(f->fd, &m, MSG_NOSIGNAL) == (ssize_t)(sizeof h + bytes) ? 0 : -1;
}

int front_receive(struct front *f, void *reply, uint32_t most, int *ret_fd)
{
    struct head h;

    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {&h, sizeof h};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof control};
    ssize_t n = recvmsg(f->fd, &m, MSG_WAITALL);

    if (n <= 0) {
        return -1;
    }
    must(n == sizeof h && h.flags == 5 && h.bytes <= most);
    if (ret_fd != NULL) {
        must(m.msg_controllen > 0);
        memcpy(ret_fd, CMSG_DATA(&control.head), sizeof(int));
    }
    must(h.bytes == 0 || recv(f->fd, reply, h.bytes, MSG_WAITALL) == (ssize_t)h.bytes);
    return (int)h.bytes;
}

int front_ask(struct front *f, uint32_t request, const void *payload, uint32_t bytes,
              void *reply, uint32_t most)
{
    return front_send(f, request, payload, bytes, NULL, 0) != 0
               ? -1
               : front_receive(f, reply, most, NULL);
}

int front_tell(struct front *f, uint32_t request, const void *payload, uint32_t bytes,
               const int *fds, unsigned count)
{
    uint64_t answer = 2;

    if (front_send(f, request | FRONT_REPLY, payload, bytes, fds, count) != 0 ||
        front_receive(f, &answer, sizeof answer, NULL) != sizeof answer) {
        return -1;
    }
    must(answer <= 1);
    return (int)answer;
}

static uint64_t ask_number(struct front *f, uint32_t request)
{
    uint64_t n = 0;

    must(front_ask(f, request, NULL, 0, &n, sizeof n) == sizeof n);
    return n;
}

/* ---- life ---- */

void front_init(struct front *f)
{
    *f = (struct front){.fd = -1, .backend = -1, .inflight = -1};
    f->bytes = (uint64_t)FRONT_QUEUES * QUEUE_BYTES;
    f->memfd = memfd_create("guest", MFD_CLOEXEC);
    must(f->memfd >= 0 && ftruncate(f->memfd, (off_t)f->bytes) == 0);
    f->mem = mmap(NULL, f->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f->memfd, 0);
    must(f->mem != MAP_FAILED);
    for (unsigned i = 0; i < FRONT_QUEUES; i++) {
        f->q[i].kick = eventfd(0, EFD_CLOEXEC);
        f->q[i].call = eventfd(0, EFD_CLOEXEC);
        f->q[i].error = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
}

void front_close(struct front *f)
{
    if (f->fd >= 0) {
        (void)close(f->fd);
    }
    if (f->backend >= 0) {
        (void)close(f->backend);
    }
    f->fd = -1;
    f->backend = -1;
}

void front_fini(struct front *f)
{
    front_close(f);
    (void)munmap(f->mem, f->bytes);
    (void)close(f->memfd);
    if (f->inflight >= 0) {
        (void)close(f->inflight);
    }
    for (unsigned i = 0; i < FRONT_QUEUES; i++) {
        (void)close(f->q[i].kick);
        (void)close(f->q[i].call);
        (void)close(f->q[i].error);
    }
}

void front_connect(struct front *f, const char *path, uint64_t features)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int pair[2];

    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(connect(f->fd, (struct sockaddr *)&a, sizeof a) == 0);
    f->features = ask_number(f, 1);
    must((f->features & F_PROTOCOL) != 0);
    f->features &= features | F_PROTOCOL | F_VERSION1;
    f->protocol = ask_number(f, 15);
    must(front_send(f, 16, &f->protocol, 8, NULL, 0) == 0);
    must(front_tell(f, 3, NULL, 0, NULL, 0) == 0);
    must(front_tell(f, 2, &f->features, 8, NULL, 0) == 0);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    must(front_tell(f, 21, NULL, 0, &pair[1], 1) == 0);
    (void)close(pair[1]);
    f->backend = pair[0];
}

void front_share_memory(struct front *f)
{
    uint64_t table[5] = {1, FRONT_GUEST, f->bytes, FRONT_USER, 0};

    must(front_tell(f, 5, table, sizeof table, &f->memfd, 1) == 0);
}

void front_inflight(struct front *f, uint16_t queues, uint16_t size)
{
    uint16_t shape[12] = {[8] = queues, [9] = size};
    int bytes = queues % 2 != 0 ? 24 : 20; /* QEMU pads; the document does not */

    if (f->inflight < 0) {
        must(front_send(f, 31, shape, (uint32_t)bytes, NULL, 0) == 0);
        must(front_receive(f, f->inflight_shape, 24, &f->inflight) == bytes);
    }
    must(front_tell(f, 32, f->inflight_shape, (uint32_t)bytes, &f->inflight, 1) == 0);
}

void front_lay_out(struct front *f, unsigned q, unsigned size)
{
    struct front_queue *u = &f->q[q];

    memset(u->slot, 0, sizeof u->slot);
    u->size = size;
    u->d.packed = (f->features & F_PACKED) != 0;
    u->d.events = (f->features & F_EVENTS) != 0;
    u->base = u->d.packed ? 0x80008000u : 0;
    must(driver_bytes(size) <= HEADS_AT);
    driver_init(&u->d, f->mem, FRONT_GUEST, (uint64_t)q * QUEUE_BYTES, size);
}

void front_start(struct front *f, unsigned q)
{
    struct front_queue *u = &f->q[q];
    uint64_t index = q;
    uint32_t num[2] = {q, u->size};
    uint32_t base[2] = {q, u->base};
    uint32_t on[2] = {q, 1};
    uint64_t addr[5] = {q, FRONT_USER + u->d.desc, FRONT_USER + u->d.used,
                        FRONT_USER + u->d.avail, FRONT_GUEST + u->d.used};

    if ((f->features & F_LOG) != 0) {
        addr[0] |= (uint64_t)1 << 32;
    }
    driver_listen(&u->d, true);
    must(front_tell(f, 8, num, 8, NULL, 0) == 0);
    must(front_tell(f, 10, base, 8, NULL, 0) == 0);
    must(front_tell(f, 9, addr, 40, NULL, 0) == 0);
    must(front_tell(f, 14, &index, 8, &u->error, 1) == 0);
    must(front_tell(f, 12, &index, 8, &u->kick, 1) == 0);
    must(front_tell(f, 13, &index, 8, &u->call, 1) == 0);
    must(front_tell(f, 18, on, 8, NULL, 0) == 0);
}

uint32_t front_stop(struct front *f, unsigned q)
{
    uint32_t state[2] = {q, 0};
    uint32_t reply[2];

    must(front_ask(f, 11, state, 8, reply, 8) == 8 && reply[0] == q);
    f->q[q].base = reply[1];
    return reply[1];
}

/* ---- requests ---- */

static uint64_t head_off(unsigned q, unsigned slot)
{
    return (uint64_t)q * QUEUE_BYTES + HEADS_AT + slot * 64;
}

static uint64_t data_off(unsigned q, unsigned slot)
{
    return (uint64_t)q * QUEUE_BYTES + RINGS_BYTES + (uint64_t)slot * FRONT_DATA;
}

uint8_t *front_data(struct front *f, unsigned q, unsigned slot)
{
    return f->mem + data_off(q, slot);
}

void front_offer(struct front *f, unsigned q, unsigned slot, enum front_type type,
                 uint64_t sector, uint32_t bytes)
{
    struct front_queue *u = &f->q[q];
    uint64_t head[2] = {type, sector};
    uint64_t at = FRONT_GUEST + head_off(q, slot);
    uint64_t data = FRONT_GUEST + data_off(q, slot);
    bool in = type == T_READ || type == T_ID;
    struct driver_piece p[4] = {{at, 16, false}};
    unsigned n = 1;
    int id;

    memcpy(f->mem + head_off(q, slot), head, sizeof head);
    f->mem[head_off(q, slot) + 16] = 0xff;
    if (bytes > 0) {
        uint32_t first = bytes > 512 ? 512 : bytes; /* two pieces, to have some */

        p[n++] = (struct driver_piece){data, first, in};
        if (bytes > first) {
            p[n++] = (struct driver_piece){data + first, bytes - first, in};
        }
    }
    p[n++] = (struct driver_piece){at + 16, 1, true};
    must(!u->slot[slot].busy);
    id = driver_add(&u->d, p, n, (f->features & F_INDIRECT) != 0);
    must(id >= 0);
    u->slot[slot] = (struct front_slot){.busy = true, .id = (uint16_t)id};
}

void front_kick(struct front *f, unsigned q)
{
    uint64_t one = 1;

    if (driver_wants_kick(&f->q[q].d)) {
        must(write(f->q[q].kick, &one, sizeof one) == sizeof one);
    }
}

unsigned front_collect(struct front *f, unsigned q)
{
    struct front_queue *u = &f->q[q];
    unsigned count = 0;
    uint16_t id;
    uint32_t bytes;

    while (driver_get(&u->d, &id, &bytes)) {
        unsigned i = 0;

        while (!u->slot[i].busy || u->slot[i].id != id) {
            i++;
            must(i < FRONT_SLOTS);
        }
        u->slot[i].busy = false;
        u->slot[i].done = true;
        u->slot[i].bytes = bytes;
        u->slot[i].status = f->mem[head_off(q, i) + 16];
        count++;
    }
    return count;
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool front_wait(struct front *f, unsigned q, unsigned slot, int timeout_ms)
{
    struct front_queue *u = &f->q[q];
    int64_t end = now_ms() + timeout_ms;

    for (;;) {
        struct pollfd p = {u->call, POLLIN, 0};
        uint64_t count;
        int64_t left = end - now_ms();

        (void)front_collect(f, q);
        if (u->slot[slot].done) {
            return true;
        }
        driver_listen(&u->d, true);
        if (front_collect(f, q) > 0) {
            continue;
        }
        if (left <= 0 || poll(&p, 1, (int)left) <= 0) {
            return false;
        }
        must(read(u->call, &count, sizeof count) == sizeof count);
    }
}

int front_do(struct front *f, unsigned q, enum front_type type, uint64_t sector,
             uint32_t bytes)
{
    front_offer(f, q, 0, type, sector, bytes);
    front_kick(f, q);
    must(front_wait(f, q, 0, WAIT_MS));
    return f->q[q].slot[0].status;
}
