/* node/private.h - the node's state and the guest record, shared by its files. */
#ifndef NODE_PRIVATE_H
#define NODE_PRIVATE_H

#include <limits.h>

#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "node/files.h"
#include "node/node.h"

#define NODE_ID_DIGITS   12
#define NODE_STATUS_MOST 4096

struct kv;
struct container;
struct image_store;
struct task;

struct node {
    char *state;   /* owned, absolute: what survives a reboot */
    char *run;     /* owned, absolute: what does not */
    char *program; /* owned */
    char *libexec; /* owned */
    bool rootless; /* not run by root: user namespaces, user-mode network */
    bool placed;   /* the directories are there, and ours */
    const struct log *log;
    struct kv *kv;              /* owned; NULL until `node_kv` */
    struct image_store *images; /* owned; NULL until `node_images` */
    node_progress_fn *progress;
    void *progress_arg;
};

/* open.c; `node_open_at` takes both places as they are. */
int node_open_at(const struct node_options *o, const char *state, const char *run,
                 struct node **ret, struct err *e);
int node_kv(struct node *n, struct kv **ret, struct err *e);
int node_images(struct node *n, struct image_store **ret, struct err *e);
void node_report(struct node *n, const char *what, uint64_t done, uint64_t total);

/* record.c: a guest's record is a JSON object under "/guests/ID". */
struct guest {
    char id[NODE_ID_DIGITS + 1];
    json_t *record;   /* owned */
    int64_t revision; /* of the record in the store; 0: not stored yet */
};

void guest_fini(struct guest *g);
const char *guest_text(const struct guest *g, const char *key); /* "" when missing */
json_t *guest_config(const struct guest *g);                    /* borrowed */

/* The one guest that `word` names. -ENOENT with a text, -ENOTUNIQ. */
int guest_find(struct node *n, const char *word, struct guest *ret, struct err *e);
int guest_load(struct node *n, const char *id, struct guest *ret, struct err *e);
int guest_reload(struct node *n, struct guest *g, struct err *e); /* g stays on failure */

/* Put the changed record back; -EAGAIN when somebody else changed it meanwhile. */
int guest_save(struct node *n, struct guest *g, struct err *e);

/* Every guest's record: array of objects. */
int guest_all(struct node *n, json_t **ret, struct err *e);

int guest_state_path(const struct node *n, const char *id, const char *file,
                     char out[PATH_MAX]);
int guest_run_path(const struct node *n, const char *id, const char *file,
                   char out[PATH_MAX]);

/* status.c: what the keeper wrote, checked against who holds the lock. */
enum guest_state {
    GUEST_CREATED,
    GUEST_RUNNING,
    GUEST_RESTARTING,
    GUEST_PAUSED,
    GUEST_STOPPED,
    GUEST_STATE_COUNT
};

struct guest_status {
    enum guest_state state;
    pid_t pid;
    pid_t keeper;
    int exit_code;
    int64_t restarts;
    bool ever_started;
    bool lost;       /* its keeper died */
    bool unfinished; /* it ended, and nobody has cleaned up after it */
    char started[40];
    char finished[40];
    char health[16];
};

const char *guest_state_name(enum guest_state s);
int guest_status(struct node *n, const char *id, struct guest_status *ret, struct err *e);

bool guest_is_alive(const struct guest_status *st); /* running, paused, restarting */

/* As above, and cleans up when nobody did.  A guest that was to be removed at its
 * end is removed: -ENOENT. */
int guest_refresh(struct node *n, struct guest *g, struct guest_status *ret,
                  struct err *e);

/* -ENOENT for a guest left half made or half deleted, after its rest is removed; -EBUSY while
 * a command is at it. */
int guest_need_whole(struct node *n, struct guest *g, struct err *e);

/* The right to change a guest that does not run: a lock that ends with its last
 * holder.  -EBUSY names the state.  `wait_ms`: how long to try while it does not run. */
int guest_lock(struct node *n, const struct guest *g, int wait_ms, int *ret_fd,
               struct err *e);

/* The same for a guest in the store, whose record is read anew under the lock. */
int guest_lock_known(struct node *n, struct guest *g, int wait_ms, int *ret_fd,
                     struct err *e);

/* Whether somebody makes, holds or changes it. */
bool guest_is_locked(struct node *n, const char *id);

/* Wait until nobody holds the lock, at most so long. */
void guest_await_free(struct node *n, const struct guest *g, int wait_ms);

/* Connect to the keeper of a running guest and send the first packet. */
int guest_connect(struct node *n, const struct guest *g, const void *packet, size_t len,
                  int *ret_fd, struct err *e);

/* Read packets until KEEPER_EXIT or the connection ends. */
int guest_await_end(int fd, int *ret_code);

/* guest.c: what a new guest is copied from; of a machine also its memory. */
struct guest_source {
    const struct guest *guest;
    const char *snapshot; /* NULL: as it is */
    bool memory;
};

/* The lock of the new guest is handed over.  `from` may be NULL. */
int guest_make(struct node *n, const json_t *order, const struct guest_source *from,
               struct guest *ret, int *ret_lock, struct err *e);

/* `guest_refresh`, and what the store and the kernel add to it. */
int guest_state_now(struct node *n, struct guest *g, struct guest_status *ret,
                    struct err *e);
json_t *guest_describe(const struct guest *g, const struct guest_status *st);
json_t *guest_told(struct node *n, const struct guest *g, const struct guest_status *st);
json_t *guest_inspection(struct node *n, const struct guest *g,
                         const struct guest_status *st);
json_t *guest_limits(const struct guest *g);

/* log/notes.c: between the two, warnings are kept for `notes_read` as well. */
struct notes {
    struct log log;
    const struct log *below;
    char path[PATH_MAX];
};

void notes_begin(struct node *n, const struct guest *g, struct notes *s);
void notes_end(struct node *n, const struct notes *s);
json_t *notes_read(struct node *n, const struct guest *g); /* array of texts */

/* order.c: check an order and make the configuration part of a record; nothing of the host
 * is looked at. */
int order_to_config(const json_t *order, json_t **ret_config, struct err *e);

/* order_machine.c: what a kind does not have is refused: "cannot WHAT guest 'x': ...". */
int order_take_disks(json_t *config, struct err *e);
int order_check_kind(json_t *config, struct err *e);
bool guest_is_machine(const struct guest *g);
int guest_need_container(const struct guest *g, const char *what, struct err *e);
int guest_need_machine(const struct guest *g, const char *what, struct err *e);

/* spec/check.c: what a plan is made of can be read. */
int spec_check(const json_t *config, struct err *e);

/* spec/spec.c: the plan that a worker carries out, from a record. */
int spec_build(struct node *n, const struct guest *g, json_t **ret_spec, struct err *e);

/* launch.c: make the guest's processes.  `lock` is taken. *ret_console: as of run. */
int launch_guest(struct node *n, struct guest *g, int lock, bool attach, int *ret_console,
                 struct err *e);

/* finish.c: after the end: resources go back, the record is brought up to date.
 * The caller holds the lock. */
int finish_guest(struct node *n, struct guest *g, struct err *e);
int remove_guest(struct node *n, struct guest *g, struct err *e);

/* The same for one that was whole; the host realm's log tells once it is gone. */
int delete_guest(struct node *n, struct guest *g, struct err *e);

/* A guest that ran before, and whose run-time files are gone: nothing tells what is left
 * of it, so that its control group and its ports are looked for. */
int guest_clear_stale(struct node *n, const struct guest *g, struct err *e);

/* STATE/guests/.ID.gone is a deleted guest's directory on its way out. */
#define GUEST_GONE ".gone"

/* A start or an exec failed: tell apart the failures of the program itself, whose
 * text begins "cannot run 'PROGRAM'".  The code, also put into `e`. */
int guest_program_error(const char *program, struct err *e);

/* volume/files/files.c: keys that a new guest takes for the volumes that its configuration names;
 * -ENOENT, or -EBUSY when a private one has another owner. */
struct record_claims;
int volume_claim(struct node *n, const struct guest *g, struct record_claims *c,
                 struct err *e);

/* volume/files/files.c: the directories of a recorded guest's volumes are there, even when the
 * command that made one was killed. */
int volume_make(struct node *n, const struct guest *g, struct err *e);

/* volume/files/files.c: the keys that a guest has for its volumes. */
struct strv;
int volume_claimed(struct node *n, const struct guest *g, struct strv *keys,
                   struct err *e);

/* volume/files/files.c: directories of volumes, and layers, that no record has; each is told to `fn`. */
void volume_sweep(struct node *n, void (*fn)(void *arg, const char *name), void *arg);

/* net/: addresses and ports of a guest, in the store. */
int net_allocate(struct node *n, struct guest *g, struct err *e);
int net_release(struct node *n, const struct guest *g, struct err *e);
int net_ensure_up(struct node *n, const struct guest *g, struct err *e);
int net_write_hosts(struct node *n, const struct guest *g, struct err *e);
void net_doctor(struct node *n, json_t *findings); /* networks nobody needs */
int net_traffic(const struct guest *g, uint64_t *ret_received, uint64_t *ret_sent);

/* A guest's rate, either way, also live; the record `g` is changed, not saved.  0: none. */
int net_set_rate(struct node *n, struct guest *g, uint64_t bytes_per_second,
                 struct err *e);

/* Of these guests' records: link those that run again when somebody removed their bridge
 * or rules; how many.  Two round trips for each network that is whole.  The other only warns. */
int net_mend(struct node *n, const json_t *records, struct err *e);
void net_mend_quietly(struct node *n, const json_t *records);

/* Link the container of a plan to its network, and take any guest off again. */
int net_join(const json_t *spec, const struct container *c, struct err *e);
int net_leave(const json_t *spec, struct err *e);

/* The nf_tables table of a state directory: the usual one has the plain name. */
void net_table_name(const struct node *n, char out[32]);

/* log/event.c: one line in the host-realm log. */
int event_dir(struct node *n); /* descriptor of the log's directory, or -1 */
void event_write(struct node *n, const char *what, const struct guest *g,
                 const char *detail);

/* task of a running guest */
int guest_task(struct node *n, const struct guest *g, struct task **ret, struct err *e);

#endif
