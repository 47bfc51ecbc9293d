/* judge.h - QEMU's tools as the other reader and writer of images. */
#ifndef TESTS_RESOURCE_STORAGE_QCOW2_JUDGE_H
#define TESTS_RESOURCE_STORAGE_QCOW2_JUDGE_H

#include <stdbool.h>

struct blk;

/* Whether the tools are there. */
bool judge_is_there(void);

/* Run a command of the shell in a directory of this process that ends with it (unless
 * JUDGE_KEEP is in the environment and a test fails);
 * its exit status. */
int judge_run(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *judge_dir(void);

/* Write the bytes of a disk to a file in the directory.  In a strand. */
void judge_save(struct blk *disk, const char *name);

/* `qemu-img check`: 0 clean, 2 corrupt, 3 leaks. */
int judge_check(const char *name);

#endif
