/* ops.h - what the program `image` can do for guests that boot. */
#ifndef RESOURCE_IMAGE_KERNEL_OPS_H
#define RESOURCE_IMAGE_KERNEL_OPS_H

#include "resource/image/pack/pack.h"

/* `kernel`; ends at .name == NULL. */
extern const struct pack_op kernel_ops[];

#endif
