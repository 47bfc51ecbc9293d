/* front.h - a vhost-user front end for tests, as a monitor would be.
 *
 * Written from docs/interop/vhost-user.rst and VIRTIO 1.2, without the back end's code.
 * Everything blocks; a failure that a test did not ask for ends the program. */
#ifndef TESTS_RESOURCE_STORAGE_VHOST_USER_FRONT_H
#define TESTS_RESOURCE_STORAGE_VHOST_USER_FRONT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/virtio/driver.h"

#define FRONT_GUEST  0x100000000u /* where the guest has its memory */
#define FRONT_USER   0x7f0000000000u
#define FRONT_QUEUES 4
#define FRONT_SLOTS  128u
#define FRONT_DATA   65536u /* of each slot */

#define F_FLUSH    ((uint64_t)1 << 9)
#define F_WCE      ((uint64_t)1 << 11)
#define F_DISCARD  ((uint64_t)1 << 13)
#define F_ZEROES   ((uint64_t)1 << 14)
#define F_LOG      ((uint64_t)1 << 26)
#define F_INDIRECT ((uint64_t)1 << 28)
#define F_EVENTS   ((uint64_t)1 << 29)
#define F_PROTOCOL ((uint64_t)1 << 30)
#define F_VERSION1 ((uint64_t)1 << 32)
#define F_PACKED   ((uint64_t)1 << 34)

enum front_type {
    T_READ = 0,
    T_WRITE = 1,
    T_FLUSH = 4,
    T_ID = 8,
    T_DISCARD = 11,
    T_ZEROES = 13
};

struct front_slot {
    bool busy;
    bool done;
    uint8_t status;
    uint32_t bytes; /* as the device counts them */
    uint16_t id;
};

struct front_queue {
    struct driver d;
    unsigned size;
    uint32_t base;
    int kick;
    int call;
    int error;
    struct front_slot slot[FRONT_SLOTS];
};

struct front {
    int fd;
    int memfd;
    uint8_t *mem;
    uint64_t bytes;
    uint64_t features;
    uint64_t protocol;
    int backend;
    int inflight; /* -1: none */
    uint8_t inflight_shape[24];
    struct front_queue q[FRONT_QUEUES];
};

/* Start a back end: `words` as for serve.c, NULL at the end; waits until it listens. */
pid_t front_spawn(const char *const *words, int *ret_out);
void front_kill(pid_t pid, int sig);

/* Memory for the machine; once. */
void front_init(struct front *f);
void front_fini(struct front *f);

/* Connect and agree on features (those wanted and offered). */
void front_connect(struct front *f, const char *path, uint64_t features);
void front_close(struct front *f);
void front_share_memory(struct front *f);

/* The account of requests under way: ask for one, or hand over the one there is. */
void front_inflight(struct front *f, uint16_t queues, uint16_t size);

/* Lay a queue out anew, and start it; or go on where it was. */
void front_lay_out(struct front *f, unsigned q, unsigned size);
void front_start(struct front *f, unsigned q);
uint32_t front_stop(struct front *f, unsigned q);

#define FRONT_REPLY 0x80000000u /* in `request`: an answer is wanted */

/* A message, with descriptors; and an answer: the length of its payload, or -1: the
 * connection has ended. */
int front_send(struct front *f, uint32_t request, const void *payload, uint32_t bytes,
               const int *fds, unsigned count);
int front_receive(struct front *f, void *reply, uint32_t most, int *ret_fd);
int front_ask(struct front *f, uint32_t request, const void *payload, uint32_t bytes,
              void *reply, uint32_t most);

/* The same for a message that says only how it went: 0 or 1; -1: the end. */
int front_tell(struct front *f, uint32_t request, const void *payload, uint32_t bytes,
               const int *fds, unsigned count);

/* A request in a slot, whose data lie at `front_data`.  Not kicked. */
void front_offer(struct front *f, unsigned q, unsigned slot, enum front_type type,
                 uint64_t sector, uint32_t bytes);
uint8_t *front_data(struct front *f, unsigned q, unsigned slot);
void front_kick(struct front *f, unsigned q);

/* Wait until a slot is done, at most so long; false: it is not. */
bool front_wait(struct front *f, unsigned q, unsigned slot, int timeout_ms);

/* Offer, kick, wait: the status. */
int front_do(struct front *f, unsigned q, enum front_type type, uint64_t sector,
             uint32_t bytes);

/* Take what the device has given back, without waiting; how many. */
unsigned front_collect(struct front *f, unsigned q);

void front_must(bool so, const char *file, int line, const char *what);
#define must(x) front_must((x), __FILE__, __LINE__, #x)

#endif
