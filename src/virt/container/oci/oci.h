/* oci.h - what the commands of the OCI command line share. */
#ifndef VIRT_CONTAINER_OCI_OCI_H
#define VIRT_CONTAINER_OCI_OCI_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "virt/container/container.h"

#define OCI_FLAGS_MOST  64 /* occurrences of flags on one command line */
#define OCI_EXIT_FAILED 1

struct oci_flag {
    const char *name; /* without "--" */
    char letter;      /* 0: none */
    bool has_value;
    const char *help; /* NULL: accepted for other runtimes' callers, without effect */
};

struct oci_given {
    const struct oci_flag *flag;
    const char *value;
};

/* The flags of one command and what follows them.  Texts are borrowed. */
struct oci_args {
    struct oci_given given[OCI_FLAGS_MOST];
    size_t n;
    char **rest; /* NULL-terminated */
    int n_rest;
};

/* One invocation: the flags before the command. */
struct oci {
    const char *root; /* state root */
    const char *log_file;
    bool log_json;
    bool debug;
    struct log log;
    char root_room[4096];
};

struct oci_command {
    const char *name;
    const char *usage; /* what follows the flags */
    const char *help;
    const struct oci_flag *flags; /* ends at .name == NULL */
    int least, most;              /* words after the flags; most -1: any number */

    /* The exit code; on failure `e` says why. */
    int (*run)(struct oci *o, const struct oci_args *a, struct err *e);
};

extern const struct oci_command oci_commands[]; /* ends at .name == NULL */

/* Read the flags in `argv`, which may stand between other words until there are
 * `words_before_rest` of those (-1: everywhere); the words move to the front.  An
 * unknown flag is -EINVAL. */
int oci_args_parse(const struct oci_flag *flags, char **argv, int words_before_rest,
                   struct oci_args *ret, struct err *e);

/* The last value of a flag, or NULL; for a flag without value "" when given.
 * A boolean flag given as --flag=false counts as absent. */
const char *oci_arg(const struct oci_args *a, const char *name);
bool oci_has(const struct oci_args *a, const char *name);

/* A flag's number from 0 to `most`; 0 when it is absent. */
int oci_number(const struct oci_args *a, const char *name, long most, long *ret,
               struct err *e);

void oci_print_help(const struct oci_command *c);
void oci_print_usage(void);

/* Open or append to the log file, and start the log of the invocation. */
void oci_log_start(struct oci *o);
void oci_log_failure(const struct oci *o, const struct err *e);

int oci_create(struct oci *o, const struct oci_args *a, struct err *e);
int oci_run(struct oci *o, const struct oci_args *a, struct err *e);
int oci_start(struct oci *o, const struct oci_args *a, struct err *e);
int oci_state(struct oci *o, const struct oci_args *a, struct err *e);
int oci_kill(struct oci *o, const struct oci_args *a, struct err *e);
int oci_delete(struct oci *o, const struct oci_args *a, struct err *e);
int oci_pause(struct oci *o, const struct oci_args *a, struct err *e);
int oci_resume(struct oci *o, const struct oci_args *a, struct err *e);
int oci_exec(struct oci *o, const struct oci_args *a, struct err *e);
int oci_list(struct oci *o, const struct oci_args *a, struct err *e);
int oci_ps(struct oci *o, const struct oci_args *a, struct err *e);
int oci_update(struct oci *o, const struct oci_args *a, struct err *e);
int oci_features(struct oci *o, const struct oci_args *a, struct err *e);
int oci_events(struct oci *o, const struct oci_args *a, struct err *e);
int oci_spec(struct oci *o, const struct oci_args *a, struct err *e);

/* "TERM", "SIGTERM", "15"; 0: no signal of that name. */
int oci_signal(const char *text);

/* Wait for the end of child `pid` in the foreground, passing signals on, and bytes
 * between this terminal and `master` (-1: none; owned).  Its exit code. */
int oci_follow(pid_t pid, int master);

/* Print a JSON value and a line end. */
int oci_print(const json_t *value, struct err *e);

#endif
