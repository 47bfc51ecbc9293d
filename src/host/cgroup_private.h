/* cgroup_private.h - what the files of the control group handle share. */
#ifndef HOST_CGROUP_PRIVATE_H
#define HOST_CGROUP_PRIVATE_H

#include <limits.h>

#include "base/str.h"
#include "host/cgroup.h"

/* Controllers by their kernel names; one that v1 and v2 call differently has
 * two names in `cgroup_ctl_names`. */
enum cgroup_ctl {
    CGROUP_CTL_CPU,
    CGROUP_CTL_CPUACCT, /* v2: part of the core */
    CGROUP_CTL_CPUSET,
    CGROUP_CTL_MEMORY,
    CGROUP_CTL_PIDS,
    CGROUP_CTL_IO,
    CGROUP_CTL_HUGETLB,
    CGROUP_CTL_NET_CLS,
    CGROUP_CTL_NET_PRIO,
    CGROUP_CTL_RDMA,
    CGROUP_CTL_DEVICES,
    CGROUP_CTL_FREEZER,
    CGROUP_CTL_CORE, /* v2 only: files of every leaf */
    CGROUP_CTL_COUNT
};

#define CGROUP_BIT(ctl) (1u << (ctl))

struct cgroup_ctl_name {
    const char *v1; /* NULL: not in v1 */
    const char *v2; /* NULL: not in v2 */
};

extern const struct cgroup_ctl_name cgroup_ctl_names[CGROUP_CTL_COUNT];

/* Where the hierarchies of a host are mounted.  Looked up as needed: a start
 * that asks for no controller looks at one mount only. */
struct cgroup_layout {
    const char *base;           /* "/sys/fs/cgroup"; a test gives its own */
    const char *self;           /* "/proc/self/cgroup"; a test gives its own */
    bool trust;                 /* take directories for hierarchies by their names */
    char unified[PATH_MAX / 8]; /* "": no v2 mount */
};

void cgroup_layout_find(struct cgroup_layout *l);

/* The mount point of a v1 controller into `out`; -ENOENT when there is none. */
int cgroup_layout_v1(const struct cgroup_layout *l, enum cgroup_ctl ctl, char *out,
                     size_t size);

/* The controllers that a list of a v2 directory has, as bits. */
unsigned cgroup_listed(const char *dir, const char *file);

/* The controllers that the v2 root offers, as bits. */
unsigned cgroup_layout_v2(const struct cgroup_layout *l);

/* The caller's own directory in a hierarchy, from /proc/self/cgroup; `ctl`
 * CGROUP_CTL_CORE for v2. */
int cgroup_own_path(const struct cgroup_layout *l, enum cgroup_ctl ctl, char *out,
                    size_t size);

struct cgroup_dir {
    char *path; /* owned, absolute; NULL: none */
    int fd;     /* -1: none, or gone */
    int tasks;  /* v1: open for writing, for `cgroup_join_self`; else -1 */
    bool made;  /* this handle made the directory */
};

struct cgroup {
    struct cgroup_layout layout;
    char at[CGROUP_PATH_BYTES];              /* as given to create; "" after open */
    struct cgroup_dir dir[CGROUP_CTL_COUNT]; /* v1; CGROUP_CTL_CORE is the v2 leaf */
    struct strv warnings;
    int watch;       /* epoll over the two below; -1 before `cgroup_watch_fd` */
    int watch_files; /* inotify */
    int watch_oom;   /* eventfd of v1 */
};

int cgroup_create_in(const struct cgroup_layout *l, const char *path,
                     const struct cgroup_want *want, struct cgroup **ret, struct err *e);

/* Have a directory (and in v2 the controller) for each bit of `need`. */
int cgroup_add_controllers(struct cgroup *cg, unsigned need, bool strict, struct err *e);

/* Whether the v2 leaf has the controller. */
bool cgroup_on_v2(const struct cgroup *cg, enum cgroup_ctl ctl);

/* One file of a control directory; the text without its last newline. */
int cgroup_read(const struct cgroup_dir *d, const char *file, char *out, size_t size);
int cgroup_read_u64(const struct cgroup_dir *d, const char *file, uint64_t *ret);
int cgroup_write(const struct cgroup_dir *d, const char *file, const char *text);

/* The number behind `key` and a blank at the start of a line. */
bool cgroup_find_u64(const char *text, const char *key, uint64_t *ret);

/* Limits as writes, in order; filled by cgroup_v1.c and cgroup_v2.c. */
struct cgroup_step {
    enum cgroup_ctl ctl;
    bool v2;
    bool pair;  /* if refused with EINVAL, do the next one first */
    bool soft;  /* a host without the file is worth a line, not an error */
    char *file; /* owned */
    char *text; /* owned */
    char *old;  /* owned; what to write back, NULL: unknown */
    bool done;
};

struct cgroup_plan {
    struct cgroup_step *items; /* owned */
    size_t n;
    bool failed; /* no memory */
};

enum cgroup_step_flag {
    CGROUP_STEP_SOFT = 1,
    CGROUP_STEP_PAIR = 2,
    CGROUP_STEP_V2 = 4
};

void cgroup_plan_add(struct cgroup_plan *p, enum cgroup_ctl ctl, unsigned flags,
                     const char *file, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void cgroup_plan_fini(struct cgroup_plan *p);

/* The controllers that `l` asks for, as bits (without device rules). */
unsigned cgroup_limits_need(const struct cgroup_limits *l);

/* Add what `l` says for one controller. */
int cgroup_plan_v1(struct cgroup_plan *p, const struct cgroup *cg,
                   const struct cgroup_limits *l, enum cgroup_ctl ctl, struct err *e);
int cgroup_plan_v2(struct cgroup_plan *p, const struct cgroup *cg,
                   const struct cgroup_limits *l, enum cgroup_ctl ctl,
                   struct strv *warnings, struct err *e);

/* Carry limits and device rules out; see `cgroup_apply`. */
int cgroup_apply_limits(struct cgroup *cg, const struct cgroup_limits *l, bool strict,
                        struct err *e);

/* Processes of one directory tree, added to *ret. */
int cgroup_list_pids(int fd, const char *file, pid_t **ret, size_t *n, size_t *cap);

/* Remove a directory and those below it. 0, -EBUSY, -errno. */
int cgroup_remove_dirs(const char *path);

#endif
