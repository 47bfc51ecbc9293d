/* node/keeper/private.h - the keeper's state, shared by its files. */
#ifndef NODE_KEEPER_PRIVATE_H
#define NODE_KEEPER_PRIVATE_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/keeper/keeper.h"

#define KEEPER_LINE_BYTES 4096

enum keeper_phase {
    KEEPER_RUNNING,
    KEEPER_RESTARTING, /* the guest ended; waiting before it is started again */
    KEEPER_ENDED
};

/* One stream of output, cut into log lines. */
struct keeper_stream {
    int fd;           /* -1: closed */
    char type;        /* KEEPER_OUT or KEEPER_ERR */
    const char *name; /* "stdout", "stderr" */
    size_t len;       /* bytes of `line` in use */
    char line[KEEPER_LINE_BYTES];
};

struct keeper_viewer {
    int fd; /* -1: free place */
    bool wants_output;
    bool is_new;   /* its first packet has not come */
    bool is_stuck; /* the last packet did not fit into its socket */
    int64_t stuck_since_ms;
};

struct keeper {
    struct keeper_config c; /* descriptors are owned */
    enum keeper_phase phase;
    int pidfd;
    struct keeper_stream streams[2];
    struct keeper_viewer viewers[KEEPER_VIEWERS_MAX];
    uint64_t log_size;
    int64_t started_ms;
    char started_text[40];
    char finished_text[40];
    int exit_code;
    bool rested; /* nothing happened since the pages of the program were given back */
    bool stop_wanted;                /* somebody asked: no restart */
    int64_t kill_at_ms;              /* 0: no SIGKILL is due */
    int64_t end_at_ms;               /* 0: the guest may run as long as it likes */
    int64_t restart_at_ms;           /* in KEEPER_RESTARTING */
    char input[KEEPER_PACKET_BYTES]; /* taken from a viewer, not yet by the guest */
    size_t input_at;
    size_t input_len;
    bool input_ends;  /* close the input after what is held */
    pid_t health_pid; /* 0: no check runs */
    int health_pidfd;
    int64_t health_at_ms; /* when the next check starts, or the running one is over */
    uint64_t health_failures;
    const char *health; /* "starting", "healthy", "unhealthy"; NULL: no checks */
};

/* Milliseconds of a clock that never jumps. */
int64_t keeper_now_ms(void);

/* log.c: append output to the log, line by line; `flush` writes a last
 * unfinished line. */
void keeper_log_bytes(struct keeper *k, struct keeper_stream *s, const char *bytes,
                      size_t len);
void keeper_log_flush(struct keeper *k, struct keeper_stream *s);

/* status.c: tell the world. */
void keeper_write_status(struct keeper *k);
void keeper_write_event(struct keeper *k, const char *what);

/* viewer.c */
void keeper_viewers_init(struct keeper *k);
void keeper_viewer_accept(struct keeper *k);
void keeper_viewer_read(struct keeper *k, struct keeper_viewer *v);
void keeper_viewers_send(struct keeper *k, char type, const char *bytes, size_t len);
void keeper_viewers_finish(struct keeper *k);

/* True while some viewer must catch up before more output is read. */
bool keeper_viewers_stuck(struct keeper *k);

/* health.c */
void keeper_health_init(struct keeper *k);
void keeper_health_due(struct keeper *k, int64_t now);
void keeper_health_ended(struct keeper *k);

/* input.c: hand held input to the guest as far as it takes it. */
void keeper_input_push(struct keeper *k);
void keeper_input_take(struct keeper *k, const char *bytes, size_t len);
void keeper_input_end(struct keeper *k);

/* Ask the guest to end: `signal` now, SIGKILL after `patience_ms`. */
void keeper_stop(struct keeper *k, int signal, uint32_t patience_ms);

/* end.c: after the guest's first program was reaped. */
void keeper_guest_ended(struct keeper *k, int wait_status);
void keeper_restart_now(struct keeper *k);
int keeper_finish(struct keeper *k);

#endif
