/* vmm/cloud-hypervisor: machines by Cloud Hypervisor, spoken to over its REST API. */
#include "plugins/vmm/cloud-hypervisor/cloud-hypervisor.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/str.h"
#include "plugins/vmm/cloud-hypervisor/adopt.h"
#include "plugins/vmm/cloud-hypervisor/check.h"
#include "plugins/vmm/cloud-hypervisor/client.h"
#include "plugins/vmm/cloud-hypervisor/diagnose.h"
#include "plugins/vmm/cloud-hypervisor/event.h"
#include "plugins/vmm/cloud-hypervisor/machine.h"
#include "plugins/vmm/cloud-hypervisor/resize.h"
#include "plugins/vmm/cloud-hypervisor/vmconfig.h"
#include "plugins/vmm/cloud-hypervisor/vmread.h"
#include "plugins/vmm/common/request.h"
#include "plugins/vmm/common/values.h"

#define NOFILE    4096 /* a virtio queue takes some descriptors; a guest of one disk and two NICs has 207 */
#define FD_API    3
#define FD_EVENTS 4

static const struct runner_host *host;

char *ch_vsock_path(const struct runner_vm *vm)
{
    return mem_printf("%s/vsock.sock", vm->vmm_dir != NULL ? vm->vmm_dir : vm->dir);
}

char *ch_events_path(const struct runner_vm *vm)
{
    return mem_printf("%s/events", vm->dir);
}

static int ch_load(const struct runner_host *table, struct runner_error *err)
{
    (void)err;
    host = table;
    return 0;
}

/* ---- an instance ---- */

static int ch_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    struct ch *self;

    if ((value_text(values, n, "probe_kernel", NULL) == NULL) !=
        (value_text(values, n, "probe_initramfs", NULL) == NULL))
        return fail(err, RUNNER_E_INVALID, 0, "probe_kernel and probe_initramfs go together");
    self = mem_alloc(sizeof *self);
    self->host = host;
    self->binary = value_text(values, n, "binary", "cloud-hypervisor");
    self->landlock = value_text(values, n, "landlock", "auto");
    self->seccomp = value_text(values, n, "seccomp", "true");
    self->probe = value_text(values, n, "probe", "kernel");
    self->log = value_text(values, n, "log", "warn");
    self->probe_kernel = value_text(values, n, "probe_kernel", NULL);
    self->probe_initramfs = value_text(values, n, "probe_initramfs", NULL);
    self->probe_uid = (uint32_t)value_number(values, n, "probe_uid", 65534);
    self->nested = value_number(values, n, "nested", 0) != 0;
    self->hotplug = value_number(values, n, "hotplug", 1) != 0;
    self->balloon = value_number(values, n, "balloon", 1) != 0;
    self->watchdog = value_number(values, n, "watchdog", 0) != 0;
    self->boot_timeout_ms = value_number(values, n, "boot_timeout", 60000);
    self->probe_timeout_ms = value_number(values, n, "probe_timeout", 10000);
    pthread_mutex_init(&self->lock, NULL);
    *ret_self = self;
    return 0;
}

static int ch_check(void *self, struct runner_call *call, struct runner_error *err)
{
    return check_choose(self, call, true, err);
}

static void ch_destroy(void *instance)
{
    struct ch *self = instance;

    if (self == NULL)
        return;
    client_forget_all(self);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

/* ---- planning: the files of a machine ---- */

static int add(struct runner_batch *batch, const struct runner_step *step, struct runner_error *err)
{
    return host->add(batch, step, err) < 0 ? -1 : 0;
}

static int add_remove(struct runner_batch *batch, const char *path, const struct runner_step *undo,
                      struct runner_error *err)
{
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = path, .undo = undo};

    return add(batch, &step, err);
}

/* It is in the process's own directory, and may be whatever the process makes of it. */
static int add_remove_vsock(struct runner_batch *batch, const char *path, const struct runner_step *undo,
                            struct runner_error *err)
{
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = path, .undo = undo};

    return add(batch, &step, err);
}

/*
 * What an earlier process left; its log too, as boot() quotes the log, and it shall be what this process said. A step has
 * one undo: those that remove what the process makes are spread over these steps before it, and so come after it was
 * killed. (A vsock it makes later.)
 */
static int add_removals(struct runner_batch *batch, const struct runner_vm *vm, struct runner_error *err)
{
    auto_free char *vsock = ch_vsock_path(vm), *events = ch_events_path(vm);
    const struct runner_step no_cgroup = {.size = RUNNER_STEP_INIT, .kind = RUNNER_CGROUP_DEL, .path = vm->cgroup};
    const struct runner_step no_socket = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = vm->socket_path};
    const struct runner_step no_events = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = events};

    if (add_remove(batch, vm->log_path, vm->cgroup != NULL ? &no_cgroup : NULL, err) < 0 ||
        add_remove_vsock(batch, vsock, &no_socket, err) < 0)
        return -1;
    return add_remove(batch, events, &no_events, err);
}

/*
 * Cloud Hypervisor opens the serial log itself, at each boot of the guest anew, and empties it: what is there from an
 * earlier life is kept beside it, and the new one is the process's own, made under the name that is free by then. It need
 * not be there before the boot.
 */
static int add_serial(struct runner_batch *batch, const struct runner_vm *vm, struct runner_error *err)
{
    auto_free char *old = mem_printf("%s.1", vm->serial_path);
    const struct runner_step back = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_RENAME,
                                     .flags = RUNNER_S_OPTIONAL,
                                     .path = old,
                                     .to = vm->serial_path};
    const struct runner_step rename = {.size = RUNNER_STEP_INIT,
                                       .kind = RUNNER_RENAME,
                                       .flags = RUNNER_S_OPTIONAL,
                                       .path = vm->serial_path,
                                       .to = old,
                                       .undo = &back};
    const struct runner_step write = {.size = RUNNER_STEP_INIT,
                                      .kind = RUNNER_WRITE,
                                      .flags = RUNNER_S_EXCL | RUNNER_S_FRESH | (vm->uid != 0 ? RUNNER_S_OWNED : 0),
                                      .path = vm->serial_path,
                                      .data = "",
                                      .number = 0600,
                                      .uid = vm->uid,
                                      .gid = vm->gid};

    return add(batch, &rename, err) < 0 ? -1 : add(batch, &write, err);
}

/* ---- planning: the process ---- */

/*
 * Beside the guest's memory: the process itself (some 20 MiB), page tables of the host for the guest, caches of qcow2
 * images, and page cache, which is given back when it gets tight. Plugging memory in raises it (resize.c).
 */
uint64_t ch_memory_limit(const struct runner_vm *vm)
{
    return (uint64_t)vm->memory_bytes + (uint64_t)vm->memory_bytes / 64 + (UINT64_C(128) << 20);
}

/* Threads: a dozen of its own, one a processor and a queue, and those that the kernel makes for io_uring. */
static uint64_t tasks_limit(const struct runner_vm *vm)
{
    return 256 + vm->max_cpus + 16 * (uint64_t)(vm->n_disks + vm->n_nics);
}

static int add_process(const struct ch *self, struct runner_batch *batch, const struct runner_vm *vm,
                       struct runner_error *err)
{
    auto_free char *events = ch_events_path(vm);
    const char *verbose = strcmp(self->log, "debug") == 0 ? "-vv" : strcmp(self->log, "info") == 0 ? "-v" : NULL;
    const char *const argv[] = {self->binary,  "--api-socket", "fd=3", "--event-monitor", "fd=4", "--seccomp",
                                self->seccomp, verbose,        NULL};
    static const char *const groups_of[] = {"/dev/kvm", NULL};
    const struct runner_fd fds[] = {
        {.kind = RUNNER_FD_LISTEN, .number = FD_API, .path = vm->socket_path},
        {.kind = RUNNER_FD_FIFO, .number = FD_EVENTS, .path = events},
    };
    const struct runner_spawn spawn = {
        .size = sizeof spawn,
        .n_fds = ARRAY_LEN(fds),
        .fds = fds,
        .pid_path = vm->pid_path,
        .output_path = vm->log_path,
        .uid = vm->uid,
        .gid = vm->gid,
        .nofile = NOFILE,
        .groups_of = groups_of,
        .cgroup = vm->cgroup,
        .cgroup_memory_bytes = ch_memory_limit(vm),
        .cgroup_tasks = tasks_limit(vm),
    };
    const struct runner_step kill = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_KILL, .path = vm->pid_path, .number = SIGKILL};
    const struct runner_step start = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_SPAWN, .argv = argv, .spawn = &spawn, .undo = &kill};

    return add(batch, &start, err);
}

static int add_cgroup_del(struct runner_batch *batch, const struct runner_vm *vm, struct runner_error *err)
{
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_CGROUP_DEL, .path = vm->cgroup};

    return vm->cgroup != NULL ? add(batch, &step, err) : 0;
}

static int ch_spawn(void *instance, struct runner_call *call, struct runner_batch *batch, const struct runner_vm *given,
                    struct runner_error *err)
{
    const struct runner_vm whole = request_vm(given), *vm = &whole;
    struct ch *self = instance;
    struct ch_facts facts;

    if (check_facts(self, call, &facts, err) < 0 || vmconfig_check(vm, err) < 0)
        return -1;
    client_forget(self, vm->id);
    if (add_removals(batch, vm, err) < 0 || add_process(self, batch, vm, err) < 0)
        return -1;
    return add_serial(batch, vm, err);
}

static int ch_cleanup(void *self, struct runner_call *call, struct runner_batch *batch, const struct runner_vm *given,
                      struct runner_error *err)
{
    const struct runner_vm whole = request_vm(given), *vm = &whole;
    auto_free char *vsock = ch_vsock_path(vm), *events = ch_events_path(vm);
    auto_free char *lock = mem_printf("%s.lock", vm->socket_path); /* of one that made its socket itself */
    const char *const paths[] = {vm->socket_path, lock, events};

    (void)call;
    client_forget(self, vm->id);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (add_remove(batch, paths[i], NULL, err) < 0)
            return -1;
    if (add_remove_vsock(batch, vsock, NULL, err) < 0)
        return -1;
    return add_cgroup_del(batch, vm, err);
}

static int ch_describe(void *instance, char *ret_text, size_t size)
{
    struct ch *self = instance;
    struct ch_facts facts;

    pthread_mutex_lock(&self->lock);
    facts = self->facts;
    pthread_mutex_unlock(&self->lock);
    if (!facts.is_known)
        (void)snprintf(ret_text, size, "cloud-hypervisor, not tried yet");
    else
        (void)snprintf(ret_text, size, "cloud-hypervisor %s, kvm%s%s", facts.version,
                       facts.has_landlock ? "" : ", no landlock",
                       strcmp(self->seccomp, "true") == 0 ? "" : ", seccomp not enforced");
    return 0;
}

/* ---- descriptor ---- */

static const char *const landlocks[] = {"auto", "on", "off", NULL};
static const char *const seccomps[] = {"true", "errno", "log", "false", NULL};
static const char *const probes[] = {"kernel", "tiny", "none", NULL};
static const char *const logs[] = {"warn", "info", "debug", NULL};

static const struct runner_param params[] = {
    {.name = "binary",
     .type = RUNNER_T_STRING,
     .dflt = "cloud-hypervisor",
     .doc = "Cloud Hypervisor: a name in PATH, or a path; v51.2 at least"},
    {.name = "nested",
     .type = RUNNER_T_BOOL,
     .dflt = "false",
     .doc = "whether guests may run guests of their own: more of the host's KVM is within their reach"},
    {.name = "hotplug",
     .type = RUNNER_T_BOOL,
     .dflt = "true",
     .doc = "keep room for processors and memory that may be plugged in later, up to twice the sandbox's"},
    {.name = "balloon",
     .type = RUNNER_T_BOOL,
     .dflt = "true",
     .doc = "a balloon device, by which guests report free memory: it goes back to the host"},
    {.name = "watchdog",
     .type = RUNNER_T_BOOL,
     .dflt = "false",
     .doc = "a watchdog device, which reboots a guest that opened it and then hangs"},
    {.name = "landlock",
     .type = RUNNER_T_STRING,
     .dflt = "auto",
     .choices = landlocks,
     .doc = "confine to the machine's files: auto: where the kernel can (Linux 6.2); on: refuse to work without; off"},
    {.name = "seccomp",
     .type = RUNNER_T_STRING,
     .dflt = "true",
     .choices = seccomps,
     .doc = "a system call that is not expected: true: kills, errno: fails, log: is noted only, false: is not noticed"},
    {.name = "probe",
     .type = RUNNER_T_STRING,
     .dflt = "kernel",
     .choices = probes,
     .doc = "what KVM is tried with: kernel: a tiny guest, then a snapshot's kernel; tiny: that guest only; none: "
            "nothing"},
    {.name = "probe_uid",
     .type = RUNNER_T_INT,
     .dflt = "65534",
     .min = 0,
     .max = UINT32_MAX - 1,
     .doc = "the user that the tiny guest is tried as, when the runner is root; 0: the runner's (with uids: none)"},
    {.name = "probe_kernel",
     .type = RUNNER_T_PATH,
     .doc = "kernel that KVM is tried with; default: that of a snapshot, as soon as there is one"},
    {.name = "probe_initramfs",
     .type = RUNNER_T_PATH,
     .doc = "its initramfs, whose init prints runner-probe-ok and powers off when the command line has runner.probe"},
    {.name = "probe_timeout",
     .type = RUNNER_T_MSEC,
     .dflt = "10s",
     .min = 1000,
     .max = 600000,
     .doc = "time for that kernel to get to its init, which takes half a second where KVM works"},
    {.name = "boot_timeout",
     .type = RUNNER_T_MSEC,
     .dflt = "60s",
     .min = 1000,
     .max = 3600000,
     .doc = "time for each call of a start to Cloud Hypervisor; the guest's own boot is not in it"},
    {.name = "log",
     .type = RUNNER_T_STRING,
     .dflt = "warn",
     .choices = logs,
     .doc = "what Cloud Hypervisor writes into a sandbox's vmm.log: warn, info (each call and event), debug"},
};

static const struct runner_vmm_ops ops = {
    .spawn = ch_spawn,
    .boot = machine_boot,
    .power_button = machine_power_button,
    .pause = machine_pause,
    .resume = machine_resume,
    .status = machine_status,
    .describe = ch_describe,
    .cleanup = ch_cleanup,
    .listen = event_listen,
    .next = event_next,
    .unlisten = event_unlisten,
    .counters = machine_counters,
    .read_config = vmread_text,
    .adopt = adopt_machine,
    .resize = resize_machine,
};

static const struct runner_plugin plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_VMM, "cloud-hypervisor", ops),
    .threads = RUNNER_PARALLEL,
    .caps = RUNNER_VMM_CAP_PAUSE | RUNNER_VMM_CAP_EVENTS | RUNNER_VMM_CAP_COUNTERS | RUNNER_VMM_CAP_FIRMWARE |
            RUNNER_VMM_CAP_EARLY | RUNNER_VMM_CAP_TAP_FD | RUNNER_VMM_CAP_ADOPT | RUNNER_VMM_CAP_RESIZE,
    .version = "1.0",
    .summary = "virtual machines by Cloud Hypervisor, on hosts with a KVM that works",
    .params = params,
    .n_params = sizeof params / sizeof params[0],
    .load = ch_load,
    .create = ch_create,
    .check = ch_check,
    .destroy = ch_destroy,
    .diagnose = diagnose_run,
};

RUNNER_PLUGIN(plugin)
