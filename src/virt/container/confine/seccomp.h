/* seccomp.h - OCI `linux.seccomp` as a filter program, compiled once and kept. */
#ifndef VIRT_CONTAINER_CONFINE_SECCOMP_H
#define VIRT_CONTAINER_CONFINE_SECCOMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct seccomp_filter;
struct strv;

/* Compile `profile`, or load the compiled form from `cache_dir` (NULL: no cache)
 * where it is kept by the digest of profile, library and machine.  The
 * directory is created 0700; a file in it that is not the caller's own, or
 * damaged, is compiled anew.  Names the kernel or library does not know are
 * skipped; `warnings` (may be NULL) gets one line for what matters. */
int seccomp_filter_create(const json_t *profile, const char *cache_dir,
                          struct strv *warnings, struct seccomp_filter **ret,
                          struct err *e);
void seccomp_filter_destroy(struct seccomp_filter *f);

/* Whether the filter came from the cache; its length in instructions. */
bool seccomp_filter_was_cached(const struct seccomp_filter *f);
unsigned seccomp_filter_len(const struct seccomp_filter *f);

/* Whether the filter has SCMP_ACT_NOTIFY, so that a listener must be served. */
bool seccomp_filter_notifies(const struct seccomp_filter *f);

/* Whether a native call of this number, with arguments of zero, would go through. */
bool seccomp_filter_allows(const struct seccomp_filter *f, long call);

/* Install it in the calling thread; no memory is allocated.  The caller has
 * CAP_SYS_ADMIN or has set no_new_privs.  *ret_notify_fd is the descriptor of
 * the listener (owned by the caller), or -1.  0 or -errno. */
int seccomp_filter_load(const struct seccomp_filter *f, int *ret_notify_fd);

/* Send the listener's descriptor to `listenerPath` with the container process
 * state of the OCI specification; `state` is the container's own state object.
 * The profile is the one given to create. */
int seccomp_filter_send_notify(const json_t *profile, int notify_fd, pid_t pid,
                               const json_t *state, struct err *e);

/* A profile that lets ordinary programs run and keeps the kernel's rarely used
 * and dangerous parts away; `caps` (mask of capabilities in the bounding set)
 * opens what those capabilities are for.  Owned by the caller; NULL: no memory. */
json_t *seccomp_default_profile(uint64_t caps);

/* The native calls that the default profile lets through, ordered by name: an array of
 * {"name": ..., "always": bool}; `always` is false where only some arguments are let
 * through.  Owned by the caller; NULL: no memory. */
json_t *seccomp_default_allowed(uint64_t caps);

/* The words that a profile may use. */
enum seccomp_words {
    SECCOMP_WORDS_ACTIONS,
    SECCOMP_WORDS_OPERATORS,
    SECCOMP_WORDS_FLAGS,
    SECCOMP_WORDS_ARCHES, /* those that this machine executes */
};

const char *seccomp_word(enum seccomp_words kind, size_t i); /* NULL: no more */

/* As `seccomp_filter_create` with that profile, which is not even built when the
 * filter is in the cache. */
int seccomp_filter_create_default(uint64_t caps, const char *cache_dir,
                                  struct strv *warnings, struct seccomp_filter **ret,
                                  struct err *e);

#endif
