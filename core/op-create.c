/* create: from a request to a machine whose daemon answers. */
#include <string.h>

#include "core/figures.h"
#include "core/guest.h"
#include "core/identity.h"
#include "core/nic.h"
#include "core/op.h"
#include "core/reaper.h"
#include "core/snapshot.h"
#include "core/util/error.h"
#include "core/util/num.h"

/* The request has been made before (contract 1.5): what there is decides. */
static int repeat(struct op *op, struct runner_error *err)
{
    const struct record *record = op->sandbox->record;

    op->host = op->call.host = op->sandbox->host;
    record_free(op->plan);
    op->plan = NULL;
    switch (record->state) {
    case SANDBOX_STARTED:
    case SANDBOX_STOPPED:
    case SANDBOX_PAUSED:
        op->type = &op_start;
        return OP_BECOME;
    case SANDBOX_ERROR:
        return fail(err, RUNNER_E_IO, 0, "sandbox '%s' is in error: %s", op->id,
                    record->error != NULL ? record->error : "unknown");
    default:
        return fail(err, RUNNER_E_BUSY, 0, "sandbox '%s' is %s", op->id, sandbox_state_name(record->state));
    }
}

/* Where it gets none, it need not be known which are free. (Ports are known by who listens.) */
static int check_leases(const struct op *op, struct runner_error *err)
{
    bool gets_address = !(host_plugin(op->host, RUNNER_NETWORK)->desc.caps & RUNNER_NETWORK_CAP_OWN_ADDRESS);

    return gets_address || host_has_uids(op->host) ? index_check_leases(op->engine->index, op->host, err) : 0;
}

static int admit(struct op *op, struct runner_error *err)
{
    struct record *plan = op->plan;

    op->sandbox = index_get(op->engine->index, op->id);
    if (op->sandbox != NULL)
        return repeat(op, err);
    if (check_leases(op, err) < 0 || op_check_policy(op, &plan->policy, err) < 0 ||
        figures_check_space(op->engine, &op->call, err) < 0)
        return -1;
    op->batch = batch_new(&op->call);
    plan->created_ms = num_wall_ms();
    plan->state = SANDBOX_CREATING;
    if (index_admit(op->engine->index, op->host, plan, &op->sandbox, err) < 0)
        return -1;
    op->plan = NULL;
    return OP_NEXT;
}

/* Its own init, with our daemon as a unit (guest/daemon/init.c), unless the host's settings say otherwise. */
static char *command_line(const struct op *op, const struct snapshot *snapshot)
{
    bool has_systemd = strcmp(json_text(snapshot->config, "init", ""), "systemd") == 0;

    if (snapshot->base == NULL || snapshot->cmdline == NULL || !has_systemd ||
        op->host->config->image_init == CONFIG_INIT_DAEMON)
        return mem_dup(snapshot->cmdline);
    return mem_printf("%s net.ifnames=0 runner.init=/sbin/init runner.unit", snapshot->cmdline);
}

/* Fetched where it is not here, which takes its time. It stays until the create is over: then a disk on top of it is in the
 * record. */
static int image(struct op *op, struct runner_error *err)
{
    struct record *record = op->sandbox->record;
    auto_snapshot struct snapshot *snapshot = NULL;

    if (images_open(op->host->images, &op->call, record->snapshot, op->source.ref != NULL ? &op->source : NULL,
                    &snapshot, err) < 0) {
        if (err->code == RUNNER_E_DENIED) /* by the registry: the client of this runner is who it says */
            err->code = RUNNER_E_INVALID;
        if (err->code == RUNNER_E_NOTSUP) /* another architecture, or no image: 409 (contract 1.5) */
            err->code = RUNNER_E_EXISTS;
        return -1;
    }
    index_lock(op->engine->index);
    record->boot.kernel = mem_dup(snapshot->kernel);
    record->boot.initramfs = mem_dup(snapshot->initramfs);
    record->boot.cmdline = command_line(op, snapshot);
    record->boot.firmware = mem_dup(snapshot->firmware);
    record->boot.has_daemon = snapshot->has_daemon;
    record->boot.is_ready_by_log = snapshot->is_ready_by_log;
    record->disk.backing_path = mem_dup(snapshot->image.path);
    record->disk.backing_format = mem_dup(snapshot->image.format);
    record->disk.size_bytes = snapshot->image.size_bytes;
    record->image = snapshot->config;
    index_unlock(op->engine->index);
    snapshot->config = NULL;
    return OP_NEXT;
}

static void let_go(const struct op *op)
{
    images_release(op->host->images, op->sandbox->record->snapshot);
}

static void unimage(struct op *op, struct runner_error *err)
{
    (void)err;
    let_go(op);
}

/* Which VMM, and as whom. Its uid is free again when nothing of it is left. */
static int process(struct op *op, struct runner_error *err)
{
    return op_assign(op, err);
}

static void unprocess(struct op *op, struct runner_error *err)
{
    (void)err;
    if (!op->is_stuck)
        op_unassign(op);
}

/* What could not be undone stays, and says so, until it is. */
static void dismiss(struct op *op, struct runner_error *err)
{
    (void)err;
    if (!op->is_stuck)
        index_remove(op->engine->index, op->sandbox);
}

static int no_address(struct op *op, struct runner_error *err)
{
    if (err->code == RUNNER_E_NOSPACE) {
        index_lock(op->engine->index);
        op->host->capacity.refused[REFUSED_ADDRESS]++;
        index_unlock(op->engine->index);
    }
    return error_wrap(err, "address");
}

static int lease(struct op *op, struct runner_error *err)
{
    struct runner_nic nic = {.size = sizeof nic, .guest_port = GUEST_DAEMON_PORT};
    struct runner_lease got = {.size = sizeof got};

    identity_mac(op->id, nic.mac);
    if (!(host_plugin(op->host, RUNNER_NETWORK)->desc.caps & RUNNER_NETWORK_CAP_OWN_ADDRESS)) {
        if (HOST_CALL(op->host, RUNNER_IPAM, ipam, lease, &op->call, op->id, &got, err) < 0)
            return no_address(op, err);
        nic_set_lease(&nic, &got);
    }
    nic.uid = op->sandbox->record->vmm.uid;
    index_lock(op->engine->index);
    op->sandbox->record->nic = nic;
    index_unlock(op->engine->index);
    return OP_NEXT;
}

static void unlease(struct op *op, struct runner_error *err)
{
    struct runner_error more = ERROR_INIT;

    if (!op->is_stuck && host_plugin(op->host, RUNNER_IPAM) != NULL &&
        HOST_CALL(op->host, RUNNER_IPAM, ipam, release, op->id, &more) < 0)
        error_append(err, "address not released: %s", more.message);
}

/*
 * The directory comes first, with a record that says "creating": found at start-up, what is there is removed (a TAP
 * that the record does not name yet is swept by the network). The undo removes whatever is in it by then.
 * The VMM may look for names in it, but neither list nor change it: the record in there is not its business.
 */
static int directory(struct op *op, struct runner_error *err)
{
    auto_free char *dir = host_sandbox_dir(op->host, op->id);
    struct runner_step undo = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = dir, .to = "runner.json"};
    uint32_t uid = op->sandbox->record->vmm.uid;
    struct runner_step step = {.size = RUNNER_STEP_INIT,
                               .kind = RUNNER_MKDIR,
                               .flags = RUNNER_S_EXCL | (uid != 0 ? RUNNER_S_OWNED : 0),
                               .path = dir,
                               .number = uid != 0 ? OP_DIRECTORY_MODE : 0700,
                               .gid = uid,
                               .undo = &undo};

    if (batch_add(op->batch, &step, err) < 0 || op_add_record(op, 0, err) < 0)
        return -1;
    return OP_NEXT;
}

static int directory_apart(struct op *op, struct runner_error *err)
{
    return directory(op, err) < 0 ? -1 : op_split(op, err);
}

/* Before anything is on the host: a sandbox that is there, be it in error, has a disk by its record. */
static int disk(struct op *op, struct runner_error *err)
{
    struct record *record = op->sandbox->record;
    auto_free char *dir = host_sandbox_dir(op->host, op->id);
    struct runner_image base = {.size = sizeof base,
                                .flags = RUNNER_I_READONLY,
                                .path = record->disk.backing_path,
                                .format = record->disk.backing_format,
                                .size_bytes = record->disk.size_bytes};
    struct runner_disk wanted = {
        .size = sizeof wanted, .id = op->id, .dir = dir, .base = &base, .size_bytes = record->disk_bytes};
    struct runner_image made = {.size = sizeof made};

    if (HOST_CALL(op->host, RUNNER_DISK, disk, clone, &op->call, op->batch, &wanted, &made, err) < 0)
        return error_wrap(err, "disk");
    index_lock(op->engine->index);
    free(record->disk.backing_path);
    free(record->disk.backing_format);
    record->disk.path = (char *)made.path;
    record->disk.format = (char *)made.format;
    record->disk.backing_path = (char *)made.backing_path;
    record->disk.backing_format = (char *)made.backing_format;
    record->disk.size_bytes = made.size_bytes;
    index_unlock(op->engine->index);
    return op_own_disk(op, err) < 0 ? -1 : OP_NEXT;
}

/* What could not be undone now is destroyed later (follow_up in op.c). Where not even that can be recorded, it stays
 * "creating", which comes to the same. */
static void undo_host(struct op *op, struct runner_error *err)
{
    struct runner_error more = ERROR_INIT;

    op->is_torn_down = true;
    if (op_tear_down(op, &more) == 0 && op_remove_directory(op, &more) == 0)
        return;
    op->is_stuck = true;
    error_append(err, "not undone: %s", more.message);
    (void)op_commit(op, SANDBOX_DESTROYING, err->message, &more);
}

/* A batch that fails undoes what it did, and may fail at that as well. Not where the directory was there before: then the
 * record behind it was not written. */
static void undo_batch(struct op *op, struct runner_error *err)
{
    const struct runner_batch *first = op->begun != NULL ? op->begun : op->batch;

    if (!op->is_torn_down && batch_result(first, 1) != NULL)
        undo_host(op, err);
}

static int begin(struct op *op, struct runner_error *err)
{
    int status = op_begin(op, err);

    if (status < 0)
        undo_batch(op, err);
    return status;
}

static void unbegin(struct op *op, struct runner_error *err)
{
    if (op_unbegin(op, err) < 0)
        undo_host(op, err);
}

static int commit(struct op *op, struct runner_error *err)
{
    if (op_commit(op, SANDBOX_STARTED, NULL, err) < 0)
        return -1;
    reaper_watch(op->engine->reaper, op->sandbox);
    op_tell_token(op, op->sandbox);
    let_go(op);
    return OP_NEXT;
}

static int commit_stopped(struct op *op, struct runner_error *err)
{
    if (op_commit(op, SANDBOX_STOPPED, NULL, err) < 0)
        return -1;
    let_go(op);
    return OP_NEXT;
}

static const struct op_phase create_phases[] = {{"admit", admit, dismiss},
                                                {"image", image, unimage},
                                                {"process", process, unprocess},
                                                {"address", lease, unlease},
                                                {"directory", directory_apart, NULL},
                                                {"disk", disk, NULL},
                                                {"begin", begin, unbegin},
                                                {"network", op_plan_network, op_unplan_network},
                                                {"seed", op_plan_seed, NULL},
                                                {"owner", op_plan_owner, NULL},
                                                {"spawn", op_plan_spawn, undo_batch},
                                                {"host", op_run_batch, undo_host},
                                                {"boot", op_boot, NULL},
                                                {"ready", op_ready, NULL},
                                                {"commit", commit, NULL}};
const struct op_type op_create = {"create", create_phases, ARRAY_LEN(create_phases)};

static const struct op_phase stopped_phases[] = {{"admit", admit, dismiss},      {"image", image, unimage},
                                                 {"address", lease, unlease},    {"directory", directory, NULL},
                                                 {"disk", disk, undo_batch},     {"host", op_run_batch, undo_host},
                                                 {"commit", commit_stopped, NULL}};
const struct op_type op_create_stopped = {"create-stopped", stopped_phases, ARRAY_LEN(stopped_phases)};
