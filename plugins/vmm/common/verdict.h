/*
 * What was found out about a VMM by trying, kept in <root>/accel-<name>.json so that the next start need not try again.
 * It holds until the host boots, or until what it was found out with changes: the binary, /dev/kvm, and what the plugin
 * names besides.
 */
#ifndef VMM_COMMON_VERDICT_H
#define VMM_COMMON_VERDICT_H

#include "core/util/json.h"
#include "include/runner-plugin.h"

/* What the host says before anything is tried. */
struct scene {
    const char *name;   /* of the VMM, as in the file's name */
    const char *binary; /* a name in PATH, or a path */
    char boot_id[64];
    bool has_kvm_device;
    bool has_root;       /* the root directory is there: the runner makes it when it serves, a mere check does not */
    int64_t mtime, size; /* of the binary; 0: not found where programs lie, and then no verdict is recalled */
    struct json *kept;   /* the verdict kept, or NULL */
};
void scene_done(struct scene *scene);

/* One batch. name and binary are the caller's and stay. */
int scene_look(const struct runner_host *host, struct runner_call *call, const char *name, const char *binary,
               struct scene *ret, struct runner_error *err);

/* Whether the verdict kept was found out with the same, inputs included: then scene->kept says what was found. */
bool verdict_recall(const struct scene *scene, const struct runner_field *inputs, size_t n);

/* Begins a verdict in `out`: an object with its inputs, to which the plugin adds what it found. */
void verdict_begin(const struct scene *scene, const struct runner_field *inputs, size_t n, struct str *out);
/* Ends and writes it. Nothing without a root directory. One batch; that it cannot be kept is logged at debug only: the
 * next start tries again, and that is all. */
void verdict_keep(const struct runner_host *host, struct runner_call *call, const struct scene *scene, struct str *out);

#endif
