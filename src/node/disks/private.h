/* private.h - what the files about attached disks share. */
#ifndef NODE_DISKS_PRIVATE_H
#define NODE_DISKS_PRIVATE_H

#include <jansson.h>
#include <stdbool.h>

struct err;

const char *disks_text(const json_t *object, const char *key); /* "" when missing */

/* A file of the host that is the disk: of one raw layer the file itself, locked; of others one that
 * the program `volume` serves (served.c).  -EBUSY.  The caller owns *ret_file. */
int disks_open(const json_t *spec, const json_t *disk, int *ret_file, struct err *e);
int disks_serve(const json_t *spec, const json_t *disk, int *ret_file, struct err *e);

#endif
