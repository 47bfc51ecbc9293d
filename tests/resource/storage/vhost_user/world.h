/* world.h - what tests of the back end begin with: a disk, a back end, a front end. */
#ifndef TESTS_RESOURCE_STORAGE_VHOST_USER_WORLD_H
#define TESTS_RESOURCE_STORAGE_VHOST_USER_WORLD_H

#include <stddef.h>
#include <sys/types.h>

#include "tests/resource/storage/vhost_user/front.h"

#define DISK_BYTES (16u << 20)
#define SECTORS    (DISK_BYTES / 512)

struct world {
    char dir[64];
    char socket[96];
    char disk[96];
    struct front f;
    pid_t pid;
};

/* The program of serve.c, once. */
void world_set_program(const char *path);

/* Start the back end, with one more word for it (NULL: none). */
void world_spawn(struct world *w, const char *option);

void world_begin(struct world *w, const char *option);
void world_end(struct world *w);

/* Connected, with memory and `queues` queues at work. */
void world_connect(struct world *w, uint64_t features, unsigned queues);

/* The disk as the file system knows it. */
void world_look(struct world *w, void *to, size_t bytes, off_t off);

#endif
