/* Phases around the VM that create, start, stop, destroy and recovery share. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "core/guest.h"
#include "core/log.h"
#include "core/op.h"
#include "core/sandbox-seed.h"
#include "core/util/error.h"
#include "core/util/num.h"

#define KILL_WAIT_MS  2000  /* after SIGTERM: the VMM flushes its caches and goes */
#define KILL_RESERVE_MS (2 * KILL_WAIT_MS)
#define DEATH_WAIT_MS 30000 /* after SIGKILL: the kernel frees the guest's memory */
#define SERIAL_QUOTE  400
#define SERIAL_READ   4096 /* bytes: there may be many line ends behind the last words */

/* ---- planning ---- */

int op_plan_network(struct op *op, struct runner_error *err)
{
    struct runner_nic nic = op->sandbox->record->nic;
    const struct instance *vmm = op_vmm(op, err);

    if (vmm == NULL)
        return -1;
    nic.size = sizeof nic;
    nic.is_dialled = (vmm->plugin->desc.caps & RUNNER_VMM_CAP_TAP_FD) != 0;
    if (HOST_CALL(op->host, RUNNER_NETWORK, network, attach, &op->call, op->batch, op->id, &nic, err) < 0)
        return error_wrap(err, "network");
    index_lock(op->engine->index);
    op->sandbox->record->nic = nic;
    index_unlock(op->engine->index);
    if (op_plan_policy(op, op->batch, err) == 0)
        return OP_NEXT;
    op_unplan_network(op, err);
    return -1;
}

static int plan_detach(struct op *op, struct runner_batch *batch, struct runner_error *err)
{
    const struct runner_nic *nic = &op->sandbox->record->nic;

    if (nic->size == 0 || nic->kind == 0)
        return 0;
    return HOST_CALL(op->host, RUNNER_NETWORK, network, detach, &op->call, batch, op->id, nic, err);
}

int op_release_network(struct op *op, struct runner_error *err)
{
    auto_batch struct runner_batch *discarded = batch_new(&op->call);

    if (host_plugin(op->host, RUNNER_NETWORK)->ops.network.release == NULL)
        return plan_detach(op, discarded, err);
    return HOST_CALL(op->host, RUNNER_NETWORK, network, release, op->id, err);
}

/* It has no interface. That it had this one, the record on the host says until it is written again, or gone. */
static void forget_name(struct op *op)
{
    struct runner_nic *nic = &op->sandbox->record->nic;

    index_lock(op->engine->index);
    if (nic->kind == RUNNER_NIC_TAP)
        nic->name[0] = '\0';
    index_unlock(op->engine->index);
}

/* The host's side was undone with its batch. */
void op_unplan_network(struct op *op, struct runner_error *err)
{
    struct runner_error more = ERROR_INIT;

    if (op->is_stuck) /* something of it is still there, and the record says what is its */
        return;
    if (op_release_network(op, &more) < 0)
        error_append(err, "network not released: %s", more.message);
    forget_name(op);
}

int op_plan_seed(struct op *op, struct runner_error *err)
{
    auto_free char *path = host_sandbox_path(op->host, op->id, "cloud-init.iso");
    auto_str struct str iso = STR_INIT;
    const struct record *record = op->sandbox->record;
    uint32_t uid = record->vmm.uid;
    uint32_t fresh = record->state == SANDBOX_CREATING ? RUNNER_S_EXCL | RUNNER_S_FRESH : 0;
    struct runner_step step = {.size = RUNNER_STEP_INIT,
                               .kind = RUNNER_WRITE,
                               .flags = RUNNER_S_SECRET | fresh | (uid != 0 ? RUNNER_S_OWNED : 0),
                               .path = path,
                               .number = uid != 0 ? 0400 : 0600,
                               .uid = uid,
                               .gid = uid};

    if (sandbox_seed(op->host->config, record, &iso, err) < 0)
        return error_wrap(err, "seed");
    return batch_add_given(op->batch, &step, &iso, err) < 0 ? -1 : OP_NEXT;
}

static bool is_early(const struct instance *vmm)
{
    return (vmm->plugin->desc.caps & RUNNER_VMM_CAP_EARLY) != 0;
}

static int plan_spawn(struct op *op, struct runner_batch *batch, struct instance *vmm, const struct runner_vm *vm,
                      struct runner_error *err)
{
    if (INSTANCE_CALL(vmm, vmm, spawn, &op->call, batch, vm, err) < 0)
        return error_wrap(err, "vmm");
    return 0;
}

int op_plan_spawn(struct op *op, struct runner_error *err)
{
    auto_vm_view struct vm_view view = {0};
    struct instance *vmm = op_vmm_view(op, &view, err);

    if (vmm == NULL)
        return -1;
    return !is_early(vmm) && plan_spawn(op, op->batch, vmm, &view.vm, err) < 0 ? -1 : OP_NEXT;
}

/* What the host lacks, or how its VMM answers, is not the client's mistake: no 400, 404 or 409 comes of it. */
int op_blame_host(struct runner_error *err)
{
    bool is_lack = err != NULL && err->code == RUNNER_E_BUSY && err->sys_errno == EAGAIN; /* of processes, of memory */

    if (err != NULL && (err->code == RUNNER_E_INVALID || err->code == RUNNER_E_NOTFOUND || is_lack))
        err->code = RUNNER_E_IO;
    return -1;
}

int op_split(struct op *op, struct runner_error *err)
{
    const struct instance *vmm = op_vmm(op, err);

    if (vmm == NULL)
        return -1;
    if (!is_early(vmm) || !host_can_begin(op->host))
        return OP_NEXT;
    op->begun = op->batch;
    op->batch = batch_new(&op->call);
    return OP_NEXT;
}

/* A VMM takes milliseconds until it is to be spoken to: one that can meanwhile do without its machine's files and network
 * starts before they are made; where the transport can, before they are planned. */
int op_begin(struct op *op, struct runner_error *err)
{
    auto_vm_view struct vm_view view = {0};
    struct instance *vmm = op_vmm_view(op, &view, err);

    if (vmm == NULL)
        return -1;
    if (!is_early(vmm))
        return OP_NEXT;
    view.vm.n_disks = ARRAY_LEN(view.disks);
    view.vm.n_nics = ARRAY_LEN(view.nics);
    view.vm.disks = NULL;
    view.vm.nics = NULL;
    if (op->begun == NULL)
        return plan_spawn(op, op->batch, vmm, &view.vm, err) < 0 ? -1 : OP_NEXT;
    if (plan_spawn(op, op->begun, vmm, &view.vm, err) < 0)
        return -1;
    return batch_begin(&op->call, op->begun, err) < 0 ? op_blame_host(err) : OP_NEXT;
}

int op_unbegin(struct op *op, struct runner_error *err)
{
    struct runner_error more = ERROR_INIT;

    if (!batch_is_begun(op->begun) || batch_end(&op->call, op->begun, NULL, &more) == 0)
        return 0;
    error_append(err, "%s", more.message);
    return -1;
}

int op_run_batch(struct op *op, struct runner_error *err)
{
    int status = batch_is_begun(op->begun) ? batch_end(&op->call, op->begun, op->batch, err)
                                           : batch_run(&op->call, op->batch, err);

    return status < 0 ? op_blame_host(err) : OP_NEXT;
}

/* ---- coming up ---- */

int op_probe(struct op *op, bool *ret_alive, int *ret_status, struct runner_error *err)
{
    auto_free char *pid_path = host_sandbox_path(op->host, op->id, "vmm.pid");
    auto_batch struct runner_batch *batch = batch_new(&op->call);
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_ALIVE, .path = pid_path};

    if (batch_run_step(&op->call, batch, &step, err) < 0)
        return -1;
    *ret_alive = batch_result(batch, 0)->status == 0;
    *ret_status = (int)batch_result(batch, 0)->number2;
    return 0;
}

void op_quote_serial(struct op *op, struct runner_error *err)
{
    auto_free char *path = host_sandbox_path(op->host, op->id, "serial.log");
    auto_batch struct runner_batch *batch = batch_new(&op->call);
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .flags = RUNNER_S_OPTIONAL | RUNNER_S_TAIL,
                               .path = path, .number = SERIAL_READ};
    const struct runner_result *result;
    struct runner_error ignored = ERROR_INIT;
    const char *end, *from;

    if (batch_run_step(&op->call, batch, &step, &ignored) < 0)
        return;
    result = batch_result(batch, 0);
    if (result == NULL || result->len == 0)
        return;
    end = result->out + result->len;
    while (end > result->out && (end[-1] == '\n' || end[-1] == '\r'))
        end--;
    from = end - result->out > SERIAL_QUOTE ? end - SERIAL_QUOTE : result->out;
    error_append(err, "last serial output: %.*s", (int)(end - from), from);
}

int op_boot(struct op *op, struct runner_error *err)
{
    auto_vm_view struct vm_view view = {0};
    struct instance *vmm = op_vmm_view(op, &view, err);

    if (vmm == NULL)
        return -1;
    if (INSTANCE_CALL(vmm, vmm, boot, &op->call, &view.vm, err) == 0)
        return OP_NEXT;
    error_wrap(err, "boot");
    return op_blame_host(err);
}

/* The first word on its serial console, where no daemon will speak. */
static int wait_output(struct op *op, struct runner_call *call, const char *pid_path, struct runner_error *err)
{
    auto_free char *path = host_sandbox_path(op->host, op->id, "serial.log");
    auto_batch struct runner_batch *batch = batch_new(call);
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_WAIT, .path = path, .to = pid_path};

    if (batch_run_step(call, batch, &step, err) < 0)
        return error_wrap(err, "wait for the first serial output");
    if (batch_result(batch, 0)->status == 1)
        return fail(err, RUNNER_E_UNREACHABLE, 0, "the virtual machine ended before it wrote to its console");
    return 0;
}

int op_ready(struct op *op, struct runner_error *err)
{
    auto_free char *pid_path = host_sandbox_path(op->host, op->id, "vmm.pid");
    const struct record *record = op->sandbox->record;
    auto_close int exit_fd = -1;
    struct runner_call ready;
    int status;

    call_init_child(&ready, &op->call, op->engine->config->timeouts.ready_ms);
    status = host_watch(op->host, &ready, pid_path, &exit_fd, err);
    if (status == 0)
        status = record->boot.is_ready_by_log
                     ? wait_output(op, &ready, pid_path, err)
                     : guest_wait_ready(&ready, &record->nic, exit_fd, &op->daemon_version, err);
    if (status == 0)
        return OP_NEXT;
    op_quote_serial(op, err);
    return op_blame_host(err);
}

/* ---- going down ---- */

static int send_signal(struct op *op, const char *pid_path, int signal_number, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(&op->call);
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_KILL, .path = pid_path, .number = signal_number};

    return batch_run_step(&op->call, batch, &step, err);
}

/* 1: it ended, 0: not within ms, -1: cancelled or past the deadline. */
static int wait_end(struct op *op, int exit_fd, int64_t ms, struct runner_error *err)
{
    int events = call_wait(&op->call, exit_fd, POLLIN, ms);

    if (events < 0)
        return fail_errno(err, errno, "wait for the end of the VMM");
    return events > 0;
}

/* Within ms: a VMM that takes no connection any more, or never answers, must not use up the time to kill it. */
static int press_button(struct op *op, int64_t ms, struct runner_error *err)
{
    auto_vm_view struct vm_view view = {0};
    struct instance *vmm = op_vmm_view(op, &view, err);
    struct runner_call press;

    if (vmm == NULL)
        return -1;
    call_init_child(&press, &op->call, ms);
    return INSTANCE_CALL(vmm, vmm, power_button, &press, &view.vm, err);
}

/* The button, and the guest's time to go down: as wait_end(), and 0 where the button could not be pressed. */
static int shut_down(struct op *op, int exit_fd, int64_t grace_ms, struct runner_error *err)
{
    const int64_t until_ms = num_now_ms() + grace_ms;
    struct runner_error cause = ERROR_INIT;
    int64_t left_ms;

    if (press_button(op, grace_ms, &cause) < 0) {
        log_event(RUNNER_LOG_WARN, "vm.no_button", "id", op->id, "error", cause.message, "note",
                  "the guest is not asked to shut down: its VMM is ended", NULL);
        return 0;
    }
    left_ms = until_ms - num_now_ms();
    return wait_end(op, exit_fd, left_ms > 0 ? left_ms : 0, err);
}

int op_end_vm(struct op *op, int64_t grace_ms, struct runner_error *err)
{
    auto_free char *pid_path = host_sandbox_path(op->host, op->id, "vmm.pid");
    static const struct {
        int signal_number;
        int64_t wait_ms;
    } ladder[] = {{SIGTERM, KILL_WAIT_MS}, {SIGKILL, DEATH_WAIT_MS}};
    auto_close int exit_fd = -1;
    int ended = 0;

    if (host_watch(op->host, &op->call, pid_path, &exit_fd, err) < 0)
        return err->code == RUNNER_E_NOTFOUND ? (error_clear(err), 0) : -1;
    if (grace_ms > call_left_ms(&op->call) - KILL_RESERVE_MS) /* else the deadline would leave it running */
        grace_ms = call_left_ms(&op->call) - KILL_RESERVE_MS;
    if (grace_ms > 0)
        ended = shut_down(op, exit_fd, grace_ms, err);
    for (size_t i = 0; ended == 0 && i < ARRAY_LEN(ladder); i++) {
        if (send_signal(op, pid_path, ladder[i].signal_number, err) < 0)
            return -1;
        ended = wait_end(op, exit_fd, ladder[i].wait_ms, err);
    }
    if (ended == 0)
        return fail(err, RUNNER_E_TIMEOUT, 0, "the VMM's process did not end after SIGKILL");
    return ended < 0 ? -1 : 0;
}

/* Of a VMM that is not configured any more, what every one has: nothing else leads out of that. */
static int plan_cleanup(struct op *op, struct runner_batch *batch, struct runner_error *err)
{
    struct instance *vmm = host_vmm(op->host, op->sandbox->record->vmm.plugin);
    auto_free char *socket = host_socket_path(op->host, op->id);
    const struct runner_step drop = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = socket};
    auto_vm_view struct vm_view view = {0};

    if (vmm == NULL)
        return batch_add(batch, &drop, err) < 0 ? -1 : 0;
    vm_view_init(&view, op->host, op->sandbox->record);
    return INSTANCE_CALL(vmm, vmm, cleanup, &op->call, batch, &view.vm, err);
}

int op_tear_down(struct op *op, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = batch_new(&op->call);
    struct runner_step del = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_CGROUP_DEL, .path = op->sandbox->record->vmm.cgroup};

    if (op_end_vm(op, 0, err) < 0)
        return -1;
    if (op->engine->vm_gone != NULL)
        op->engine->vm_gone(op->engine->vm_gone_ctx, op->id);
    if (plan_cleanup(op, batch, err) < 0 ||
        (del.path != NULL && batch_add(batch, &del, err) < 0) || plan_detach(op, batch, err) < 0 ||
        batch_run(&op->call, batch, err) < 0)
        return -1;
    forget_name(op);
    op->is_detached = true;
    return 0;
}

int op_remove_directory(struct op *op, struct runner_error *err)
{
    auto_free char *dir = host_sandbox_dir(op->host, op->id);
    auto_batch struct runner_batch *batch = batch_new(&op->call);
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = dir,
                               .to = "runner.json"}; /* last: killed on the way, the next start goes on */

    return batch_run_step(&op->call, batch, &step, err);
}
