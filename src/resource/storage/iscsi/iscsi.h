/* iscsi.h - disks served to others over iSCSI.
 *
 * Protocol: RFC 7143, error recovery level 0, one connection per session; the SCSI
 * below it is a subset of SPC-4 and SBC-3.
 *
 * Threads: that of the loop. */
#ifndef RESOURCE_STORAGE_ISCSI_ISCSI_H
#define RESOURCE_STORAGE_ISCSI_ISCSI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blk;
struct err;
struct iscsi_server;
struct loop;

struct iscsi_server_options {
    unsigned sessions_most; /* 0: 64 */
    unsigned login_seconds; /* a login that takes longer is ended; 0: 30 */
};

/* Names and secrets of CHAP; `user` NULL: not asked for. */
struct iscsi_chap {
    const char *user; /* the initiator proves that it is this one */
    const char *secret;
    const char *own_user; /* what the target answers who asks back; NULL: cannot */
    const char *own_secret;
};

struct iscsi_target_options {
    const char *name;  /* "iqn.2024-01.org.example:disks" */
    const char *alias; /* NULL: none */
    struct iscsi_chap chap;
};

/* Where registrations go that survive a restart.  In a strand; 0 or -errno.
 * NULL: initiators that ask for it are refused. */
struct iscsi_keep {
    int (*store)(void *arg, const void *bytes, size_t count);
    void *arg;
};

struct iscsi_unit_options {
    uint16_t lun;       /* below 16384; a target should have a 0 */
    struct blk *disk;   /* the server attaches to it */
    const char *serial; /* NULL: made of the target's name and the number */
    bool read_only;
    const char *const *initiators; /* who sees it, ends with NULL; NULL: all */
    struct iscsi_keep keep;
    const void *kept; /* what `store` was given last; NULL: nothing */
    size_t kept_bytes;
};

struct iscsi_counts {
    uint64_t sessions; /* connected now, logins included */
    uint64_t served;   /* commands answered */
    uint64_t refused;  /* connections that ended in the login */
};

int iscsi_server_create(struct loop *l, const struct iscsi_server_options *o,
                        struct iscsi_server **ret_server, struct err *e);

/* Offer a target, without units yet; the struct is copied with its texts. */
int iscsi_server_add_target(struct iscsi_server *s, const struct iscsi_target_options *o,
                            struct err *e);

/* Add a unit to a target.  Sessions that are there do not see it. */
int iscsi_server_add_unit(struct iscsi_server *s, const char *target,
                          const struct iscsi_unit_options *o, struct err *e);

/* Accept on a listening stream socket; takes the descriptor.  Each is a portal of its
 * own, with a target port of its own; `address` ("127.0.0.1:3260") is what discovery
 * tells. */
int iscsi_server_listen(struct iscsi_server *s, int take_fd, const char *address,
                        struct err *e);

/* Serve a connected stream socket as one of the first portal; takes the descriptor. */
int iscsi_server_serve(struct iscsi_server *s, int take_fd, struct err *e);

struct iscsi_counts iscsi_server_counts(const struct iscsi_server *s);

/* End all sessions, when their commands are done, and leave the disks.  In a strand.
 * NULL is allowed. */
void iscsi_server_destroy(struct iscsi_server *s);

#endif
