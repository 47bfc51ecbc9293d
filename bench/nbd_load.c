/* nbd_load.c - a client that costs little, to load an NBD server.
 *
 *     nbd_load SOCKET read|write BYTES DEPTH SECONDS [SEED]
 *     nbd_load SOCKET touch BYTES DEPTH STRIDE
 *
 * Keeps DEPTH requests of BYTES at random offsets of the first 64 MiB in flight on one
 * connection, in batches: one send for all that may go, one recv for all that has come.
 * `touch` writes once to each stride of the whole disk, in an order without neighbours.
 * Prints requests per second, and the longest time without an answer in microseconds.
 * Common clients cost more than a server does, so that on two cores they
 * measure themselves. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MOST 256
#define IN_BYTES   (1024 * 1024)
#define SPAN_BYTES (64u * 1024 * 1024)

static void put(char *at, uint64_t v, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--) {
        at[i] = (char)v;
        v >>= 8;
    }
}

static uint64_t get(const char *at, int bytes)
{
    uint64_t v = 0;

    for (int i = 0; i < bytes; i++) {
        v = v << 8 | (unsigned char)at[i];
    }
    return v;
}

static void fail(const char *what)
{
    (void)fprintf(stderr, "nbd_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void read_all(int fd, char *buf, size_t n)
{
    while (n > 0) {
        ssize_t k = read(fd, buf, n);

        if (k <= 0) {
            fail("the server left");
        }
        buf += k;
        n -= (size_t)k;
    }
}

/* The size of the export. */
static uint64_t shake_hands(int fd)
{
    uint64_t size = 0;
    char hello[18];
    char go[4 + 16 + 6] = {0};
    char head[20];
    char rest[4096];

    read_all(fd, hello, sizeof hello);
    put(go, 3, 4);
    put(go + 4, 0x49484156454f5054u, 8);
    put(go + 12, 7, 4); /* NBD_OPT_GO, the export without a name */
    put(go + 16, 6, 4);
    if (write(fd, go, sizeof go) != sizeof go) {
        fail("handshake");
    }
    do {
        read_all(fd, head, sizeof head);
        if (get(head + 16, 4) > sizeof rest) {
            fail("handshake");
        }
        read_all(fd, rest, get(head + 16, 4));
        if (get(head + 12, 4) & 0x80000000u) {
            fail("refused");
        }
        if (get(head + 12, 4) == 3 && get(rest, 2) == 0) { /* NBD_INFO_EXPORT */
            size = get(rest + 2, 8);
        }
    } while (get(head + 12, 4) != 1);
    return size;
}

struct load {
    int fd;
    int writes;
    uint32_t bytes;
    unsigned depth;
    uint64_t random;
    uint64_t size;
    uint64_t stride; /* touch; 0: random offsets */
    uint64_t sent;
    uint64_t step;
    char heads[DEPTH_MOST][28];
    char *payload;
    char *in;
    size_t in_end;
    size_t skip; /* bytes of a payload that are still to come */
    uint64_t done;
};

static uint64_t next_offset(struct load *l)
{
    uint64_t strides = l->stride > 0 ? l->size / l->stride : 0;

    if (l->stride > 0) {
        return l->sent++ * l->step % strides * l->stride;
    }
    l->random = l->random * 6364136223846793005u + 1442695040888963407u;
    return (l->random >> 20) % (SPAN_BYTES / l->bytes) * l->bytes;
}

static void send_some(struct load *l, unsigned count)
{
    struct iovec iov[2 * DEPTH_MOST];
    struct msghdr m = {.msg_iov = iov};

    for (unsigned i = 0; i < count; i++) {
        put(l->heads[i], 0x25609513u, 4);
        put(l->heads[i] + 4, 0, 2);
        put(l->heads[i] + 6, l->writes ? 1 : 0, 2);
        put(l->heads[i] + 8, l->done + i, 8);
        put(l->heads[i] + 16, next_offset(l), 8);
        put(l->heads[i] + 24, l->bytes, 4);
        iov[m.msg_iovlen++] = (struct iovec){l->heads[i], 28};
        if (l->writes) {
            iov[m.msg_iovlen++] = (struct iovec){l->payload, l->bytes};
        }
    }
    while (m.msg_iovlen > 0) {
        ssize_t n = sendmsg(l->fd, &m, MSG_NOSIGNAL);

        if (n < 0) {
            fail("send");
        }
        while (m.msg_iovlen > 0 && (size_t)n >= m.msg_iov->iov_len) {
            n -= (ssize_t)m.msg_iov->iov_len;
            m.msg_iov++;
            m.msg_iovlen--;
        }
        if (m.msg_iovlen > 0) {
            m.msg_iov->iov_base = (char *)m.msg_iov->iov_base + n;
            m.msg_iov->iov_len -= (size_t)n;
        }
    }
}

/* Take what is still in flight, and leave: servers dislike to be left in the middle. */
static void leave(struct load *l);

/* Answers that have come whole. */
static unsigned take_answers(struct load *l)
{
    ssize_t n = read(l->fd, l->in + l->in_end, IN_BYTES - l->in_end);
    size_t at = 0;
    unsigned count = 0;

    if (n <= 0) {
        fail("the server left");
    }
    l->in_end += (size_t)n;
    for (;;) {
        size_t have = l->in_end - at;
        size_t part = l->skip < have ? l->skip : have;

        l->skip -= part;
        at += part;
        if (l->skip > 0) {
            break;
        }
        if (part > 0 && !l->writes) {
            count++;
        }
        if (l->in_end - at < 16) {
            break;
        }
        if (get(l->in + at, 4) != 0x67446698u || get(l->in + at + 4, 4) != 0) {
            fail("an answer makes no sense");
        }
        at += 16;
        if (l->writes) {
            count++;
        } else {
            l->skip = l->bytes;
        }
    }
    memmove(l->in, l->in + at, l->in_end - at);
    l->in_end -= at;
    return count;
}

static void leave(struct load *l)
{
    char head[28] = {0};
    unsigned left = l->depth;

    while (left > 0) {
        left -= take_answers(l);
    }
    put(head, 0x25609513u, 4);
    put(head + 6, 2, 2); /* NBD_CMD_DISC */
    if (write(l->fd, head, sizeof head) != sizeof head) {
        fail("send");
    }
    while (read(l->fd, l->in, IN_BYTES) > 0) {
    }
}

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    return b == 0 ? a : common_divisor(b, a % b);
}

/* A step that meets each stride once, far from the last one. */
static void plan_touch(struct load *l, uint64_t stride)
{
    uint64_t strides = l->size / stride;

    l->stride = stride;
    l->writes = 1;
    l->step = strides * 5 / 13 + 1;
    while (common_divisor(l->step, strides) != 1) {
        l->step++;
    }
}

/* Until every stride has its bytes, or the time is over. */
static void run(struct load *l, double seconds)
{
    double start = now();
    double last = start;
    double longest = 0;
    uint64_t most = l->stride > 0 ? l->size / l->stride : UINT64_MAX;

    send_some(l, l->depth);
    while (l->stride > 0 ? l->done < most : last - start < seconds) {
        unsigned n = take_answers(l);
        double at = now();

        longest = at - last > longest ? at - last : longest;
        last = at;
        l->done += n;
        n = most - l->sent < n ? (unsigned)(most - l->sent) : n;
        if (n > 0) {
            send_some(l, n);
        }
    }
    (void)printf("%.0f %.0f\n", (double)l->done / (now() - start), longest * 1e6);
    if (l->stride > 0) {
        l->depth = 0; /* nothing is in flight any more */
    }
}

int main(int argc, char **argv)
{
    static struct load l;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    double seconds;

    if (argc < 6) {
        (void)fputs(
            "usage: nbd_load SOCKET read|write|touch BYTES DEPTH SECONDS|STRIDE [SEED]\n",
            stderr);
        return 2;
    }
    l.fd = socket(AF_UNIX, SOCK_STREAM, 0);
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", argv[1]);
    if (connect(l.fd, (struct sockaddr *)&a, sizeof a) != 0) {
        fail(argv[1]);
    }
    l.writes = strcmp(argv[2], "write") == 0;
    l.bytes = (uint32_t)strtoul(argv[3], NULL, 10);
    l.depth = (unsigned)strtoul(argv[4], NULL, 10);
    seconds = strtod(argv[5], NULL);
    l.random = argc > 6 ? strtoull(argv[6], NULL, 10) : 1;
    l.payload = malloc(l.bytes);
    l.in = malloc(IN_BYTES);
    if (l.payload == NULL || l.in == NULL || l.depth == 0 || l.depth > DEPTH_MOST) {
        fail("arguments");
    }
    memset(l.payload, 'p', l.bytes);
    l.size = shake_hands(l.fd);
    if (strcmp(argv[2], "touch") == 0) {
        plan_touch(&l, (uint64_t)seconds);
    }
    run(&l, seconds);
    leave(&l);
    return 0;
}
