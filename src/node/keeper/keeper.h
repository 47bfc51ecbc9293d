/* node/keeper/keeper.h - the process that holds one running guest.
 *
 * A keeper is what the process that made the guest's first program becomes by
 * executing the small `keeper` program: the first program stays its child.  It
 * copies the guest's output to the log and to whoever is attached, passes
 * input on, ends the guest when asked (signal, patience, SIGKILL), tells the
 * guest's state in a status file, and applies the restart policy.  It opens no
 * store and no image, and allocates nothing after start.
 *
 * All it needs comes as "key=value" words on its command line, most of them
 * descriptor numbers; `keeper_config_parse` and `keeper_config_words` are the
 * two directions of that. */
#ifndef NODE_KEEPER_KEEPER_H
#define NODE_KEEPER_KEEPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define KEEPER_VIEWERS_MAX  16
#define KEEPER_STATUS_BYTES 512   /* the status file has exactly this length */
#define KEEPER_PACKET_BYTES 16384 /* most bytes behind a packet's type */
#define KEEPER_EVENTS       "events.log"

struct err;
struct strv;

enum keeper_restart {
    KEEPER_RESTART_NO,
    KEEPER_RESTART_ON_FAILURE,
    KEEPER_RESTART_ALWAYS,
    KEEPER_RESTART_UNLESS_STOPPED,
    KEEPER_RESTART_COUNT
};

/* First byte of each packet on the control socket (SOCK_SEQPACKET, numbers
 * little-endian).  A connection begins with ATTACH, WAIT or STOP. */
enum keeper_packet {
    KEEPER_ATTACH = 'A', /* in: output and the end are wanted */
    KEEPER_WAIT = 'W',   /* in: only the end is wanted */
    KEEPER_STOP = 'S',   /* in: u32 signal, u32 patience in ms; the end is told */
    KEEPER_INPUT = 'i',  /* in: bytes for the guest's standard input */
    KEEPER_EOF = 'e',    /* in: no more input */
    KEEPER_RESIZE = 'r', /* in: u16 rows, u16 columns */
    KEEPER_OUT = 'o',    /* out: bytes of standard output, or of the terminal */
    KEEPER_ERR = 'E',    /* out: bytes of standard error */
    KEEPER_EXIT = 'x'    /* out: u32 exit code (128 + signal); the last packet */
};

/* Descriptors are -1 when absent. */
struct keeper_config {
    const char *id;
    const char *program; /* the `strata` program, for restart and clean-up */
    const char *run_dir; /* the guest's own directory of run-time files */
    pid_t pid;           /* first program of the guest, a child */
    int input;           /* guest's standard input, or its terminal's master */
    int output;          /* guest's standard output; -1 with a terminal */
    int error;
    int master; /* terminal */
    int status; /* status file, KEEPER_STATUS_BYTES long */
    int control;
    int log; /* current log file, append */
    int log_dir;
    int lock;       /* held while the guest lives */
    int events;     /* host-realm event log, append; of an older command: -1 now */
    int events_dir; /* directory of KEEPER_EVENTS */
    int viewers[KEEPER_VIEWERS_MAX];
    uint64_t n_viewers;
    bool owner; /* viewers[0] cleans up after the guest while it is connected */
    bool
        finishes; /* it cleans up itself, also where an owner is: mounts that only it sees */
    bool keeps_input; /* a serial line: what one viewer ends the next goes on with */
    bool reboots;     /* the guest may reboot(2): its end by SIGHUP is a restart */
    enum keeper_restart restart;
    uint64_t restart_most; /* 0: no bound */
    uint64_t restarts;
    uint64_t run_ms; /* ask the guest to end after this long; 0: never */
    uint64_t backoff_ms;
    uint64_t log_bytes;          /* rotate above this; 0: never */
    uint64_t log_count;          /* old logs kept */
    uint64_t health_interval_ms; /* 0: no health checks */
    uint64_t health_timeout_ms;
    uint64_t health_retries;
    uint64_t health_start_ms;
};

/* All descriptors -1, all else 0. */
void keeper_config_init(struct keeper_config *c);

/* Strings are borrowed from `words` (NULL-terminated).  -EINVAL names the word. */
int keeper_config_parse(struct keeper_config *c, char *const *words, struct err *e);

/* Append the words that describe `c`; `strv_failed` tells of lost memory. */
void keeper_config_words(const struct keeper_config *c, struct strv *words);

/* Write to the status file that the guest runs, before the process executes `keeper`:
 * whoever looks at the guest meanwhile knows its process. */
void keeper_announce(const struct keeper_config *c);

/* Hold the guest until it ended and nothing restarts it.  Takes the
 * descriptors of `c`.  Either returns the guest's exit code, or does not return
 * because the process executed `program` to restart or to clean up. */
int keeper_run(const struct keeper_config *c);

#endif
