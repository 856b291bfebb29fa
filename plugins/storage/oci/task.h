/* One operation: the program runner-oci on the host, what it is asked for, and what it says. */
#ifndef OCI_TASK_H
#define OCI_TASK_H

#include <stdbool.h>

#include "core/util/json.h"
#include "include/runner-plugin.h"

struct oci {                          /* an instance */
    char *program, *ca_file, *mirror; /* NULL: not set, the program's never */
    char **insecure;
    size_t n_insecure;
    int64_t parallel, max_image_bytes, max_layers, cache_bytes, stall_ms, memory_bytes, uid;
    _Atomic bool has_warned; /* of what a host cannot do: once is enough */
};

extern const struct runner_host *oci_host;

struct task {
    const char *operation;
    const struct runner_object *from, *to; /* NULL: none */
    const char *dir, *path, *format, *image_json;
    runner_progress_fn *progress; /* NULL: nobody asks */
    void *ctx;
};

/* Starts it, passes its progress on, and waits for its end. *ret_result: what it says, an object. When the operation is
 * cancelled or late the program ends by itself, since nobody listens any more. */
int task_run(const struct oci *self, struct runner_call *call, const struct task *task, struct json **ret_result,
             struct runner_error *err);

#endif
