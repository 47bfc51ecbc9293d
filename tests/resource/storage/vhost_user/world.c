/* world.c - a disk, a back end, a front end. */
#include "tests/resource/storage/vhost_user/world.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *world_program(const char *set)
{
    static const char *program;

    program = set != NULL ? set : program;
    return program;
}

void world_set_program(const char *path)
{
    (void)world_program(path);
}

void world_spawn(struct world *w, const char *option)
{
    const char *words[] = {world_program(NULL), w->socket, w->disk, option, NULL};

    w->pid = front_spawn(words, NULL);
}

void world_begin(struct world *w, const char *option)
{
    int fd;

    (void)strcpy(w->dir, "/tmp/vhost-user-XXXXXX");
    must(mkdtemp(w->dir) != NULL);
    (void)snprintf(w->socket, sizeof w->socket, "%s/s", w->dir);
    (void)snprintf(w->disk, sizeof w->disk, "%s/d", w->dir);
    fd = open(w->disk, O_RDWR | O_CREAT, 0600);
    must(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
    (void)close(fd);
    world_spawn(w, option);
    front_init(&w->f);
}

void world_end(struct world *w)
{
    front_fini(&w->f);
    front_kill(w->pid, SIGTERM);
    (void)unlink(w->socket);
    (void)unlink(w->disk);
    must(rmdir(w->dir) == 0);
}

void world_connect(struct world *w, uint64_t features, unsigned queues)
{
    front_connect(&w->f, w->socket, features);
    front_share_memory(&w->f);
    for (unsigned i = 0; i < queues; i++) {
        front_lay_out(&w->f, i, 128);
        front_start(&w->f, i);
    }
}

void world_look(struct world *w, void *to, size_t bytes, off_t off)
{
    int fd = open(w->disk, O_RDONLY);

    must(pread(fd, to, bytes, off) == (ssize_t)bytes);
    (void)close(fd);
}
