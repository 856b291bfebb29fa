/* Batches of this plugin's own: the steps it uses, in short. Each returns a step's index, or -1 with err filled. */
#ifndef QEMU_HOST_H
#define QEMU_HOST_H

#include "plugins/vmm/qemu/args.h"

int host_add_path(const struct qemu *self, struct runner_batch *batch, uint32_t kind, uint32_t flags, int64_t number,
                  const char *path, struct runner_error *err);
/* RUN, with nothing on standard input. */
int host_add_run(const struct qemu *self, struct runner_batch *batch, const struct args *args, int64_t limit_ms,
                 struct runner_error *err);
/* A file in a directory that is there; gone again when a later step fails, with is_undone. */
int host_add_write(const struct qemu *self, struct runner_batch *batch, const char *path, const void *data, size_t len,
                   bool is_undone, struct runner_error *err);
/* What a step that ran wrote, "" for nothing; the caller frees. */
char *host_text(const struct qemu *self, const struct runner_batch *batch, int index);

#endif
