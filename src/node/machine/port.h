/* port.h - a named port of the program `machine`, joined to a socket. */
#ifndef NODE_MACHINE_PORT_H
#define NODE_MACHINE_PORT_H

struct err;
struct loop;
struct port;
struct virtio_device;

/* The descriptor, a stream socket, is the port's on success. */
int port_create(struct loop *l, const char *name, int take_fd, struct port **ret,
                struct err *e);
void port_destroy(struct port *p); /* and its device */
struct virtio_device *port_device(const struct port *p);

#endif
