/* worker.h - one volume in use: a disk, who serves it, who controls it.
 *
 * Threads: that of the loop; all functions in a strand unless they say otherwise. */
#ifndef RESOURCE_STORAGE_TOOL_WORKER_H
#define RESOURCE_STORAGE_TOOL_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strand.h"
#include "contract/blk_graph.h"
#include "host/loop/loop.h"
#include "resource/storage/tool/message.h"
#include "resource/storage/tool/private.h"

struct bitmap_set;
struct exporter;
struct filter_throttle_group;
struct graph;
struct nbd_tls;
struct worker;

/* A disk that is being served. */
struct served {
    struct served *next;
    const struct exporter *way;
    struct worker *worker;
    void *server; /* of the way */
    uint64_t id;
    struct connection *bound; /* it ends with this connection; NULL: it is kept */
};

/* Whoever asks.  One request at a time; what comes during a job is for the job. */
struct connection {
    struct connection *next;
    struct worker *worker;
    struct loop_watch watch; /* its fd is owned */
    bool busy;               /* a strand answers */
    bool listens;            /* that is a job, which may be told something */
    bool gone;               /* the peer has left, or cannot be talked to */
    bool told;               /* the job was told to go on */
};

struct worker {
    struct loop *loop;
    struct graph *graph;                  /* borrowed */
    struct blk_edge root;                 /* the disk that is served */
    struct nbd_tls *tls;                  /* borrowed; NULL: none */
    struct filter_throttle_group *limits; /* owned: put in under load; NULL: none */
    struct loop_watch listen;
    struct connection *connections;
    struct served *served;
    uint64_t ids;
    const char *job; /* the verb that runs long; NULL: none */
    uint64_t job_done;
    uint64_t job_total;
    uint64_t told_ns; /* when progress was sent last */
    bool locked;      /* started without the passphrase, for what needs none */
    bool ever;        /* somebody has connected */
    bool ending;      /* nothing new begins */
    struct strand_queue end;
};

/* A request that is being answered. */
struct call {
    struct worker *worker;
    struct connection *from;
    struct request words; /* behind the verb */
    const char *verb;
    struct message message;
    char *lines; /* owned: of the answer that have not been sent */
    size_t filled;
};

#define CALL_LINES_BYTES 16384u

#define SERVE_LIMITS "limits" /* the node that has those of the volume */

/* Serve a disk of the graph. */
int serve_create(struct loop *l, struct graph *g, struct blk *disk,
                 struct worker **ret_worker, struct err *e);

/* Accept on a listening SOCK_SEQPACKET socket, or talk to one that is connected; each takes the
 * descriptor.  From anywhere on the thread. */
int serve_listen(struct worker *w, int take_fd, struct err *e);
int serve_talk(struct worker *w, int take_fd, struct err *e);

/* Until it is told to end, or nobody has been there for a while. */
void serve_run(struct worker *w);

/* From anywhere on the thread. */
void serve_stop(struct worker *w);

/* End jobs, serving and talking, in this order; make all durable: 0 or -errno.  NULL is
 * allowed. */
int serve_destroy(struct worker *w);

/* Answer a request; 0, or -errno with its reason in `words.e`. */
int serve_verb(struct call *c);

/* Whether a connection that is busy with it takes messages. */
bool serve_verb_listens(const char *verb);

/* Add a line to the answer, KEY=VALUE. */
void call_answer(struct call *c, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Send what has been added now. */
void call_send(struct call *c);

/* How far the job is; lost when the peer is slow. */
void call_progress(struct call *c, uint64_t done, uint64_t total);

/* -ECANCELED when who asked has left, or the worker ends. */
int call_check(const struct call *c);

/* The edge to the image that the volume is: below what only passes requests on, such as
 * limits, traces and caches. */
struct blk_edge *serve_image_edge(struct worker *w);

/* Stop serving; the worker forgets it. */
void serve_unserve(struct worker *w, struct served *x);

/* The verbs, by file. */
int serve_export(struct call *c);
int serve_unexport(struct call *c);
int serve_fork(struct call *c);
int serve_move(struct call *c);
int serve_merge(struct call *c);
int serve_stream(struct call *c);
int serve_backup(struct call *c);
int serve_marks(struct call *c);
int serve_key(struct call *c);
int serve_header(struct call *c);

/* `reopen=NODE,fd=N`, for each of them: go on with a descriptor that can be written. */
int call_reopen(struct call *c);

int serve_scrub(struct call *c);
int serve_reclaim(struct call *c);
int serve_replace(struct call *c);
int serve_swap(struct call *c);
int serve_rebase(struct call *c);
int serve_evacuate(struct call *c);

/* Take in the words `node=`; how many in *ret_count, also on failure. */
int call_nodes(struct call *c, unsigned *ret_count);

/* With `hold`: say that it is ready, wait for `go`.  Of `struct job_control`; `arg` is the call. */
int call_ready(void *arg, const int *failed);

/* Name a disk that is left; of `graph_prune`. */
void call_left(void *arg, const char *name);

/* The bitmaps of a node of type marks, borrowed; NULL and a text: it is none. */
struct bitmap_set *call_marks(struct call *c, const char *name);

#endif
