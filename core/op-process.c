/* The process of a machine: which VMM, as whom, and what of the sandbox's directory is its own. */
#include <string.h>
#include <sys/random.h>

#include "core/op.h"
#include "core/util/error.h"

struct instance *op_vmm(struct op *op, struct runner_error *err)
{
    const char *name = op->sandbox->record->vmm.plugin;
    struct instance *vmm = host_vmm(op->host, name);

    if (vmm == NULL)
        fail(err, RUNNER_E_NOTSUP, 0, "host '%s' has no vmm '%s' any more, by which this sandbox was started",
             op->host->config->name, name);
    return vmm;
}

struct instance *op_vmm_view(struct op *op, struct vm_view *ret_view, struct runner_error *err)
{
    struct instance *vmm = op_vmm(op, err);

    if (vmm != NULL)
        vm_view_init(ret_view, op->host, op->sandbox->record);
    return vmm;
}

static uint64_t caps_needed(const struct op *op)
{
    const struct plugin *network = host_plugin(op->host, RUNNER_NETWORK);
    uint64_t caps = 0;

    if (network->desc.caps & RUNNER_NETWORK_CAP_USER_NIC)
        caps |= RUNNER_VMM_CAP_USER_NETWORK;
    if (op->sandbox->record->boot.firmware != NULL)
        caps |= RUNNER_VMM_CAP_FIRMWARE;
    return caps;
}

/* Unique among all runners of a machine, which may share the parent. */
static char *new_cgroup(const char *id)
{
    uint32_t random = 0;

    (void)!getrandom(&random, sizeof random, 0);
    return mem_printf("%.40s-%08x", id, random);
}

static int assign_uid(struct op *op, uint32_t *ret, struct runner_error *err)
{
    *ret = op->sandbox->record->vmm.uid;
    if (host_has_uids(op->host)) {
        if (*ret != 0)
            return 0;
        return index_check_leases(op->engine->index, op->host, err) < 0 ? -1 : uids_take(op->host->uids, ret, err);
    }
    op_unassign(op);
    *ret = 0;
    return 0;
}

int op_assign(struct op *op, struct runner_error *err)
{
    struct record *record = op->sandbox->record;
    struct instance *vmm;
    uint32_t uid;

    if (host_pick_vmm(op->host, &op->call, caps_needed(op), record->vmm.plugin, &vmm, err) < 0 ||
        assign_uid(op, &uid, err) < 0)
        return -1;
    index_lock(op->engine->index);
    record->vmm.uid = record->nic.uid = uid; /* the TAP is its own */
    if (record->vmm.cgroup == NULL)
        record->vmm.cgroup = new_cgroup(op->id);
    free(record->vmm.plugin);
    record->vmm.plugin = mem_dup(vmm->plugin->desc.name);
    index_unlock(op->engine->index);
    return OP_NEXT;
}

void op_unassign(struct op *op)
{
    if (op->host->uids != NULL)
        uids_release(op->host->uids, op->sandbox->record->vmm.uid);
}

static int add_own(struct op *op, const char *path, uint32_t uid, uint32_t gid, int64_t mode, struct runner_error *err)
{
    struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_OWN, .path = path, .number = mode, .uid = uid, .gid = gid};

    return batch_add(op->batch, &step, err) < 0 ? -1 : 0;
}

int op_own_disk(struct op *op, struct runner_error *err)
{
    const struct record *record = op->sandbox->record;

    return record->vmm.uid == 0 ? 0 : add_own(op, record->disk.path, record->vmm.uid, record->vmm.uid, 0600, err);
}

/* What was made for this process has its owner; what is there of an earlier one gets it. */
int op_plan_owner(struct op *op, struct runner_error *err)
{
    const struct record *record = op->sandbox->record;
    auto_free char *dir = host_sandbox_dir(op->host, op->id);
    auto_free char *own = host_sandbox_path(op->host, op->id, "vmm");
    uint32_t uid = record->vmm.uid;
    struct runner_step step = {.size = RUNNER_STEP_INIT,
                               .kind = RUNNER_MKDIR,
                               .flags = uid != 0 ? RUNNER_S_OWNED : 0,
                               .path = own,
                               .number = 0700,
                               .uid = uid,
                               .gid = uid};

    if (batch_add(op->batch, &step, err) < 0)
        return -1;
    if (uid == 0 || record->state == SANDBOX_CREATING)
        return OP_NEXT;
    if (add_own(op, dir, 0, uid, OP_DIRECTORY_MODE, err) < 0 || add_own(op, own, uid, uid, 0700, err) < 0)
        return -1;
    return op_own_disk(op, err) < 0 ? -1 : OP_NEXT;
}
