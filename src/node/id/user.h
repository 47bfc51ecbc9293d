/* node/id/user.h - who a guest's program runs as, from the image's own files. */
#ifndef NODE_ID_USER_H
#define NODE_ID_USER_H

#include <jansson.h>
#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

struct err;
struct strv;

#define USER_GROUPS_MAX 64

struct user {
    uid_t uid;
    gid_t gid;
    gid_t groups[USER_GROUPS_MAX]; /* beside `gid` */
    size_t n_groups;
    char home[PATH_MAX];
};

/* `word` is "uid", "name", "uid:gid", "name:group" and so on.  Names are looked
 * up in etc/passwd and etc/group of the first of `dirs` (the topmost layer
 * first) that has them; a number needs no entry.  -ENOENT names the user. */
int user_find(const char *word, const struct strv *dirs, struct user *ret, struct err *e);
void user_fini(struct user *u);

/* The `user` object of an OCI process. */
json_t *user_to_json(const struct user *u);

#endif
