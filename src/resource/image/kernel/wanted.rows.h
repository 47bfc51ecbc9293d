/* wanted.rows.h - modules that a guest's first programs need.
 *
 * MODULE(name, stage, what for).  ROOT: before the root file system is looked for; NETWORK:
 * before a command that is all that the machine does; FILES: before volumes are mounted; LATER:
 * where no system of the guest's own loads it.  In the order of stages, and of loading; what
 * each needs comes by itself.  What a kernel has built in, or does not have, is left out. */
/* clang-format off */
MODULE("virtio_pci",                 ROOT,    "every virtio device")
MODULE("virtio_blk",                 ROOT,    "disks")
MODULE("nvme",                       ROOT,    "disks")
MODULE("crc32c_intel",               ROOT,    "checksums of ext4 at the processor's speed")
MODULE("ext4",                       ROOT,    "root file systems")
MODULE("overlay",                    ROOT,    "a root that is not written to")
MODULE("virtio_net",                 NETWORK, "networks")
MODULE("virtiofs",                   FILES,   "directories of the host")
MODULE("vmw_vsock_virtio_transport", LATER,   "the agent's way to the host")
MODULE("virtio_console",             LATER,   "consoles and ports")
MODULE("virtio_rng",                 LATER,   "random numbers")
MODULE("virtio_balloon",             LATER,   "memory given back")
MODULE("button",                     LATER,   "the power button")
/* clang-format on */
