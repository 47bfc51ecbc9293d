/* ask.c - one question to a machine's worker. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/str.h"
#include "virt/monitor/remote/private.h"

#define LOOK_MS 2000  /* for an answer that is ready */
#define WORK_MS 20000 /* ... that takes work */

static int connect_to(const char *directory, struct err *e)
{
    SCOPED(scope_close) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    SCOPED(scope_close)
    int dir = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    (void)str_print(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d/" FAR_SOCKET, dir);
    if (fd < 0 || dir < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) < 0) {
        return err_sys(e, errno == ENOENT || errno == ECONNREFUSED ? -ESRCH : -errno,
                       "cannot reach the machine");
    }
    return scope_take_fd(&fd);
}

/* A packet, with the descriptors behind it. */
static ssize_t send_with(int fd, uint8_t *packet, size_t n, const struct far_question *q)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(FAR_QUESTION_FDS * sizeof(int))];
    } along;

    struct iovec iov = {.iov_base = packet, .iov_len = n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (q->n_fds > 0) {
        memset(&along, 0, sizeof along);
        msg.msg_control = along.bytes;
        msg.msg_controllen = CMSG_SPACE(q->n_fds * sizeof(int));
        along.head.cmsg_level = SOL_SOCKET;
        along.head.cmsg_type = SCM_RIGHTS;
        along.head.cmsg_len = CMSG_LEN(q->n_fds * sizeof(int));
        memcpy(CMSG_DATA(&along.head), q->fds, q->n_fds * sizeof(int));
    }
    return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static int send_request(int fd, const struct far_question *q, struct err *e)
{
    SCOPED(scope_free)
    char *text = q->arg != NULL ? json_dumps(q->arg, JSON_COMPACT) : NULL;
    size_t len = text != NULL ? strlen(text) : 0;
    uint8_t packet[FAR_MOST_BYTES];
    const struct far_head h = {.size = (uint32_t)(FAR_HEAD_BYTES + len),
                               .version = FAR_VERSION,
                               .word = (uint16_t)q->verb,
                               .serial = 1};

    if (len > sizeof packet - FAR_HEAD_BYTES || (q->arg != NULL && text == NULL) ||
        q->n_fds > FAR_QUESTION_FDS) {
        return err_set(e, -EMSGSIZE, "cannot ask the machine so much");
    }
    far_head_write(&h, packet);
    if (len != 0) {
        memcpy(packet + FAR_HEAD_BYTES, text, len);
    }
    return send_with(fd, packet, h.size, q) < 0
               ? err_sys(e, -errno, "cannot ask the machine")
               : 0;
}

static int read_answer(const uint8_t *packet, size_t n, json_t **ret, struct err *e)
{
    SCOPED(scope_json) json_t *body = NULL;
    struct far_head h;
    int r = far_head_read(packet, n, FAR_KIND_COUNT, &h, e);

    if (r == 0 && n > FAR_HEAD_BYTES) {
        r = json_parse((const char *)packet + FAR_HEAD_BYTES, n - FAR_HEAD_BYTES,
                       "the machine's answer", &body, e);
    }
    if (r < 0) {
        return r;
    }
    if (h.word == FAR_ERROR) {
        const char *text = json_string_value(json_object_get(body, "text"));
        json_int_t code = json_integer_value(json_object_get(body, "code"));

        return err_set(e, code > 0 && code < 4096 ? (int)-code : -EIO, "%s",
                       text != NULL ? text : "the machine refused");
    }
    if (ret != NULL) {
        *ret = body != NULL ? json_incref(body) : json_object();
    }
    return 0;
}

int far_ask_with(const char *directory, const struct far_question *q, json_t **ret,
                 struct err *e)
{
    int usual = q->verb <= FAR_STATS ? LOOK_MS : WORK_MS;
    SCOPED(scope_close) int fd = connect_to(directory, e);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint8_t packet[FAR_MOST_BYTES];
    ssize_t n;
    int r = fd < 0 ? fd : send_request(fd, q, e);

    if (r < 0) {
        return r;
    }
    do {
        r = poll(&p, 1, q->wait_ms > 0 ? q->wait_ms : usual);
    } while (r < 0 && errno == EINTR);
    if (r <= 0) {
        return err_set(e, -ETIMEDOUT, "the machine does not answer");
    }
    n = recv(fd, packet, sizeof packet, 0);
    if (n <= 0) {
        return err_set(e, -ESRCH, "the machine has ended");
    }
    return read_answer(packet, (size_t)n, ret, e);
}

int far_ask(const char *directory, enum far_verb verb, const json_t *arg, json_t **ret,
            struct err *e)
{
    const struct far_question q = {.verb = verb, .arg = arg};

    return far_ask_with(directory, &q, ret, e);
}
