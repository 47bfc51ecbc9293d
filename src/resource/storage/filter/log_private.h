/* log_private.h - the form of a trace on a disk.
 *
 *     page 0    the head: format, records in a page
 *     page n    `LOG_PAGE_RECORDS` records; one that is not used has kind 0
 *
 * A record, 40 bytes: began, offset, bytes, took (64 bits each), result (32),
 * kind + 1 (16), flags (16). */
#ifndef RESOURCE_STORAGE_FILTER_LOG_PRIVATE_H
#define RESOURCE_STORAGE_FILTER_LOG_PRIVATE_H

#include "resource/storage/filter/page.h"

#define LOG_HEAD_KIND    0x31484f4cu /* "LOH1" */
#define LOG_PAGE_KIND    0x31504f4cu /* "LOP1" */
#define LOG_RECORD_BYTES 40u
#define LOG_PAGE_RECORDS (FILTER_PAGE_ROOM / LOG_RECORD_BYTES)

#endif
