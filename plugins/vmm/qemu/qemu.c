/* vmm/qemu: machines by qemu-system-x86_64, spoken to over QMP. */
#include "plugins/vmm/qemu/qemu.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/str.h"
#include "plugins/vmm/common/request.h"
#include "plugins/vmm/common/values.h"
#include "plugins/vmm/qemu/accel.h"
#include "plugins/vmm/qemu/args.h"
#include "plugins/vmm/qemu/diagnose.h"
#include "plugins/vmm/qemu/machine.h"

#define NOFILE       4096 /* a virtio queue takes some descriptors; a guest of one disk and one NIC has 84 */
#define BESIDE_BYTES (UINT64_C(512) << 20)
#define TASKS_OWN    256 /* a handful, and up to 64 at a time for disks */
#define FDS_MAX      (2 + ARGS_NICS_MAX)

static const struct runner_host *host;

static int qemu_load(const struct runner_host *table, struct runner_error *err)
{
    (void)err;
    host = table;
    return 0;
}

/* ---- an instance ---- */

static int qemu_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    struct qemu *self;

    if ((value_text(values, n, "probe_kernel", NULL) == NULL) !=
        (value_text(values, n, "probe_initramfs", NULL) == NULL))
        return fail(err, RUNNER_E_INVALID, 0, "probe_kernel and probe_initramfs go together");
    self = mem_alloc(sizeof *self);
    self->host = host;
    self->binary = value_text(values, n, "binary", "qemu-system-x86_64");
    self->accel = value_text(values, n, "accel", "auto");
    self->firmware = value_text(values, n, "firmware", "auto");
    self->cpu = value_text(values, n, "cpu", NULL);
    self->probe_kernel = value_text(values, n, "probe_kernel", NULL);
    self->probe_initramfs = value_text(values, n, "probe_initramfs", NULL);
    self->tb_size_bytes = value_number(values, n, "tb_size", INT64_C(64) << 20);
    pthread_mutex_init(&self->lock, NULL);
    *ret_self = self;
    return 0;
}

static int qemu_check(void *self, struct runner_call *call, struct runner_error *err)
{
    return accel_choose(self, call, true, err);
}

static void qemu_destroy(void *instance)
{
    struct qemu *self = instance;

    if (self == NULL)
        return;
    pthread_mutex_destroy(&self->lock);
    free(self);
}

/* ---- planning ---- */

/* What QEMU is given, since its user may not open it; fds: FDS_MAX of them. */
static uint32_t list_fds(const struct runner_vm *vm, struct runner_fd *fds)
{
    uint32_t n = 0;

    fds[n++] = (struct runner_fd){.kind = RUNNER_FD_LISTEN, .number = ARGS_FD_QMP, .path = vm->socket_path};
    fds[n++] = (struct runner_fd){.kind = RUNNER_FD_APPEND, .number = ARGS_FD_SERIAL, .path = vm->serial_path};
    for (uint32_t i = 0; i < vm->n_nics; i++)
        if (vm->nics[i]->kind == RUNNER_NIC_TAP)
            fds[n++] = (struct runner_fd){
                .kind = RUNNER_FD_TAP, .number = (int32_t)(ARGS_FD_NIC + i), .path = vm->nics[i]->name};
    return n;
}

/* Beside the guest's memory: QEMU itself, translated code, caches, page tables; page cache is given back in time. */
static uint64_t memory_limit(const struct qemu *self, const struct qemu_facts *facts, const struct runner_vm *vm)
{
    uint64_t memory = (uint64_t)vm->memory_bytes;

    return memory + memory / 64 + (facts->has_kvm ? 0 : (uint64_t)self->tb_size_bytes) + BESIDE_BYTES;
}

static int add_start(struct runner_batch *batch, const struct runner_vm *vm, const struct args *args,
                     uint64_t memory_bytes, struct runner_error *err)
{
    static const char *const groups_of[] = {"/dev/kvm", NULL};
    struct runner_fd fds[FDS_MAX];
    const struct runner_spawn spawn = {
        .size = sizeof spawn,
        .n_fds = list_fds(vm, fds),
        .fds = fds,
        .pid_path = vm->pid_path,
        .output_path = vm->log_path,
        .uid = vm->uid,
        .gid = vm->gid,
        .nofile = NOFILE,
        .groups_of = groups_of,
        .cgroup = vm->cgroup,
        .cgroup_memory_bytes = memory_bytes,
        .cgroup_tasks = TASKS_OWN + vm->max_cpus,
    };
    const struct runner_step kill = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_KILL, .path = vm->pid_path, .number = SIGKILL};
    const struct runner_step start = {.size = RUNNER_STEP_INIT,
                                      .kind = RUNNER_SPAWN,
                                      .argv = (const char *const *)args->words,
                                      .spawn = &spawn,
                                      .undo = &kill};

    return host->add(batch, &start, err) < 0 ? -1 : 0;
}

/* The log of an earlier process goes: boot() quotes the log, and it shall be what this process said. */
static int add_spawn(struct runner_batch *batch, const struct runner_vm *vm, const struct args *args,
                     uint64_t memory_bytes, struct runner_error *err)
{
    const struct runner_step no_cgroup = {.size = RUNNER_STEP_INIT, .kind = RUNNER_CGROUP_DEL, .path = vm->cgroup};
    const struct runner_step remove_log = {.size = RUNNER_STEP_INIT,
                                           .kind = RUNNER_REMOVE,
                                           .path = vm->log_path,
                                           .undo = vm->cgroup != NULL ? &no_cgroup : NULL};
    const struct runner_step remove_socket = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = vm->socket_path};
    /* A step has one undo; the one behind carries the second: a QEMU that is killed leaves its socket. */
    const struct runner_step look = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_ALIVE, .path = vm->pid_path, .undo = &remove_socket};

    if (host->add(batch, &remove_log, err) < 0 || add_start(batch, vm, args, memory_bytes, err) < 0)
        return -1;
    return host->add(batch, &look, err) < 0 ? -1 : 0;
}

/* Emulated rather than not at all, unless KVM was insisted on. */
static int may_have_kvm(const struct qemu *self, const struct runner_vm *vm, struct qemu_facts *facts,
                        struct runner_error *err)
{
    if (!facts->has_kvm || !facts->is_kvm_roots || vm->uid == 0)
        return 0;
    facts->has_kvm = false;
    if (strcmp(self->accel, "kvm") != 0)
        return 0;
    return fail(err, RUNNER_E_NOTSUP, 0, "accel: kvm, but only root may open /dev/kvm, and '%s' runs as user %u",
                vm->id, vm->uid);
}

static int qemu_spawn(void *self, struct runner_call *call, struct runner_batch *batch, const struct runner_vm *given,
                      struct runner_error *err)
{
    const struct runner_vm whole = request_vm(given), *vm = &whole;
    auto_args struct args args = ARGS_INIT;
    struct qemu_facts facts;

    if (accel_facts(self, call, &facts, err) < 0 || may_have_kvm(self, vm, &facts, err) < 0 ||
        args_build(self, &facts, vm, &args, err) < 0)
        return -1;
    return add_spawn(batch, vm, &args, memory_limit(self, &facts, vm), err);
}

static int qemu_cleanup(void *self, struct runner_call *call, struct runner_batch *batch, const struct runner_vm *given,
                        struct runner_error *err)
{
    const struct runner_vm whole = request_vm(given), *vm = &whole;
    const struct runner_step socket = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = vm->socket_path};
    const struct runner_step cgroup = {.size = RUNNER_STEP_INIT, .kind = RUNNER_CGROUP_DEL, .path = vm->cgroup};

    (void)self;
    (void)call;
    if (host->add(batch, &socket, err) < 0)
        return -1;
    return vm->cgroup != NULL && host->add(batch, &cgroup, err) < 0 ? -1 : 0;
}

static int qemu_describe(void *instance, char *ret_text, size_t size)
{
    struct qemu *self = instance;
    struct qemu_facts facts;

    pthread_mutex_lock(&self->lock);
    facts = self->facts;
    pthread_mutex_unlock(&self->lock);
    if (!facts.is_known)
        (void)snprintf(ret_text, size, "qemu, accelerator not chosen yet");
    else
        (void)snprintf(ret_text, size, "qemu %s, accelerator %s", facts.version,
                       !facts.has_kvm       ? "tcg"
                       : facts.is_kvm_roots ? "kvm (tcg for users other than root)"
                                            : "kvm");
    return 0;
}

/* ---- descriptor ---- */

static const char *const accels[] = {"auto", "kvm", "tcg", NULL};
static const char *const firmwares[] = {"auto", "qboot", "seabios", NULL};

static const struct runner_param params[] = {
    {.name = "binary", .type = RUNNER_T_STRING, .dflt = "qemu-system-x86_64", .doc = "QEMU: a name in PATH, or a path"},
    {.name = "accel",
     .type = RUNNER_T_STRING,
     .dflt = "auto",
     .choices = accels,
     .doc = "auto: KVM when it really runs a guest, else emulation; kvm: refuse to start without it; tcg: emulation"},
    {.name = "firmware",
     .type = RUNNER_T_STRING,
     .dflt = "auto",
     .choices = firmwares,
     .doc = "auto: qboot, which boots sooner, where this QEMU brings it; qboot; seabios"},
    {.name = "cpu", .type = RUNNER_T_STRING, .doc = "processor model as -cpu takes it; default host (KVM) or max"},
    {.name = "tb_size",
     .type = RUNNER_T_BYTES,
     .dflt = "64M",
     .min = 8 << 20,
     .max = INT64_C(2) << 30,
     .doc = "emulation: bytes for translated code of one machine; less than 32M boots slower"},
    {.name = "probe_kernel",
     .type = RUNNER_T_PATH,
     .doc = "kernel that KVM is tried with; default: that of a snapshot, as soon as there is one"},
    {.name = "probe_initramfs",
     .type = RUNNER_T_PATH,
     .doc = "its initramfs, whose init prints runner-probe-ok and powers off when the command line has runner.probe"},
};

static const struct runner_vmm_ops ops = {
    .spawn = qemu_spawn,
    .boot = machine_boot,
    .power_button = machine_power_button,
    .pause = machine_pause,
    .resume = machine_resume,
    .status = machine_status,
    .describe = qemu_describe,
    .cleanup = qemu_cleanup,
};

static const struct runner_plugin plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_VMM, "qemu", ops),
    .threads = RUNNER_PARALLEL,
    .caps = RUNNER_VMM_CAP_PAUSE | RUNNER_VMM_CAP_USER_NETWORK | RUNNER_VMM_CAP_TAP_FD,
    .version = "1.0",
    .summary = "virtual machines by QEMU, with KVM where it works and emulation elsewhere",
    .params = params,
    .n_params = sizeof params / sizeof params[0],
    .load = qemu_load,
    .create = qemu_create,
    .check = qemu_check,
    .destroy = qemu_destroy,
    .diagnose = diagnose_run,
};

RUNNER_PLUGIN(plugin)
