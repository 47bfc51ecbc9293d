/* quota.c - how much a directory may take, by the project quota of its file system.
 *
 * A project is a number that files inherit from their directory; the file system counts what those of
 * one number take, and keeps it below a limit.  Whoever has the directory in a user namespace
 * cannot change the number.
 *
 * Sources: quotactl(2), quotactl_fd of Linux 5.14; ioctl_xfs_fsgetxattr(2). */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>

#include "base/err.h"
#include "base/word.h"
#include "node/volume/directory.h"

#define TRIES_MOST    16
#define PROJECT_LEAST 0x10000u /* below are those of /etc/projects */
#define UNIT_BYTES    1024u    /* of limits */

static int ask(int places, unsigned what, uint32_t project, void *arg)
{
    return syscall(SYS_quotactl_fd, places, QCMD(what, PRJQUOTA), project, arg) < 0
               ? -errno
               : 0;
}

static int check(int places, struct err *e)
{
    struct fs_quota_statv s = {.qs_version = FS_QSTATV_VERSION1};
    int r = ask(places, Q_XGETQSTATV, 0, &s);

    if (r == -EPERM) {
        return err_set(e, r, "only root of the host sets quotas");
    }
    return r < 0 || (s.qs_flags & FS_QUOTA_PDQ_ENFD) == 0
               ? err_set(e, -EOPNOTSUPP,
                         "the file system there has no project quota (ext4 and xfs have "
                         "one, mounted with 'prjquota'); a disk has a limit on all: "
                         "'--size SIZE --filesystem ext4'")
               : 0;
}

static bool is_free(int places, uint32_t project)
{
    struct if_dqblk q = {0};
    int r = ask(places, Q_GETQUOTA, project, &q);

    return r == -ENOENT || (r == 0 && q.dqb_curspace == 0 && q.dqb_curinodes == 0 &&
                            q.dqb_bhardlimit == 0);
}

int directory_set_quota(int places, uint32_t project, uint64_t most_bytes)
{
    struct if_dqblk q = {.dqb_bhardlimit = (most_bytes + UNIT_BYTES - 1) / UNIT_BYTES,
                         .dqb_valid = QIF_BLIMITS};

    q.dqb_bsoftlimit = q.dqb_bhardlimit;
    return ask(places, Q_SETQUOTA, project, &q);
}

uint64_t directory_used(int places, uint32_t project)
{
    struct if_dqblk q = {0};

    return ask(places, Q_GETQUOTA, project, &q) == 0 ? q.dqb_curspace : 0;
}

int directory_take_project(int places, uint64_t most_bytes, uint32_t *ret, struct err *e)
{
    int r = check(places, e);

    for (int i = 0; r == 0 && i < TRIES_MOST; i++) {
        char text[9];
        uint32_t project;

        r = word_random_id(text, 8);
        project = (uint32_t)strtoul(text, NULL, 16) & INT32_MAX;
        if (r == 0 && project >= PROJECT_LEAST && is_free(places, project)) {
            r = directory_set_quota(places, project, most_bytes);
            *ret = project;
            return r < 0 ? err_sys(e, r, "cannot set a quota") : 0;
        }
    }
    return r < 0 ? r : err_set(e, -EAGAIN, "cannot find a free project");
}

int directory_set_project(int dir, uint32_t project)
{
    struct fsxattr x;

    if (ioctl(dir, FS_IOC_FSGETXATTR, &x) < 0) {
        return -errno;
    }
    x.fsx_projid = project;
    x.fsx_xflags |= FS_XFLAG_PROJINHERIT;
    return ioctl(dir, FS_IOC_FSSETXATTR, &x) < 0 ? -errno : 0;
}
