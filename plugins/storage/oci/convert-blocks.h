/*
 * The disk while it is written: blocks are given out in rising order, so that what is written at a time lies together,
 * and goes to the file in large pieces. Which groups there are is known at the end only; where a group keeps a copy of
 * the superblock and of the descriptors is known before, and left out. The thread that called convert_image().
 */
#ifndef OCI_CONVERT_BLOCKS_H
#define OCI_CONVERT_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/error.h"

#define BLOCK_SIZE   4096u
#define GROUP_BLOCKS 32768u              /* as many as a bitmap of one block tells */
#define GDT_BLOCKS   256u                /* descriptors, and room for more: of 2 TiB */
#define BLOCKS_MAX   ((uint64_t)1 << 28) /* 1 TiB; behind it the inodes wait for the end, see convert-inode.h */

struct blocks {
    int fd;
    uint64_t next;   /* from here on all are free */
    uint8_t *used;   /* a byte for eight, BLOCKS_MAX of them */
    uint8_t *buffer; /* what is not written yet: fill bytes from position on */
    size_t fill;
    uint64_t position;
    uint64_t started; /* up to this position the kernel was told to write */
};

/* fd: empty, stays the caller's. */
int blocks_init(struct blocks *, int fd, struct runner_error *err);
void blocks_done(struct blocks *);

/* Up to want free blocks that lie together. NOSPACE: there are no more. */
int blocks_take(struct blocks *, uint64_t want, uint64_t *ret_start, uint64_t *ret_n, struct runner_error *err);
/* n that lie together, n < GROUP_BLOCKS - GDT_BLOCKS - 1. */
int blocks_take_together(struct blocks *, uint64_t n, uint64_t *ret_start, struct runner_error *err);
void blocks_give_back(struct blocks *, uint64_t start, uint64_t n);
/* The next run of used blocks at or behind from: its length, or 0. */
uint64_t blocks_run(const struct blocks *, uint64_t from, uint64_t *ret_start);

/* Bytes into blocks that were taken; what is never written reads as zeros. Best in rising order. */
int blocks_write(struct blocks *, uint64_t position, const void *data, size_t len, struct runner_error *err);
int blocks_read(struct blocks *, uint64_t position, void *data, size_t len, struct runner_error *err);
int blocks_flush(struct blocks *, struct runner_error *err);
/* What is free holds nothing: neither data of files that went, nor room on the host. */
int blocks_punch(struct blocks *, struct runner_error *err);

/* Group 1 and powers of 3, 5, 7: feature sparse_super. Group 0 too. */
bool blocks_group_has_copy(uint64_t group);

#endif
