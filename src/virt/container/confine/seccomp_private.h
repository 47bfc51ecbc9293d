/* seccomp_private.h - what the files of the seccomp filter share. */
#ifndef VIRT_CONTAINER_CONFINE_SECCOMP_PRIVATE_H
#define VIRT_CONTAINER_CONFINE_SECCOMP_PRIVATE_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/sha256.h"
#include "virt/container/confine/seccomp.h"

#define SECCOMP_COMPILER_VERSION 1 /* raise when the same profile gives another filter */

struct seccomp_filter {
    struct sock_filter *insns; /* owned */
    uint32_t n;
    uint32_t flags; /* for seccomp(2) */
    bool notifies;
    bool cached;
};

/* SECCOMP_RET_... for this call. */
uint32_t seccomp_filter_verdict(const struct seccomp_filter *f,
                                const struct seccomp_data *d);

/* Fills insns, n, flags and notifies. */
int seccomp_compile_profile(const json_t *profile, struct strv *warnings,
                            struct seccomp_filter *f, struct err *e);

/* The name under which the compiled profile is kept on this machine. */
void seccomp_cache_key(const json_t *profile, uint8_t key[SHA256_BYTES]);

/* A few words that stand for `seccomp_default_profile(caps)` when it is looked
 * up: the digest of its table, and `caps`.  Owned by the caller; NULL: no memory. */
json_t *seccomp_default_label(uint64_t caps);

/* Open the cache directory, making it when it is missing; -EPERM when others
 * could write to it. */
int seccomp_cache_open(const char *dir);

/* 0, -ENOENT, or -EBADMSG for a file that is not to be trusted. */
int seccomp_cache_load(int dir, const uint8_t key[SHA256_BYTES],
                       struct seccomp_filter *f);
int seccomp_cache_store(int dir, const uint8_t key[SHA256_BYTES],
                        const struct seccomp_filter *f);

#endif
