/* iscsi_private.h - a session with an iSCSI target, and the commands in it. */
#ifndef RESOURCE_STORAGE_REMOTE_ISCSI_PRIVATE_H
#define RESOURCE_STORAGE_REMOTE_ISCSI_PRIVATE_H

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/strand.h"
#include "host/loop/loop.h"
#include "resource/storage/remote/remote.h"

struct err;
struct remote_session;

#define REMOTE_WHY_BYTES 256

/* libiscsi is loaded by the first disk of this kind, and stays. */
struct remote_iscsi_calls {
#define CALL(name) __typeof__(name) *name;
#include "resource/storage/remote/iscsi.rows.h"
#undef CALL
};

/* One SCSI command; on the stack of the strand that waits for it. */
struct remote_command {
    /* Hand it to libiscsi with `remote_session_done` and the command itself: the task.
     * NULL: it could not. */
    struct scsi_task *(*begin)(struct remote_session *s, struct remote_command *c);

    /* Its data came; the task is there.  0 or -errno.  NULL: nobody wants them. */
    int (*take)(struct remote_command *c);
    struct scsi_task *task; /* of libiscsi; freed by the session */

    /* Of the session. */
    struct remote_session *session;
    struct strand *waiter;
    struct remote_command *next; /* among those under way, or those that are done */
    struct remote_command *previous;
    int status; /* enum scsi_status of libiscsi */
    bool done;
};

enum remote_session_state {
    REMOTE_SESSION_DOWN,
    REMOTE_SESSION_UP,
    REMOTE_SESSION_DEAD
};

struct remote_session {
    struct remote_iscsi_calls call;
    struct loop *loop;
    const char *label; /* names the target in messages: no secrets; borrowed */
    struct strand_pool *strands;
    struct remote_iscsi_options options; /* texts: owned */
    struct iscsi_url url;                /* parsed; a copy that belongs to no handle */
    struct iscsi_context *handle;        /* owned; NULL: between two connections */
    struct loop_watch watch;
    struct loop_task push;            /* sends what was begun in this turn */
    struct loop_timer tick;           /* each second while commands are under way */
    struct loop_timer alarm;          /* the end of an attempt to connect */
    struct remote_command *under_way; /* the oldest first */
    struct remote_command *under_way_last;
    struct remote_command *done_first; /* finished inside a call of libiscsi */
    struct remote_command *done_last;
    struct remote_command *connecting; /* who waits for the socket */
    struct strand_queue waiting;       /* for a connection */
    struct strand_queue ending;        /* for the strand that mends */
    enum remote_session_state state;
    bool lost;    /* the connection is of no use any more */
    bool probing; /* a new one: the first command goes alone */
    bool mending;
    bool closing;
    bool ever;            /* it has been up */
    uint32_t name;        /* of this initiator's port: the same in each connection */
    uint64_t heard_ns;    /* when the target last said anything */
    uint64_t patience_ns; /* when those who wait are told so; 0: nobody waits */
    char address[64];   /* of the last connection, without a name to look up; "": none */
    bool by_name;       /* the next attempt looks the name up all the same */
    char redirect[256]; /* where the target has moved to; "": nowhere */
    char why[REMOTE_WHY_BYTES]; /* the connection failed */

    /* Look at the unit of a new connection, with `remote_session_try`.  -ESTALE: it is not
     * the one that it was. */
    int (*greet)(struct remote_session *s, struct err *e);
};

/* Parse the options and connect for the first time.  In a strand; also after a failure
 * `remote_session_stop` is called. */
int remote_session_start(struct remote_session *s, const struct remote_iscsi_options *o,
                         struct err *e);

/* Log out and forget everything.  In a strand, without commands under way. */
void remote_session_stop(struct remote_session *s);

/* Run a command, again where the connection was lost or the target was busy.  -ENODEV:
 * the target has been away too long. */
int remote_session_run(struct remote_session *s, struct remote_command *c);

/* The same on the connection that is there, or -ECONNRESET. */
int remote_session_try(struct remote_session *s, struct remote_command *c);

/* What libiscsi calls. */
void remote_session_done(struct iscsi_context *handle, int status, void *data, void *arg);

#endif
