/* ca.h - certificate authorities besides those of the system. */
#ifndef RESOURCE_IMAGE_REGISTRY_CA_H
#define RESOURCE_IMAGE_REGISTRY_CA_H

struct err;

/* The PEM texts of a file, or of all *.crt and *.pem of a directory, one after
 * another; owned by the caller. */
int ca_read(const char *path, char **ret);

/* The same as a check before anything is connected, with words. */
int ca_check(const char *path, struct err *e);

#endif
