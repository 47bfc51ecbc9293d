/* export.h - a tree becomes a tar. */
#ifndef RESOURCE_IMAGE_PACK_EXPORT_H
#define RESOURCE_IMAGE_PACK_EXPORT_H

#include "contract/tree.h"
#include "resource/image/pack/tar_write.h"

int export_tree(struct tar_write *tar, struct tree *t, struct err *e);

#endif
