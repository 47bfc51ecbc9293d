/* opener.h - files of one directory, opened for a process that may open none.
 *
 * An image names other files, and which they are is known when it has been read: by a process
 * that is confined by then.  So another one, which parses nothing but a name, opens them: for
 * reading, regular files only, in that directory and not below it. */
#ifndef RESOURCE_STORAGE_GRAPH_OPENER_H
#define RESOURCE_STORAGE_GRAPH_OPENER_H

struct err;

/* Start the other process for an open directory, before this one is confined; a descriptor to
 * ask it by.  It ends when that is closed. */
int opener_start(int directory, struct err *e);

/* A descriptor of the file of that name, or -errno: -EACCES for what is no name in the
 * directory.  Blocks for as long as open(2) does. */
int opener_ask(int opener, const char *name);

#endif
