/* servers.h - servers for the tests of registries, and what the tests look at. */
#ifndef TESTS_RESOURCE_IMAGE_REGISTRY_SERVERS_H
#define TESTS_RESOURCE_IMAGE_REGISTRY_SERVERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct image_store;

struct server {
    pid_t pid;
    int in;           /* closing it ends the fake registry */
    unsigned port[2]; /* the second is another "host" of the fake registry */
};

/* Whether a program is in the search path. */
bool have_program(const char *name);

/* "" until a test directory was made; the caller ends it with `remove_dir`. */
void make_dir(char path[64]);
void remove_dir(const char *path);

/* Run and wait; its exit code. */
int run_program(const char *const *argv);

int start_fake(struct server *s);

/* A proxy of `port` that cuts the first `count` large uploads (cutter.py). */
int start_cutter(struct server *s, unsigned port, unsigned count);

/* docker-registry with its files below `dir`; the texts may be NULL. */
int start_docker(struct server *s, const char *dir, const char *htpasswd,
                 const char *cert, const char *key);
void stop_server(struct server *s);

/* A number of the fake registry's /stats. */
long ask_stat(const struct server *s, const char *name);

/* Files in the store: blobs/sha256 and partial. */
int count_blobs(const char *state);
int count_parts(const char *state);

#endif
