/*
 * What was found out about a QEMU by trying, kept in <root>/accel-qemu.json so that the next start need not try again. It
 * holds until the host boots, or until what it was found out with changes.
 */
#ifndef QEMU_VERDICT_H
#define QEMU_VERDICT_H

#include "plugins/vmm/qemu/kernel.h"
#include "plugins/vmm/qemu/qemu.h"

/* What the host says before anything is tried. */
struct scene {
    char boot_id[64];
    bool has_kvm_device;
    bool has_root;       /* the root directory is there: the runner makes it when it serves, a mere check does not */
    int64_t mtime, size; /* of the binary; 0: not found where programs lie, and then no verdict is recalled */
    struct json *kept;   /* the verdict kept, or NULL */
};
void scene_done(struct scene *scene);

/* One batch. */
int scene_look(struct qemu *self, struct runner_call *call, struct scene *ret, struct runner_error *err);

struct verdict {
    struct qemu_facts facts;
    char reason[400]; /* why there is no KVM */
    char kernel[512]; /* that KVM was tried with; "": only the tiny guest */
};

/* The verdict kept, if it holds. A KVM that ran the tiny guest only is tried again once there is a kernel. */
bool verdict_recall(const struct qemu *self, const struct scene *scene, const struct kernel *kernel,
                    struct verdict *ret);
/* Nothing without a root directory. One batch; that it cannot be kept is logged at debug only: the next start tries again, and that is all. */
void verdict_keep(struct qemu *self, struct runner_call *call, const struct scene *scene,
                  const struct verdict *verdict);

#endif
