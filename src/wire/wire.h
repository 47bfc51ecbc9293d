/* wire.h - the language spoken outside: one row per operation and argument.
 *
 * The rows come from the records in ops; the generated header holds a struct of
 * arguments for each operation (`struct op_run`) and the list of them
 * (`WIRE_OP_LIST`).  Rows hold offsets into one block of texts, no pointers: a
 * position independent program has nothing to relocate.  Everything here is
 * constant and may be used on any thread. */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include "wire/ops.gen.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define WIRE_NONE         UINT64_MAX /* a number given as "none": no limit */
#define WIRE_ACTION_BYTES 64
#define WIRE_MEMBER_BYTES 64 /* of a member's name in an order, with the NUL */

enum wire_type {
    WIRE_STRING,
    WIRE_NAME, /* as `word_is_name` */
    WIRE_GUEST,
    WIRE_IMAGE,
    WIRE_NETWORK,
    WIRE_PATH,
    WIRE_KV,  /* K=V */
    WIRE_ENV, /* K=V, or K: copied from the environment of the caller */
    WIRE_PUBLISH,
    WIRE_VOLUME,
    WIRE_IP,
    WIRE_RESTART,
    WIRE_SIZE,     /* uint64_t, bytes */
    WIRE_DURATION, /* uint64_t, milliseconds */
    WIRE_CPUS,     /* uint64_t, thousandths */
    WIRE_U64,
    WIRE_WHEN,   /* int64_t, nanoseconds since 1970 */
    WIRE_SIGNAL, /* int */
    WIRE_BOOL,
    WIRE_ONE_OF, /* enum: index of the word, after UNSET if there is one */
    WIRE_TYPE_COUNT
};

enum wire_flag {
    WIRE_POSITIONAL = 1,
    WIRE_REQUIRED = 2,
    WIRE_MANY = 4, /* a list: `const char **` and a count */
    WIRE_REST = 8, /* takes every word that is left, options too */
    WIRE_NONE_OK = 16,
};

/* One argument or option; texts are offsets for `wire_text`. */
struct wire_item {
    uint16_t at;       /* of the member in the struct of arguments */
    uint16_t count_at; /* of its count, for lists */
    uint32_t name;     /* "cpu-weight"; "" for an argument */
    uint32_t value;    /* "SIZE"; "" for a bool */
    uint32_t help;
    uint32_t fallback; /* the default as one would type it; "": none */
    uint32_t label;    /* what help shows as default instead; "": `fallback` */
    uint32_t words;    /* of a WIRE_ONE_OF, one behind the other */
    uint8_t n_words;
    uint8_t first_word; /* value of the first word: 1 after an UNSET, else 0 */
    uint8_t type;       /* enum wire_type */
    char letter;        /* short option, or 0 */
    uint8_t flags;      /* enum wire_flag */
    uint64_t least;     /* allowed numbers; `most` is UINT64_MAX - 1 without a limit */
    uint64_t most;
};

enum wire_field_type {
    WIRE_FIELD_STRING,
    WIRE_FIELD_SIZE,     /* bytes */
    WIRE_FIELD_DURATION, /* milliseconds */
    WIRE_FIELD_TIME,     /* RFC 3339 */
    WIRE_FIELD_U64,
    WIRE_FIELD_CPUS, /* thousandths */
    WIRE_FIELD_PERCENT,
    WIRE_FIELD_BOOL,
    WIRE_FIELD_LIST,
    WIRE_FIELD_OBJECT,
    WIRE_FIELD_DIGEST,
    WIRE_FIELD_REAL,
    WIRE_FIELD_TYPE_COUNT
};

/* One member of a result; texts are offsets. */
struct wire_field {
    uint32_t name;
    uint32_t title; /* of its column; "": in JSON only */
    uint32_t help;
    uint8_t type; /* enum wire_field_type */
};

enum wire_result {
    WIRE_RESULT_NONE,
    WIRE_RESULT_OBJECT,
    WIRE_RESULT_LIST,
    WIRE_RESULT_STREAM, /* objects, one by one, as they come */
};

enum wire_shape {
    WIRE_SHAPE_TABLE,
    WIRE_SHAPE_QUIET, /* the first field of each, nothing else */
    WIRE_SHAPE_TREE,  /* every field on its own line */
    WIRE_SHAPE_TEXT,  /* the operation prints it itself */
};

struct wire_op {
    uint32_t name, help, text, usage, since, group, exits, see;
    uint32_t also; /* words that other tools use for it, one behind the other */
    uint8_t n_also;
    uint16_t first_item, n_items;
    uint16_t first_field, n_fields;
    uint16_t args_bytes; /* of its struct of arguments */
    uint8_t states;      /* bit `1U << enum task_state`; 0: not about one guest */
    uint8_t result;      /* enum wire_result */
    uint8_t shape;       /* enum wire_shape */
    bool raw;            /* its words are not looked at */
};

extern const struct wire_op wire_op_table[WIRE_OP_COUNT];
extern const struct wire_item wire_items[]; /* the global options come first */
extern const unsigned wire_n_globals;
extern const struct wire_field wire_fields[];

/* The text at an offset. */
const char *wire_text(uint32_t at);

/* What an operation does, as it stands behind "cannot": "stop", "build image",
 * "do 'doctor'". */
void wire_action(enum wire_op_id op, char out[WIRE_ACTION_BYTES]);

/* The n-th of several texts one behind the other. */
const char *wire_word(uint32_t at, unsigned n);

/* The completion script of a shell ("bash", "zsh", "fish"); NULL: unknown. */
const char *wire_completion(const char *shell);

/* Whether the operation is allowed in `state` (enum task_state); else -EBUSY with
 * "cannot pause guest 'web': it is stopped, not running". */
int wire_check_state(enum wire_op_id op, unsigned state, const char *guest,
                     struct err *e);

/* The arguments as one flat JSON object, the *order*: a member per item, named
 * as the long option with '_' for '-' or as the argument in lower case; enums are
 * words, lists arrays.  What was not given and has no default is missing; a limit
 * given as "none" is -1.  `args` is the operation's struct. */
int wire_order(enum wire_op_id op, const void *args, json_t **ret, struct err *e);

/* What the words of the types "publish", "volume" and "restart" mean. */
#include "wire/value.h"

#endif
