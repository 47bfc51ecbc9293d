/* host/probe.h - what this host can do, found out by doing it.
 *
 * Every probe tries the thing itself in a forked child with a time limit, and
 * leaves nothing behind.  The caller should have one thread. */
#ifndef HOST_PROBE_H
#define HOST_PROBE_H

#include <stddef.h>

struct err;

#define PROBE_DETAIL_BYTES 192

enum probe_answer {
    PROBE_YES,
    PROBE_PARTIAL,
    PROBE_NO,
    PROBE_ANSWER_COUNT
};

struct probe_result {
    const char *key; /* "cgroup.kill"; stable, for programs */
    const char *
        level; /* "host", "container", "machine", "module", "program", "network", "storage" */
    const char *what; /* the same in a few words, for people */
    enum probe_answer answer;
    char detail[PROBE_DETAIL_BYTES]; /* what was seen: a version, a path, an error */
    const char *remedy; /* what to do about it; NULL: nothing is amiss or to be done */
};

/* Run every probe, or those of one level (NULL: all), about 100 ms altogether.
 * The caller frees *ret. */
int probe_run(const char *level, struct probe_result **ret, size_t *ret_n, struct err *e);

/* Run one probe by its key: for a decision at run time. -ENOENT: no such probe. */
int probe_one(const char *key, struct probe_result *ret);

/* "yes", "partial", "no". */
const char *probe_answer_name(enum probe_answer a);

#endif
