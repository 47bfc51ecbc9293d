/* rows.c - the commands that there are, the frequent ones first.
 *
 * The usage bytes are what REPORT SUPPORTED OPERATION CODES tells (SPC-4 6.35): a bit
 * is set where the command looks at it. */
#include "resource/storage/iscsi/scsi.h"

#define LBA32  0xff, 0xff, 0xff, 0xff
#define LBA64  LBA32, LBA32
#define CDB_10 LBA32, 0, 0xff, 0xff, 0

/* clang-format off */
const struct scsi_row scsi_rows[] = {
    /* opcode, action, shape, access, length at, bytes, changes, strand, run, usage */
    {0x28, -1, SCSI_BLOCKS_IN, SCSI_ACCESS_READ, 0, 0, false, false, scsi_read, {0x28, 0xf8, CDB_10}},
    {0x2a, -1, SCSI_BLOCKS_OUT, SCSI_ACCESS_WRITE, 0, 0, true, false, scsi_write, {0x2a, 0xf8, CDB_10}},
    {0x88, -1, SCSI_BLOCKS_IN, SCSI_ACCESS_READ, 0, 0, false, false, scsi_read, {0x88, 0xf8, LBA64, LBA32, 0, 0}},
    {0x8a, -1, SCSI_BLOCKS_OUT, SCSI_ACCESS_WRITE, 0, 0, true, false, scsi_write, {0x8a, 0xf8, LBA64, LBA32, 0, 0}},
    {0x00, -1, SCSI_NO_DATA, SCSI_ACCESS_UNLESS_RESERVED, 0, 0, false, false, scsi_good, {0}},
    {0x03, -1, SCSI_ANSWER, SCSI_ACCESS_ALWAYS, 4, 1, false, false, scsi_request_sense, {0x03, 0x01, 0, 0, 0xff, 0}},
    {0x08, -1, SCSI_BLOCKS_IN, SCSI_ACCESS_READ, 0, 0, false, false, scsi_read, {0x08, 0x1f, 0xff, 0xff, 0xff, 0}},
    {0x0a, -1, SCSI_BLOCKS_OUT, SCSI_ACCESS_WRITE, 0, 0, true, false, scsi_write, {0x0a, 0x1f, 0xff, 0xff, 0xff, 0}},
    {0x12, -1, SCSI_ANSWER, SCSI_ACCESS_ALWAYS, 3, 2, false, false, scsi_inquiry, {0x12, 0x01, 0xff, 0xff, 0xff, 0}},
    {0x15, -1, SCSI_PARAMETER, SCSI_ACCESS_WRITE, 4, 1, false, false, scsi_mode_select6, {0x15, 0x11, 0, 0, 0xff, 0}},
    {0x16, -1, SCSI_NO_DATA, SCSI_ACCESS_OWN, 0, 0, false, false, scsi_reserve6, {0x16, 0, 0, 0, 0, 0}},
    {0x17, -1, SCSI_NO_DATA, SCSI_ACCESS_OWN, 0, 0, false, false, scsi_release6, {0x17, 0, 0, 0, 0, 0}},
    {0x1a, -1, SCSI_ANSWER, SCSI_ACCESS_READ, 4, 1, false, false, scsi_mode_sense6, {0x1a, 0x08, 0xff, 0xff, 0xff, 0}},
    {0x1b, -1, SCSI_NO_DATA, SCSI_ACCESS_OWN, 0, 0, false, true, scsi_start_stop, {0x1b, 0x01, 0, 0x0f, 0xf7, 0}},
    {0x1e, -1, SCSI_NO_DATA, SCSI_ACCESS_OWN, 0, 0, false, false, scsi_prevent_allow, {0x1e, 0, 0, 0, 0x03, 0}},
    {0x25, -1, SCSI_ANSWER, SCSI_ACCESS_UNLESS_RESERVED, 0, 0, false, false, scsi_read_capacity10, {0x25, 0, LBA32, 0, 0, 0, 0}},
    {0x2e, -1, SCSI_BLOCKS_OUT, SCSI_ACCESS_WRITE, 0, 0, true, true, scsi_write_verify, {0x2e, 0xf6, CDB_10}},
    {0x2f, -1, SCSI_BLOCKS_CHECK, SCSI_ACCESS_READ, 0, 0, false, true, scsi_verify, {0x2f, 0xf6, CDB_10}},
    {0x34, -1, SCSI_BLOCKS_NONE, SCSI_ACCESS_READ, 0, 0, false, false, scsi_good, {0x34, 0x02, CDB_10}},
    {0x35, -1, SCSI_BLOCKS_NONE, SCSI_ACCESS_WRITE, 0, 0, false, false, scsi_synchronize, {0x35, 0x02, CDB_10}},
    {0x41, -1, SCSI_ONE_BLOCK, SCSI_ACCESS_WRITE, 0, 0, true, true, scsi_write_same, {0x41, 0xf8, CDB_10}},
    {0x42, -1, SCSI_PARAMETER, SCSI_ACCESS_WRITE, 7, 2, true, true, scsi_unmap, {0x42, 0x01, 0, 0, 0, 0, 0, 0xff, 0xff, 0}},
    {0x55, -1, SCSI_PARAMETER, SCSI_ACCESS_WRITE, 7, 2, false, false, scsi_mode_select10, {0x55, 0x11, 0, 0, 0, 0, 0, 0xff, 0xff, 0}},
    {0x5a, -1, SCSI_ANSWER, SCSI_ACCESS_READ, 7, 2, false, false, scsi_mode_sense10, {0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, 0}},
    {0x5e, 0, SCSI_ANSWER, SCSI_ACCESS_UNLESS_RESERVED, 7, 2, false, false, scsi_persistent_in, {0x5e, 0x1f, 0, 0, 0, 0, 0, 0xff, 0xff, 0}},
    {0x5e, 1, SCSI_ANSWER, SCSI_ACCESS_UNLESS_RESERVED, 7, 2, false, false, scsi_persistent_in, {0x5e, 0x1f, 0, 0, 0, 0, 0, 0xff, 0xff, 0}},
    {0x5e, 2, SCSI_ANSWER, SCSI_ACCESS_UNLESS_RESERVED, 7, 2, false, false, scsi_persistent_in, {0x5e, 0x1f, 0, 0, 0, 0, 0, 0xff, 0xff, 0}},
    {0x5e, 3, SCSI_ANSWER, SCSI_ACCESS_UNLESS_RESERVED, 7, 2, false, false, scsi_persistent_in, {0x5e, 0x1f, 0, 0, 0, 0, 0, 0xff, 0xff, 0}},
    {0x5f, 0, SCSI_PARAMETER, SCSI_ACCESS_UNLESS_RESERVED, 5, 4, false, true, scsi_persistent_out, {0x5f, 0x1f, 0xff, 0, 0, LBA32, 0}},
    {0x5f, 1, SCSI_PARAMETER, SCSI_ACCESS_UNLESS_RESERVED, 5, 4, false, true, scsi_persistent_out, {0x5f, 0x1f, 0xff, 0, 0, LBA32, 0}},
    {0x5f, 2, SCSI_PARAMETER, SCSI_ACCESS_UNLESS_RESERVED, 5, 4, false, true, scsi_persistent_out, {0x5f, 0x1f, 0xff, 0, 0, LBA32, 0}},
    {0x5f, 3, SCSI_PARAMETER, SCSI_ACCESS_UNLESS_RESERVED, 5, 4, false, true, scsi_persistent_out, {0x5f, 0x1f, 0xff, 0, 0, LBA32, 0}},
    {0x5f, 4, SCSI_PARAMETER, SCSI_ACCESS_UNLESS_RESERVED, 5, 4, false, true, scsi_persistent_out, {0x5f, 0x1f, 0xff, 0, 0, LBA32, 0}},
    {0x5f, 5, SCSI_PARAMETER, SCSI_ACCESS_UNLESS_RESERVED, 5, 4, false, true, scsi_persistent_out, {0x5f, 0x1f, 0xff, 0, 0, LBA32, 0}},
    {0x5f, 6, SCSI_PARAMETER, SCSI_ACCESS_UNLESS_RESERVED, 5, 4, false, true, scsi_persistent_out, {0x5f, 0x1f, 0xff, 0, 0, LBA32, 0}},
    {0x89, -1, SCSI_TWICE_OUT, SCSI_ACCESS_WRITE, 0, 0, true, true, scsi_compare_and_write, {0x89, 0xf8, LBA64, 0, 0, 0, 0xff, 0, 0}},
    {0x8b, -1, SCSI_BLOCKS_OUT, SCSI_ACCESS_WRITE, 0, 0, true, true, scsi_or_write, {0x8b, 0xf8, LBA64, LBA32, 0, 0}},
    {0x8e, -1, SCSI_BLOCKS_OUT, SCSI_ACCESS_WRITE, 0, 0, true, true, scsi_write_verify, {0x8e, 0xf6, LBA64, LBA32, 0, 0}},
    {0x8f, -1, SCSI_BLOCKS_CHECK, SCSI_ACCESS_READ, 0, 0, false, true, scsi_verify, {0x8f, 0xf6, LBA64, LBA32, 0, 0}},
    {0x90, -1, SCSI_BLOCKS_NONE, SCSI_ACCESS_READ, 0, 0, false, false, scsi_good, {0x90, 0x02, LBA64, LBA32, 0, 0}},
    {0x91, -1, SCSI_BLOCKS_NONE, SCSI_ACCESS_WRITE, 0, 0, false, false, scsi_synchronize, {0x91, 0x02, LBA64, LBA32, 0, 0}},
    {0x93, -1, SCSI_ONE_BLOCK, SCSI_ACCESS_WRITE, 0, 0, true, true, scsi_write_same, {0x93, 0xf9, LBA64, LBA32, 0, 0}},
    {0x9e, 0x10, SCSI_ANSWER, SCSI_ACCESS_UNLESS_RESERVED, 10, 4, false, false, scsi_read_capacity16, {0x9e, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, LBA32, 0, 0}},
    {0x9e, 0x12, SCSI_ANSWER, SCSI_ACCESS_READ, 10, 4, false, true, scsi_lba_status, {0x9e, 0x1f, LBA64, LBA32, 0, 0}},
    {0xa0, -1, SCSI_ANSWER, SCSI_ACCESS_ALWAYS, 6, 4, false, false, scsi_report_luns, {0xa0, 0, 0xff, 0, 0, 0, LBA32, 0, 0}},
    {0xa3, 0x0a, SCSI_ANSWER, SCSI_ACCESS_UNLESS_RESERVED, 6, 4, false, false, scsi_report_port_groups, {0xa3, 0x3f, 0, 0, 0, 0, LBA32, 0, 0}},
    {0xa3, 0x0c, SCSI_ANSWER, SCSI_ACCESS_UNLESS_RESERVED, 6, 4, false, false, scsi_report_opcodes, {0xa3, 0x1f, 0x87, 0xff, 0xff, 0xff, LBA32, 0, 0}},
    {0xa8, -1, SCSI_BLOCKS_IN, SCSI_ACCESS_READ, 0, 0, false, false, scsi_read, {0xa8, 0xf8, LBA32, LBA32, 0, 0}},
    {0xaa, -1, SCSI_BLOCKS_OUT, SCSI_ACCESS_WRITE, 0, 0, true, false, scsi_write, {0xaa, 0xf8, LBA32, LBA32, 0, 0}},
    {0xae, -1, SCSI_BLOCKS_OUT, SCSI_ACCESS_WRITE, 0, 0, true, true, scsi_write_verify, {0xae, 0xf6, LBA32, LBA32, 0, 0}},
    {0xaf, -1, SCSI_BLOCKS_CHECK, SCSI_ACCESS_READ, 0, 0, false, true, scsi_verify, {0xaf, 0xf6, LBA32, LBA32, 0, 0}},
};
/* clang-format on */

const unsigned scsi_row_count = sizeof scsi_rows / sizeof scsi_rows[0];
