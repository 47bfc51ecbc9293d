/* rbd_api.rows.h - the functions of librbd and librados that are used, with their types.
 *
 * All handles are pointers to void there.  A test compares each row with the headers. */
#ifndef RESOURCE_STORAGE_REMOTE_RBD_API_ROWS_H
#define RESOURCE_STORAGE_REMOTE_RBD_API_ROWS_H

/* clang-format off */
#define REMOTE_RADOS_ROWS(X) \
    X(int,  rados_create2, (void **cluster, const char *cluster_name, const char *user, uint64_t flags)) \
    X(int,  rados_conf_read_file, (void *cluster, const char *path)) \
    X(int,  rados_conf_set, (void *cluster, const char *option, const char *value)) \
    X(int,  rados_connect, (void *cluster)) \
    X(void, rados_shutdown, (void *cluster)) \
    X(int,  rados_ioctx_create, (void *cluster, const char *pool, void **io)) \
    X(void, rados_ioctx_set_namespace, (void *io, const char *space)) \
    X(void, rados_ioctx_destroy, (void *io)) \
    X(int,  rados_cluster_stat, (void *cluster, struct rados_cluster_stat_t *result))

#define REMOTE_RBD_ROWS(X) \
    X(int,  rbd_create4, (void *io, const char *name, uint64_t size, void *options)) \
    X(int,  rbd_remove, (void *io, const char *name)) \
    X(int,  rbd_clone3, (void *from_io, const char *from, const char *snapshot, void *to_io, const char *to, void *options)) \
    X(int,  rbd_list2, (void *io, rbd_image_spec_t *images, size_t *count)) \
    X(void, rbd_image_spec_list_cleanup, (rbd_image_spec_t *images, size_t count)) \
    X(void, rbd_image_options_create, (void **options)) \
    X(void, rbd_image_options_destroy, (void *options)) \
    X(int,  rbd_image_options_set_uint64, (void *options, int name, uint64_t value)) \
    X(int,  rbd_snap_create, (void *image, const char *snapshot)) \
    X(int,  rbd_snap_remove, (void *image, const char *snapshot)) \
    X(int,  rbd_open, (void *io, const char *name, void **image, const char *snapshot)) \
    X(int,  rbd_open_read_only, (void *io, const char *name, void **image, const char *snapshot)) \
    X(int,  rbd_close, (void *image)) \
    X(int,  rbd_get_size, (void *image, uint64_t *size)) \
    X(int,  rbd_get_stripe_unit, (void *image, uint64_t *bytes)) \
    X(int,  rbd_get_features, (void *image, uint64_t *features)) \
    X(int,  rbd_get_flags, (void *image, uint64_t *flags)) \
    X(int,  rbd_resize2, (void *image, uint64_t size, bool shrinks, int (*progress)(uint64_t, uint64_t, void *), void *arg)) \
    X(int,  rbd_lock_acquire, (void *image, rbd_lock_mode_t mode)) \
    X(int,  rbd_lock_release, (void *image)) \
    X(int,  rbd_diff_iterate2, (void *image, const char *from, uint64_t off, uint64_t len, uint8_t parents, uint8_t whole, int (*each)(uint64_t, size_t, int, void *), void *arg)) \
    X(int,  rbd_aio_create_completion, (void *arg, void (*done)(void *, void *), void **completion)) \
    X(ssize_t, rbd_aio_get_return_value, (void *completion)) \
    X(void, rbd_aio_release, (void *completion)) \
    X(int,  rbd_aio_readv, (void *image, const struct iovec *iov, int count, uint64_t off, void *completion)) \
    X(int,  rbd_aio_writev, (void *image, const struct iovec *iov, int count, uint64_t off, void *completion)) \
    X(int,  rbd_aio_discard, (void *image, uint64_t off, uint64_t len, void *completion)) \
    X(int,  rbd_aio_write_zeroes, (void *image, uint64_t off, size_t len, void *completion, int how, int flags)) \
    X(int,  rbd_aio_flush, (void *image, void *completion))
/* clang-format on */

#endif
