/* frame.h - what a guest's agent and its host say to each other.
 *
 * A byte stream of frames: 32 bits of length, 8 bits of type, that many bytes.  Numbers
 * are little-endian.  A connection does one thing at a time: the host asks, the agent
 * answers, and the next request may follow.
 *
 *     host                        agent
 *     EXEC                        ...
 *     STDIN* (an empty one ends)  STDOUT*, STDERR*
 *     RESIZE, SIGNAL              EXIT, at the end
 *     anything else               DONE
 *
 * No code of either side is here, and no library is needed: both link it. */
#ifndef VIRT_AGENT_FRAME_FRAME_H
#define VIRT_AGENT_FRAME_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_PORT       1u /* of vsock, in the guest */
#define FRAME_HEAD_BYTES 5u
#define FRAME_BYTES_MOST 65536u
#define FRAME_ARGS_MOST  1024u

#define FRAME_RENEW_BYTES 2048u /* of its lines */

enum frame_type {
    FRAME_EXEC = 1, /* what `frame_put_exec` writes */
    FRAME_STDIN,    /* bytes */
    FRAME_STDOUT,   /* bytes */
    FRAME_STDERR,   /* bytes */
    FRAME_EXIT,     /* i32: the command's code, as a shell counts it */
    FRAME_RESIZE,   /* u16 rows, u16 columns */
    FRAME_SIGNAL,   /* i32 */
    FRAME_FREEZE, /* the file systems stand still, while this connection waits: some seconds */
    FRAME_THAW,      /* ... and go on; -ETIME: they did before */
    FRAME_SET_CLOCK, /* i64: nanoseconds since 1970 */
    FRAME_SYNC,
    FRAME_INFO,  /* DONE brings "key=value" lines */
    FRAME_POWER, /* i32: end the system, or the one command by that signal */
    FRAME_DONE,  /* i32: 0 or -errno; then text */
    FRAME_RENEW, /* lines: "seed=HEX" for random bytes; of a copy also "host=NAME", "network=WORDS";
                   * without a host the words of a card that comes */
    FRAME_TYPE_COUNT
};

enum frame_exec_flag {
    FRAME_EXEC_TTY = 1,     /* on a terminal of its own: stdout and stderr are one */
    FRAME_EXEC_NO_STDIN = 2 /* there is none, not even an empty one */
};

struct frame {
    uint8_t type;
    uint32_t len;
    const uint8_t *bytes; /* borrowed */
};

/* A command.  Texts are borrowed; lists end at NULL. */
struct frame_exec {
    uint16_t flags; /* `enum frame_exec_flag` */
    uint16_t rows, columns;
    const char *user;    /* "name" or "uid[:gid]"; "": root */
    const char *workdir; /* "": the user's home, or / */
    const char *const *argv;
    const char *const *env; /* "K=V"; beside what the agent sets */
};

/* The first frame of `n` bytes.  1: it is in `ret`, and `*ret_used` bytes long; 0: more
 * bytes are needed; -EPROTO: no frame of this protocol begins so. */
int frame_take(const uint8_t *bytes, size_t n, struct frame *ret, size_t *ret_used);

/* Its head. */
void frame_put_head(uint8_t out[FRAME_HEAD_BYTES], enum frame_type type, uint32_t len);

/* The bytes of an EXEC frame; their count, or -E2BIG. */
int frame_put_exec(const struct frame_exec *x, uint8_t *out, size_t room);

/* What an EXEC frame says.  `list` has room for FRAME_ARGS_MOST + 2 pointers, which
 * `argv` and `env` then point into; texts stay in the frame.  -EPROTO: it says nonsense. */
int frame_get_exec(const struct frame *f, const char **list, struct frame_exec *ret);

/* Numbers inside frames; 0 or -EPROTO when the frame has another length. */
int frame_get_i32(const struct frame *f, int32_t *ret);
int frame_get_i64(const struct frame *f, int64_t *ret);
int frame_get_size(const struct frame *f, uint16_t *ret_rows, uint16_t *ret_columns);

/* Where a host puts files beside the agent, in an initramfs. */
#define FRAME_BOOT_COMMAND "strata/command"   /* bytes of an EXEC frame: what is run */
#define FRAME_BOOT_KEYS    "strata/ssh-keys"  /* lines: who may come in as root */
#define FRAME_BOOT_SCRIPT  "strata/user-data" /* of cloud-init, or a script */

/* ... lines, what is mounted: "fs rw|ro PATH", whose tag is the path, too; "disk rw|ro SERIAL PATH". */
#define FRAME_BOOT_MOUNTS "strata/mounts"

/* ... for a machine that has no system which would ask:
 * "mac=ADDRESS,address=IP/BITS,gateway=IP[,leads-on]", other words beside these; and two files. */
#define FRAME_BOOT_NETWORK "strata/network"
#define FRAME_BOOT_RESOLV  "strata/resolv.conf"
#define FRAME_BOOT_HOSTS   "strata/hosts"

/* ... an empty file: it is the copy of another machine, and begins. */
#define FRAME_BOOT_COPY "strata/copy"

/* Words as one that stands on a kernel's command line: parted by ':', every byte that is no
 * letter, digit, '.', '_', '/' or '-' as %XX.  0, or -E2BIG. */
int frame_put_words(const char *const *words, char *out, size_t room);

/* Take it apart in place; `list` gets at most `most` words and a NULL.  Their count, or
 * -E2BIG. */
int frame_get_words(char *text, char **list, unsigned most);

#endif
