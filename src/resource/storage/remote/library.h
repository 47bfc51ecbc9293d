/* library.h - libraries that are loaded by the first disk that needs them. */
#ifndef RESOURCE_STORAGE_REMOTE_LIBRARY_H
#define RESOURCE_STORAGE_REMOTE_LIBRARY_H

struct err;

/* Find `count` functions of a library; `ret_calls` is as many pointers, in the order of
 * the names, and may be half full after a failure.  The library stays: what has threads
 * and statics cannot be taken out again.  -ENOPKG: it, or one of them, is not there. */
int remote_library_load(const char *file, const char *const *names, unsigned count,
                        void *ret_calls, struct err *e);

#endif
