/* listen.h - sockets that wait for clients, by the addresses that people write. */
#ifndef HOST_LISTEN_H
#define HOST_LISTEN_H

struct err;

/* A stream socket that listens; a path must not exist, an address is ADDRESS:PORT, one of
 * version 6 in brackets. */
int listen_path(const char *path, struct err *e);
int listen_address(const char *address, struct err *e);

#endif
