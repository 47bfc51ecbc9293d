/* types.c - the types of disks that a word can ask for. */
#include "resource/storage/graph/node.h"

const struct graph_type *const graph_types[] = {
    /* without a disk below */
    &graph_node_file,
    &graph_node_memory,
    &graph_node_nbd,
    &graph_node_iscsi,
    &graph_node_rbd,
    /* images */
    &graph_node_raw,
    &graph_node_qcow2,
    &graph_node_vmdk,
    &graph_node_vhdx,
    &graph_node_vhd,
    &graph_node_vdi,
    &graph_node_luks,
    /* over one disk */
    &graph_node_throttle,
    &graph_node_cache,
    &graph_node_tier,
    &graph_node_overlay,
    &graph_node_checksum,
    &graph_node_dedup,
    &graph_node_marks,
    &graph_node_log,
    /* over several */
    &graph_node_mirror,
    &graph_node_raid,
    /* in pools */
    &graph_node_store,
    &graph_node_carve,
    &graph_node_span,
    &graph_node_quota,
    NULL,
};
