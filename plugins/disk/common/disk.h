/* What the disk plugins have in common: images of either format are looked at, grown, and told of. */
#ifndef DISK_H
#define DISK_H

#include "core/util/error.h"
#include "include/runner-plugin.h"

extern const struct runner_host *disk_host;

int disk_load(const struct runner_host *services, struct runner_error *err);

/* Gives copies of the texts of `image`, which core releases, to *ret; NOMEM. */
int disk_hand_over(const struct runner_image *image, struct runner_image *ret, struct runner_error *err);
void disk_take_back(const struct runner_image *image);

/* INVALID: the base is larger than the disk. */
int disk_check_base(const struct runner_disk *disk, struct runner_error *err);
int disk_add_removal(struct runner_batch *batch, const char *path, struct runner_error *err);

/* The operations of these names, for images of both formats: a host may have disks that another plugin made. */
int disk_inspect(void *self, struct runner_call *call, const char *path, struct runner_image *ret_image,
                 struct runner_error *err);
int disk_grow(void *self, struct runner_call *call, struct runner_batch *batch, const struct runner_image *image,
              int64_t size_bytes, struct runner_error *err);

#endif
