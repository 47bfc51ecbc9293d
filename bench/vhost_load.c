/* vhost_load.c - a front end that costs little, to load a vhost-user-blk back end.
 *
 *     vhost_load SOCKET read|write BYTES DEPTH SECONDS [SEED]
 *
 * Plays a machine with one queue of 128 entries: keeps DEPTH requests of BYTES at random
 * offsets in flight, each behind an indirect table as Linux has it, kicks when the
 * back end wants to be kicked, sleeps until it is called.  Prints requests per
 * second.  Sources: docs/interop/vhost-user.rst of QEMU; VIRTIO 1.2, 2.7 and 5.2. */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define GUEST      0x100000000u
#define USER       0x7f0000000000u
#define SIZE       128u
#define DATA_MOST  262144u
#define SLOT_BYTES (DATA_MOST + 4096u)
#define RINGS      65536u
#define MEM_BYTES  (RINGS + SIZE * SLOT_BYTES)
#define SPAN_BYTES (64u << 20)

#define DESC_AT  0u
#define AVAIL_AT 4096u
#define USED_AT  8192u

struct desc {
    uint64_t at;
    uint32_t bytes;
    uint16_t flags;
    uint16_t next;
};

struct machine {
    int fd;
    int memfd;
    int kick;
    int call;
    uint8_t *mem;
    uint16_t next;   /* of the available ring */
    uint16_t kicked; /* when kicks were last thought of */
    uint16_t seen;   /* of the used ring */
    int write;
    uint32_t bytes;
    unsigned seed;
};

static void fail(const char *what)
{
    (void)fprintf(stderr, "vhost_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void put16(struct machine *m, uint32_t at, uint16_t v)
{
    __atomic_store_n((uint16_t *)(void *)(m->mem + at), v, __ATOMIC_RELEASE);
}

static uint16_t get16(const struct machine *m, uint32_t at)
{
    return __atomic_load_n((uint16_t *)(void *)(m->mem + at), __ATOMIC_ACQUIRE);
}

/* ---- messages ---- */

static void tell(struct machine *m, uint32_t request, const void *payload, uint32_t bytes,
                 int fd)
{
    uint32_t head[3] = {request, 1, bytes};

    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov[2] = {{head, sizeof head}, {(void *)(uintptr_t)payload, bytes}};
    struct msghdr h = {.msg_iov = iov, .msg_iovlen = bytes > 0 ? 2 : 1};

    if (fd >= 0) {
        h.msg_control = &control;
        h.msg_controllen = sizeof control;
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    }
    if (sendmsg(m->fd, &h, MSG_NOSIGNAL) < 0) {
        fail("message");
    }
}

static uint64_t ask(struct machine *m, uint32_t request)
{
    uint32_t reply[5];

    tell(m, request, NULL, 0, -1);
    if (recv(m->fd, reply, sizeof reply, MSG_WAITALL) != sizeof reply) {
        fail("answer");
    }
    return reply[3] | (uint64_t)reply[4] << 32;
}

static void begin(struct machine *m, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    uint64_t features = 1ull << 32 | 1ull << 30 | 1ull << 29 | 1ull << 28 | 1ull << 9;
    uint64_t protocol;
    uint64_t table[5] = {1, GUEST, MEM_BYTES, USER, 0};
    uint64_t addr[5] = {0, USER + DESC_AT, USER + USED_AT, USER + AVAIL_AT, 0};
    uint32_t state[2] = {0, SIZE};
    uint64_t zero = 0;

    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    m->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(m->fd, (struct sockaddr *)&a, sizeof a) != 0) {
        fail(path);
    }
    features &= ask(m, 1);
    protocol = ask(m, 15) & 1;
    tell(m, 16, &protocol, 8, -1);
    tell(m, 3, NULL, 0, -1);
    tell(m, 2, &features, 8, -1);
    tell(m, 5, table, sizeof table, m->memfd);
    tell(m, 8, state, 8, -1);
    tell(m, 10, (uint32_t[2]){0, 0}, 8, -1);
    tell(m, 9, addr, 40, -1);
    tell(m, 12, &zero, 8, m->kick);
    tell(m, 13, &zero, 8, m->call);
    tell(m, 18, (uint32_t[2]){0, 1}, 8, -1);
    (void)ask(m, 1); /* all of it has been done */
}

/* ---- requests ---- */

static void offer(struct machine *m, uint16_t slot)
{
    uint32_t at = RINGS + slot * SLOT_BYTES;
    uint64_t blocks = SPAN_BYTES / m->bytes;
    uint64_t sector = (uint64_t)rand_r(&m->seed) % blocks * (m->bytes / 512);
    uint64_t head[2] = {(uint64_t)m->write, sector};
    struct desc table[3] = {
        {GUEST + at, 16, 1, 1},
        {GUEST + at + 4096, m->bytes, m->write ? 1 : 3, 2},
        {GUEST + at + 16, 1, 2, 0},
    };
    struct desc entry = {GUEST + at + 64, sizeof table, 4, 0};

    memcpy(m->mem + at, head, sizeof head);
    m->mem[at + 16] = 0xff;
    memcpy(m->mem + at + 64, table, sizeof table);
    memcpy(m->mem + DESC_AT + slot * 16u, &entry, sizeof entry);
    put16(m, AVAIL_AT + 4 + 2u * (m->next % SIZE), slot);
    m->next++;
}

static void kick(struct machine *m)
{
    uint64_t one = 1;
    uint16_t event;

    put16(m, AVAIL_AT + 2, m->next);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    event = get16(m, USED_AT + 4 + 8u * SIZE);
    if ((uint16_t)(m->next - event - 1) < (uint16_t)(m->next - m->kicked) &&
        write(m->kick, &one, sizeof one) != sizeof one) {
        fail("kick");
    }
    m->kicked = m->next;
}

/* What was given back goes out again; how many there were. */
static unsigned collect(struct machine *m)
{
    uint16_t now = get16(m, USED_AT + 2);
    unsigned count = 0;

    for (; m->seen != now; m->seen++) {
        uint32_t id;

        memcpy(&id, m->mem + USED_AT + 4 + 8u * (m->seen % SIZE), sizeof id);
        if (m->mem[RINGS + id * SLOT_BYTES + 16] != 0) {
            fail("status");
        }
        offer(m, (uint16_t)id);
        count++;
    }
    if (count > 0) {
        kick(m);
    }
    return count;
}

static void sleep_until_called(struct machine *m)
{
    struct pollfd p = {m->call, POLLIN, 0}; /* the back end made it not wait */
    uint64_t count;

    put16(m, AVAIL_AT + 4 + 2u * SIZE, m->seen);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (get16(m, USED_AT + 2) != m->seen) {
        return;
    }
    if (read(m->call, &count, sizeof count) < 0 &&
        (poll(&p, 1, -1) != 1 || read(m->call, &count, sizeof count) < 0)) {
        fail("call");
    }
}

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    struct machine m = {.memfd = memfd_create("guest", 0)};
    unsigned depth = argc > 5 ? (unsigned)atoi(argv[4]) : 0;
    double seconds = argc > 5 ? atof(argv[5]) : 0;
    double start;
    uint64_t done = 0;

    if (argc < 6 || depth == 0 || depth > SIZE) {
        (void)fputs("usage: vhost_load SOCKET read|write BYTES DEPTH SECONDS [SEED]\n",
                    stderr);
        return 2;
    }
    m.write = strcmp(argv[2], "write") == 0;
    m.bytes = (uint32_t)atoi(argv[3]);
    m.seed = argc > 6 ? (unsigned)atoi(argv[6]) : 1;
    m.kick = eventfd(0, 0);
    m.call = eventfd(0, 0);
    if (m.bytes == 0 || m.bytes % 512 != 0 || m.bytes > DATA_MOST || m.memfd < 0 ||
        ftruncate(m.memfd, MEM_BYTES) != 0) {
        fail("memory");
    }
    m.mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                 m.memfd, 0);
    if (m.mem == MAP_FAILED) {
        fail("memory");
    }
    begin(&m, argv[1]);
    for (unsigned i = 0; i < depth; i++) {
        offer(&m, (uint16_t)i);
    }
    start = now();
    kick(&m);
    while (now() < start + seconds) {
        unsigned count = collect(&m);

        done += count;
        if (count == 0) {
            sleep_until_called(&m);
        }
    }
    (void)printf("%.0f\n", (double)done / (now() - start));
    return 0;
}
