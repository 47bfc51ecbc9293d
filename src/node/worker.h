/* node/worker.h - the half that makes a guest's processes from a plan. */
#ifndef NODE_WORKER_H
#define NODE_WORKER_H

#include <jansson.h>

struct err;
struct keeper_config;
struct log;

/* In a process of its own, whose child the guest's first program becomes: make
 * the guest of `spec` (see spec.c), join it to its network, let it begin, and
 * fill in what the keeper needs to know about it.  On failure nothing is left. */
int worker_make(const json_t *spec, struct keeper_config *k, const struct log *log,
                struct err *e);

/* worker_machine.c: the same for a machine; and its end. */
int worker_make_machine(const json_t *spec, struct keeper_config *k,
                        const struct log *log, struct err *e);
int worker_make_machine_again(json_t *spec, struct keeper_config *k, struct err *e);
int worker_end_machine(const json_t *spec, struct err *e);

/* net/card.c: link a machine to its network, before it is made: a descriptor, and the words
 * of its card as the program `machine` takes them (node/machine/peripherals.h), with '@' for
 * the descriptor's number.  *ret_fd -1: it has none.  Helpers end with the process `holder`. */
#define NET_CARD_BYTES 512
int net_join_machine(const json_t *spec, pid_t holder, int *ret_fd,
                     char words[NET_CARD_BYTES], struct err *e);

/* The words of that card which its guest can use: its address, and the way on; empty: there
 * is no network. */
struct str;
int net_tell_machine(const json_t *spec, struct str *out, struct err *e);

/* share.c: the program that serves a directory of a machine's plan, and the socket to it. */
int worker_share(const json_t *spec, const json_t *share, int *ret_fd, struct err *e);

/* Of the plan's state directory. */
struct node;
int worker_open_node(const json_t *spec, struct node **ret, struct err *e);

/* Become the keeper.  Returns only on failure; the guest is ended then. */
int worker_become_keeper(const json_t *spec, struct keeper_config *k, struct err *e);

/* The guest ended, or was never complete: end what is left of its processes,
 * mounts and control groups, and its ports. */
int worker_clean(const json_t *spec, struct err *e);

/* build_step.c: run the command that standard input describes in the file system of an
 * image that is being built; `run_dir` is the node's.  The exit code. */
int build_step(const char *run_dir);

/* Remove what steps left whose process was killed, unless one runs; how many. */
int build_sweep(const char *run_dir);

/* Empty the disk of a guest whose changes are not kept. */
int worker_reset_disk(const json_t *spec);

#endif
