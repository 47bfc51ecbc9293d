/* raw.c - no format at all. */
#include "resource/storage/format/raw.h"

#include <errno.h>

#include "base/err.h"
#include "contract/blk_graph.h"
#include "resource/storage/format/format.h"

int raw_open(struct blk *take_file, const struct format_open_options *o,
             struct blk **ret_disk, struct err *e)
{
    if (!o->read_only && blk_is_read_only(take_file)) {
        blk_drop(take_file);
        return err_set(e, -EROFS, "cannot open '%s' for writing: its file is read only",
                       o->label != NULL ? o->label : "raw");
    }
    *ret_disk = take_file;
    return 0;
}

int raw_create(struct blk *file, uint64_t size_bytes, struct err *e)
{
    int r = blk_size(file) > 0 ? blk_resize(file, 0, e) : 0;

    return r != 0 ? r : blk_resize(file, size_bytes, e);
}
