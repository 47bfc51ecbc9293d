/* node/files.h - a guest's files: its disk, copies of trees, tar streams; made by the
 * folder `node/disk` for the rest of the node. */
#ifndef NODE_FILES_H
#define NODE_FILES_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct guest;
struct guest_source;
struct node;
struct task;

/* disk/disk.c */
int disk_create(struct node *n, const struct guest *g, struct err *e);
int disk_reset_shared(struct node *n, const struct guest *g, struct err *e);
int disk_clone(struct node *n, const struct guest *from, const char *snapshot,
               const struct guest *to, struct err *e);

/* A directory of STATE/guests/ID; a descriptor or -errno. */
int disk_open_dir(struct node *n, const char *id, const char *name, struct err *e);

/* A guest's root, wherever it is now. */
struct disk_root {
    int fd;   /* -1: none */
    int lock; /* the guest's, while the disk of one that does not run is open; else -1 */
    uid_t base; /* what is added to the ids of its files */
};

/* Two overlays over one disk destroy each other: a guest that is just about to run, or
 * between two runs, is -EBUSY, and one that does not run cannot start meanwhile. */
int disk_open_root(struct node *n, struct guest *g, struct disk_root *ret, struct err *e);

/* disk/hold.c: a guest that runs stands still between the two; others are as they are. */
struct hold {
    int lock; /* -1: none */
    bool paused;
    int64_t since_ms; /* when it was */
};

int hold_begin(struct node *n, const struct guest *g, struct hold *h, struct err *e);
void hold_end(struct node *n, const struct guest *g, struct hold *h);

/* A paused guest whose holder died goes on: true. */
bool hold_forgotten(struct node *n, const struct guest *g, struct task *t);

/* disk/copy.c: a tree between directories, with owners, modes, times, links, devices and
 * extended attributes; never outside of them. */
struct copy_how {
    uid_t shift_from; /* taken off owners of the source */
    uid_t shift_to;   /* added for the destination */
    bool keep_owner;
    bool no_set_id; /* bits that give rights to who runs a file are left out */
    bool raw;       /* overlay's own marks are copied as they are */
};

int copy_tree(int from, const char *from_name, int to, const char *to_name,
              const struct copy_how *how, struct err *e);

/* disk/totar.c, disk/untar.c: the tree `name` to a tar stream; a tar stream below `top`,
 * which no member and no link leads out of. */
int totar(int dir, const char *name, int fd, const struct copy_how *how, struct err *e);
int untar(int fd, int top, const struct copy_how *how, struct err *e);

/* disk/disk.c: bytes on disk of the tree `name` below `dir`; `depth` is 0. */
uint64_t bytes_below(int dir, const char *name, int depth);

/* disk/as_root.c: `file_remove_tree` and `copy_tree` for what guests wrote; and any other
 * work on it.  Without root in a child that is root of the user's namespace. */
int node_as_root(struct node *n, int (*fn)(void *arg, struct err *e), void *arg,
                 struct err *e);
int disk_remove_tree(struct node *n, int dir, const char *path);

struct disk_ends {
    int from; /* directory */
    const char *from_name;
    int to;
    const char *to_name;
};

int disk_copy_tree(struct node *n, const struct disk_ends *ends,
                   const struct copy_how *how, struct err *e);

/* volume/use/attach.c: of a volume that is a disk what `disks_attach` needs (node/mount/mount.h)
 * but for what the guest says; NULL: it is a directory.  The caller owns it. */
int volume_plan(struct node *n, const char *name, json_t **ret_disk, struct err *e);

/* volume/files/files.c: where the files of a volume are that is a directory; -ENOENT. */
int volume_files(struct node *n, const char *name, char out[PATH_MAX], struct err *e);

/* volume/use/root.c: the file system of a disk: what is its own, over what it shares; mounted in no
 * tree, with all that was synced, and the disk only read.  A directory, which keeps it. */
struct disk_layers {
    const char *base;      /* raw */
    const char *own;       /* qcow2 */
    const char *directory; /* for a file without a name */
};

int disk_mount_layers(struct node *n, const struct disk_layers *d, int *ret_root,
                      struct err *e);

/* volume/image.c: an empty qcow2 image in an open file, durable. */
struct image_plan {
    uint64_t size_bytes;
    const char *backing; /* may be NULL */
    const char *backing_format;
    int header; /* encrypted by this one, which is in memory; 0: not encrypted */
};

int volume_image_make(int fd, const struct image_plan *p, struct err *e);

/* volume/use/attach.c: open the disks of a plan, for a child that mounts them; -EBUSY after a while
 * when somebody else uses one.  Close them in any case. */
int volume_open_disks(struct node *n, json_t *spec, struct err *e);
void volume_close_disks(json_t *spec);

/* volume/use/attach.c: from the plan until the guest is made nobody changes its disks. */
struct volume_holds {
    int *fds; /* owned */
    size_t count;
};

int volume_hold(struct node *n, const struct guest *g, struct volume_holds *ret,
                struct err *e);
void volume_let_go(struct volume_holds *h);

/* guest.c: the files of "disks", as an order has them, by their full names. */
int guest_name_disks(json_t *config, struct err *e);

/* verb/life/save.c: what a machine goes on from, when it was saved.  Its lock is the caller's. */
bool life_is_saved(struct node *n, const struct guest *g);
int life_forget_saved(struct node *n, const struct guest *g, struct err *e);

/* Put it into the plan, out of the way of a second start; and after the start. */
int life_take_saved(struct node *n, const struct guest *g, json_t *spec, struct err *e);
void life_leave_saved(struct node *n, const struct guest *g, bool is_used);

/* verb/life/agent.c: a machine goes on after it stood: its agent, if it has one, sets the clock. */
void life_set_clock(struct node *n, const struct guest *g);

/* verb/life/identity.c: a machine is to be told that it is not what its memory knows. */
int life_make_generation(struct guest *g, struct err *e);

/* What a new copy of a machine is to do at its first start goes into the
 * plan; and what its agent does in one that goes on where another one stood.  The copy is no new one then. */
void life_take_identity(const struct guest *g, json_t *spec);
void life_renew(struct node *n, struct guest *g, const json_t *spec);

/* launch.c: a machine runs and its record was changed: the plan by which its keeper starts it
 * again follows.  `ret` (or NULL) is that plan, the caller's. */
int launch_plan_anew(struct node *n, const struct guest *g, json_t **ret, struct err *e);

/* verb/life/snapshot.c: into the empty directory of a snapshot; and back, its lock the caller's. */
int life_fill_snapshot(struct node *n, const struct guest *g, int dir, struct err *e);
int life_put_back(struct node *n, struct guest *g, int dir, struct err *e);

/* verb/life/resize.c: disks of a machine grow; words "[DISK=]SIZE". */
int life_resize(struct node *n, const struct guest *g, const json_t *disks,
                struct err *e);

/* verb/life/snapshot.c: what a new guest gets of another: copies of its disks, its state. */
int life_clone(struct node *n, const struct guest_source *from, struct guest *to,
               struct err *e);

#endif
