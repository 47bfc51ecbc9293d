/* library.c - libraries that are loaded when they are needed. */
#include "resource/storage/remote/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"

int remote_library_load(const char *file, const char *const *names, unsigned count,
                        void *ret_calls, struct err *e)
{
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const char *missing = NULL;

    if (library == NULL) {
        return err_set(e, -ENOPKG, "cannot load the library %s", dlerror());
    }
    for (unsigned i = 0; i < count; i++) {
        void *call = dlsym(library, names[i]);

        missing = call == NULL && missing == NULL ? names[i] : missing;
        memcpy((char *)ret_calls + i * sizeof call, &call, sizeof call);
    }
    (void)dlclose(library); /* RTLD_NODELETE keeps it */
    return missing == NULL
               ? 0
               : err_set(e, -ENOPKG, "the library %s has no '%s'", file, missing);
}
