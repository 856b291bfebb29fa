/* What changes the size of a sandbox. */
#include <string.h>

#include "core/op.h"
#include "core/util/error.h"

/* ---- resize: new totals, of which 0 leaves what is there ---- */

static bool grows(int64_t to, int64_t has)
{
    return to != 0 && to > has;
}

static bool is_same(const struct resize *to, const struct record *record)
{
    return (to->cpus == 0 || to->cpus == record->cpus) &&
           (to->memory_bytes == 0 || to->memory_bytes == record->memory_bytes) &&
           !grows(to->disk_bytes, record->disk_bytes);
}

static int resize_admit(struct op *op, struct runner_error *err)
{
    const struct resize *to = &op->resize;
    const struct record *record;

    if (op_find(op, err) < 0)
        return -1;
    record = op->sandbox->record;
    if (to->disk_bytes != 0 && to->disk_bytes < record->disk_bytes)
        return fail(err, RUNNER_E_INVALID, 0, "disk: %lld GiB are less than the %lld GiB it has; disks only grow",
                    (long long)(to->disk_bytes >> 30), (long long)(record->disk_bytes >> 30));
    if (record->state == SANDBOX_STARTED) {
        op->type = &op_resize_running;
        return OP_BECOME;
    }
    if (record->state != SANDBOX_STOPPED)
        return fail(err, RUNNER_E_BUSY, 0, "cannot resize sandbox '%s': it is %s, neither stopped nor started", op->id,
                    sandbox_state_name(record->state));
    return is_same(to, record) ? OP_ENOUGH : OP_NEXT;
}

/* A stopped sandbox has of its host no more than its disk: its next start asks for vCPUs and memory. */
int op_take_room(struct op *op, struct runner_error *err)
{
    op->was = index_size(op->engine->index, op->sandbox);
    return index_resize(op->engine->index, op->sandbox, &op->resize, err) < 0 ? -1 : OP_NEXT;
}

void op_give_room_back(struct op *op, struct runner_error *err)
{
    (void)err;
    index_restore_size(op->engine->index, op->sandbox, &op->was);
}

int op_can_grow(const struct op *op, struct runner_error *err)
{
    if (host_plugin(op->host, RUNNER_DISK)->desc.caps & RUNNER_DISK_CAP_GROW)
        return 0;
    return fail(err, RUNNER_E_NOTSUP, 0, "disk: disks of host '%s' cannot grow", op->host->config->name);
}

int op_grow_disk(struct op *op, struct runner_error *err)
{
    const struct record *record = op->sandbox->record;
    const struct runner_image image = {.size = sizeof image,
                                       .path = record->disk.path,
                                       .format = record->disk.format,
                                       .backing_path = record->disk.backing_path,
                                       .backing_format = record->disk.backing_format,
                                       .size_bytes = op->was.disk_bytes + op->was.disk_extra_bytes};
    const int64_t size_bytes = record->disk_bytes + record->disk_extra_bytes;

    if (size_bytes <= image.size_bytes)
        return OP_NEXT;
    if (op_can_grow(op, err) < 0)
        return -1;
    batch_free(op->batch);
    op->batch = batch_new(&op->call);
    if (HOST_CALL(op->host, RUNNER_DISK, disk, grow, &op->call, op->batch, &image, size_bytes, err) < 0 ||
        batch_run(&op->call, op->batch, err) < 0)
        return error_wrap(err, "disk");
    return OP_NEXT;
}

static int resized(struct op *op, struct runner_error *err)
{
    return op_commit(op, op->sandbox->record->state, NULL, err);
}

static const struct op_phase resize_phases[] = {{"admit", resize_admit, NULL},
                                                {"room", op_take_room, op_give_room_back},
                                                {"disk", op_grow_disk, NULL}, /* more than its record says does no harm */
                                                {"commit", resized, NULL}};
const struct op_type op_resize = {"resize", resize_phases, ARRAY_LEN(resize_phases)};

/* ---- resize of a machine that runs ---- */

static int running_admit(struct op *op, struct runner_error *err)
{
    const struct resize *to = &op->resize;
    const struct record *record = op->sandbox->record;
    const struct instance *vmm = op_vmm(op, err);

    if (vmm == NULL)
        return -1;
    if (grows(to->disk_bytes, record->disk_bytes))
        return fail(err, RUNNER_E_INVALID, 0, "disk: it cannot grow while sandbox '%s' runs, stop it first", op->id);
    if ((to->cpus != 0 && to->cpus < record->cpus) ||
        (to->memory_bytes != 0 && to->memory_bytes < record->memory_bytes))
        return fail(err, RUNNER_E_INVALID, 0,
                    "cpu, memory: they cannot become less while sandbox '%s' runs, stop it first", op->id);
    if (vmm->plugin->desc.caps & RUNNER_VMM_CAP_RESIZE)
        return OP_NEXT; /* though it may be done already: a job that was cut off left the record like that */
    if (is_same(to, record))
        return OP_ENOUGH;
    return fail(err, RUNNER_E_NOTSUP, 0, "vmm '%s' cannot resize sandbox '%s' while it runs, stop it first",
                vmm->plugin->desc.name, op->id);
}

/* Promised and recorded before the machine has it: at no time has a machine more than what its host has been counted. */
static int running_mark(struct op *op, struct runner_error *err)
{
    op->was = index_size(op->engine->index, op->sandbox);
    if (index_resize(op->engine->index, op->sandbox, &op->resize, err) < 0)
        return -1;
    if (op_mark(op, SANDBOX_STARTED, err) == OP_NEXT)
        return OP_NEXT;
    index_restore_size(op->engine->index, op->sandbox, &op->was);
    return -1;
}

static int resize_machine(struct op *op, struct runner_call *call, uint32_t cpus, int64_t memory_bytes,
                          struct runner_error *err)
{
    auto_vm_view struct vm_view view = {0};
    struct instance *vmm = op_vmm_view(op, &view, err);

    if (vmm == NULL)
        return -1;
    view.vm.cpus = cpus;
    view.vm.memory_bytes = memory_bytes;
    return INSTANCE_CALL(vmm, vmm, resize, call, &view.vm, err);
}

/* That it has nothing of it, the machine says: one that has more than it had refuses to have that again. */
static void running_unmark(struct op *op, struct runner_error *err)
{
    const struct resize *was = &op->was;
    struct runner_error more = ERROR_INIT;
    struct runner_call soon;

    call_init_child(&soon, &op->call, OP_BACK_MS);
    if (err->code != RUNNER_E_NOTSUP && resize_machine(op, &soon, was->cpus, was->memory_bytes, &more) < 0) {
        error_append(err, "the machine may have some of it, and counts as if it had all: %s", more.message);
        return;
    }
    index_restore_size(op->engine->index, op->sandbox, was);
    if (op_mark(op, SANDBOX_STARTED, &more) < 0)
        error_append(err, "%s", more.message);
}

static int running_machine(struct op *op, struct runner_error *err)
{
    const struct record *record = op->sandbox->record;

    if (resize_machine(op, &op->call, record->cpus, record->memory_bytes, err) == 0)
        return OP_NEXT;
    if (err->code != RUNNER_E_NOTSUP)
        return op_blame_host(err);
    error_append(err, "stop it first");
    return -1;
}

static const struct op_phase running_phases[] = {{"admit", running_admit, NULL},
                                                 {"mark", running_mark, running_unmark},
                                                 {"machine", running_machine, NULL},
                                                 {"commit", resized, NULL}};
const struct op_type op_resize_running = {"resize-running", running_phases, ARRAY_LEN(running_phases)};
