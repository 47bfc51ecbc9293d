/* node.h - one host as a whole: what every command does, for any front end.
 *
 * The command half (this header) validates, records and spawns; it is linked by
 * `strata`.  The worker half (`node_worker`) is what a forked child does to make
 * a guest.  Both are wiring: mechanism is in virt, resource, store and host.
 *
 * Arguments that people gave come as one JSON object, the *order*: a member per
 * option of the operation's record, named as the long option with '_' for '-',
 * in the record's type (sizes are bytes, durations milliseconds, processors
 * thousandths, lists arrays, flags booleans); an option not given is missing.
 * Results are JSON in the shape of the operation's result schema; the caller
 * owns them.
 *
 * Threads: one per `struct node`.  Errors: 0 or -errno with the text for a
 * person in `e`; NODE_USAGE in the order is -EINVAL. */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct log;
struct node;

/* Beyond every errno: the guest or `exec` is fine, its program cannot be run. */
#define NODE_NO_PROGRAM    (-5127) /* it is not there */
#define NODE_NO_EXECUTABLE (-5126) /* it is no program, or not allowed */

/* The exit code of a command whose guest or program did not start: 125, 126, 127. */
static inline int node_start_code(const struct err *e)
{
    return e->code == NODE_NO_PROGRAM ? 127 : e->code == NODE_NO_EXECUTABLE ? 126 : 125;
}

struct node_options {
    const char *state;   /* --state DIR; NULL: the usual places */
    const char *program; /* absolute path of this `strata` */
    const char *libexec; /* directory of the other programs */
    const struct log *log;
};

/* Cheap: opens nothing, and makes no directory, that the first call does not need. */
int node_open(const struct node_options *o, struct node **ret, struct err *e);

/* The directories of the state are there and ours; every call that needs them sees to it. */
int node_need_places(struct node *n, struct err *e);
void node_close(struct node *n); /* NULL is fine */

/* Progress of long work, for a terminal.  `total` 0: not known. */
typedef void node_progress_fn(void *arg, const char *what, uint64_t done, uint64_t total);
void node_set_progress(struct node *n, node_progress_fn *fn, void *arg);

/* Called once with the connected console of a guest that `node_run` started. */
struct node_run_result {
    json_t *guest;    /* the record, as `inspect` shows it */
    int console;      /* connected to the keeper (see node/keeper); -1 when detached */
    bool terminal;    /* the guest has a terminal */
    bool interactive; /* input is wanted */
};

/* Guests.  GUEST is a name, an id, or the beginning of an id that fits one. */
int node_guest_create(struct node *n, const json_t *order, json_t **ret, struct err *e);

/* Create and start.  In the foreground (`detach` not set) the caller copies the
 * console until KEEPER_EXIT and then calls `node_run_end`, which removes the
 * guest when `rm` was ordered. */
int node_run(struct node *n, const json_t *order, struct node_run_result *ret,
             struct err *e);
int node_run_end(struct node *n, const json_t *guest, struct err *e);

/* order (or NULL): fresh, engine, attach: *ret_console is the owner's console then, as of
 * `node_run`; else -1. */
int node_guest_start(struct node *n, const char *guest, const json_t *order,
                     int *ret_console, struct err *e);

/* signal 0 and timeout UINT64_MAX: the guest's own.  Returns when it ended. */
int node_guest_stop(struct node *n, const char *guest, int signal, uint64_t timeout_ms,
                    struct err *e);
int node_guest_kill(struct node *n, const char *guest, int signal, bool all,
                    struct err *e);
int node_guest_restart(struct node *n, const char *guest, uint64_t timeout_ms,
                       struct err *e);
int node_guest_pause(struct node *n, const char *guest, struct err *e);
int node_guest_resume(struct node *n, const char *guest, struct err *e);

/* Machines only: their reset button; to disk, until the next start. */
int node_guest_reset(struct node *n, const char *guest, struct err *e);
int node_guest_save(struct node *n, const char *guest, struct err *e);

/* Machines only: a disk comes; order: disk.  It goes; order: name, timeout. */
int node_guest_attach(struct node *n, const char *guest, const json_t *order,
                      struct err *e);
int node_guest_detach(struct node *n, const char *guest, const json_t *order,
                      struct err *e);

/* Machines only: what they are now is remembered; back to that; an ELF core file. */
int node_guest_mark(struct node *n, const char *guest, struct err *e);
int node_guest_rewind(struct node *n, const char *guest, struct err *e);
/* What its screen shows, into an empty file; keys for its keyboard. */
int node_guest_screen(struct node *n, const char *guest, int fd, struct err *e);
int node_guest_type(struct node *n, const char *guest, const char *const *keys,
                    size_t n_keys, struct err *e);
int node_guest_dump(struct node *n, const char *guest, const char *file, struct err *e);

/* Machines only: a debugger that speaks gdb's protocol is this socket, or comes to it; -1: no
 * debugger comes any more. */
int node_guest_gdb(struct node *n, const char *guest, int fd, bool listens,
                   struct err *e);

/* order: guest, cpu, address, length, physical, time, most, as each operation has them; `what`
 * is its last word: regs, memory, translate, trace. */
int node_guest_look(struct node *n, const char *what, const json_t *order, json_t **ret,
                    struct err *e);

/* `force`: also a running or protected one. */
int node_guest_delete(struct node *n, const char *guest, bool force, struct err *e);

/* order: cpus, cpu_weight, memory, pids, io_read, io_write, restart, label[]. */
int node_guest_resize(struct node *n, const char *guest, const json_t *order,
                      struct err *e);
int node_guest_rename(struct node *n, const char *guest, const char *name, struct err *e);

/* order: name, full (copy the layers, too), start, network, ip. */
int node_guest_clone(struct node *n, const char *guest, const json_t *order, json_t **ret,
                     struct err *e);

/* An array; `all`: also those that do not run.  filters: "label=K=V", "state=..". */
int node_guest_list(struct node *n, bool all, const char *const *filters, json_t **ret,
                    struct err *e);
int node_guest_inspect(struct node *n, const char *guest, json_t **ret, struct err *e);

/* One JSON object: the members of `struct task_stats`, name, id. */
int node_guest_stats(struct node *n, const char *guest, json_t **ret, struct err *e);

/* Hand each line to `fn` until it returns non-zero (handed back) or the log
 * ends; with `follow` until the guest ends.  since_ns 0: all; tail -1: all. */
struct node_log_line {
    const char *time;
    const char *stream;
    const char *text; /* `len` bytes, no newline */
    size_t len;
    bool partial; /* more of this line follows */
};

typedef int node_log_fn(void *arg, const struct node_log_line *line);

struct node_log_query {
    int64_t since_ns;
    int64_t tail;
    bool follow;
    node_log_fn *fn;
    void *arg;
};

int node_guest_logs(struct node *n, const char *guest, const struct node_log_query *q,
                    struct err *e);

/* A socket to the keeper that ATTACH was sent on.  *ret_terminal: raw mode is right. */
int node_guest_console(struct node *n, const char *guest, int *ret_fd, bool *ret_terminal,
                       struct err *e);

/* Wait for the end; its exit code.  A guest that does not run: its last code. */
int node_guest_wait(struct node *n, const char *guest, int *ret_code, struct err *e);

/* order: command[], env[], workdir, user, tty, interactive.  Without a terminal the
 * program gets this process' standard streams; with one *ret_master is its end. */
int node_guest_exec(struct node *n, const char *guest, const json_t *order,
                    int *ret_pidfd, int *ret_master, struct err *e);

/* Exit code of a program that `node_guest_exec` started, after its pidfd is readable. */
int node_exec_code(int pidfd);

/* FROM and TO: "GUEST:/path", a host path, or "-" for a tar stream on standard input or
 * output.  `follow`: where FROM is a link, copy what it leads to. */
int node_guest_cp(struct node *n, const char *from, const char *to, bool follow,
                  struct err *e);

/* Record that an operation on `object` (NULL: none) was refused, and who had asked; not
 * when that was before a state directory was needed. */
void node_refused(struct node *n, const char *op, const char *object,
                  const struct err *e);

/* Events of the host realm as JSON objects; ends when `fn` returns non-zero. */
typedef int node_event_fn(void *arg, const json_t *event);
int node_events(struct node *n, int64_t since_ns, bool follow, node_event_fn *fn,
                void *arg, struct err *e);

/* Disk snapshots. */
int node_snapshot_create(struct node *n, const char *guest, const char *name,
                         json_t **ret, struct err *e);
int node_snapshot_list(struct node *n, const char *guest, json_t **ret, struct err *e);
int node_snapshot_restore(struct node *n, const char *guest, const char *name,
                          struct err *e);
int node_snapshot_delete(struct node *n, const char *guest, const char *name,
                         struct err *e);

/* Images: `op` is the operation's word ("build", "import", "pull" ...), the order
 * its options and arguments. */
int node_image(struct node *n, const char *op, const json_t *order, json_t **ret,
               struct err *e);

/* Keep the store of images on the pool that the order names, wherever it was. */
int node_image_move(struct node *n, const char *op, const json_t *order, json_t **ret,
                    struct err *e);

/* Networks, pools and volumes: `op` is the second word of the operation. */
int node_network(struct node *n, const char *op, const json_t *order, json_t **ret,
                 struct err *e);
int node_pool(struct node *n, const char *op, const json_t *order, json_t **ret,
              struct err *e);
int node_care(struct node *n, const char *op, const json_t *order, json_t **ret,
              struct err *e); /* of pools: what concerns their volumes, too */
int node_volume(struct node *n, const char *op, const json_t *order, json_t **ret,
                struct err *e);

/* Serve a volume that is a disk until it is interrupted; `ready` is called with its
 * address once clients can connect. */
int node_volume_export(struct node *n, const char *name, const json_t *order,
                       void (*ready)(void *arg, const char *address), void *arg,
                       struct err *e);

/* The host: `info` (an object) and `doctor` (an array of findings; `n` may be NULL where
 * none can be opened). */
int node_host_info(struct node *n, json_t **ret, struct err *e);
int node_doctor(struct node *n, json_t **ret, struct err *e);

/* The levels of virtualization as an array; order: run (one job at each), kernel, work,
 * level[]. */
int node_levels(struct node *n, const json_t *order, json_t **ret, struct err *e);

/* The system calls that a guest (NULL: any without a profile of its own) may make. */
int node_syscalls(struct node *n, const char *guest, json_t **ret, struct err *e);

/* Clean up after keepers and commands that died; what was found, as an array. */
int node_reconcile(struct node *n, json_t **ret, struct err *e);

/* Start the guests that should run after a boot of the host. */
int node_autostart(struct node *n, json_t **ret, struct err *e);

/* `strata oci ...`: argv[0] is "oci".  Returns the exit code. */
int node_oci(int argc, char **argv);

/* `strata --worker ROLE RUN-DIR ...`, executed by keepers.  Returns the exit code. */
int node_worker(int argc, char **argv);

#endif
