/* VMMs: what planning promises, and talking when there is nobody to talk to. */
#include "kit/vmm.h"

#include <poll.h>
#include <signal.h>
#include <string.h>

#include "kit/general.h"
#include "kit/guard.h"
#include "kit/plan.h"

const struct runner_vmm_ops *vmm_ops_of(const struct subject *s)
{
    return s->plugin->desc.ops;
}

/* ---- planning ---- */

static void op_spawn(struct subject *s, struct trial *t)
{
    struct runner_batch *batch = fake_batch();
    struct machine m;

    machine_init(s, &m);
    TRY(t, vmm_ops_of(s)->spawn(s->self, fake_call(), batch, machine_in(t->layout, &m), &t->err));
    fake_host()->batch_free(batch);
}

static void op_cleanup(struct subject *s, struct trial *t)
{
    struct runner_batch *batch = fake_batch();
    struct machine m;

    machine_init(s, &m);
    TRY(t, vmm_ops_of(s)->cleanup(s->self, fake_call(), batch, machine_in(t->layout, &m), &t->err));
    fake_host()->batch_free(batch);
}

static struct runner_batch *plan_spawn(struct subject *s)
{
    struct runner_batch *batch = plan_begin(s);
    struct runner_error err = ERROR_INIT;
    struct machine m;

    machine_init(s, &m);
    if (vmm_ops_of(s)->spawn(s->self, fake_call(), batch, &m.vm, &err) != 0)
        stop_point("spawn: %s", err.message);
    return batch;
}

static void point_spawn_paths(struct subject *s, const struct point *point)
{
    (void)point;
    plan_check_paths(s, plan_spawn, s->dir);
}

static void point_spawn_undo(struct subject *s, const struct point *point)
{
    (void)point;
    plan_check_undo(s, plan_spawn, "ps", "p");
}

static void point_spawn_process(struct subject *s, const struct point *point)
{
    struct runner_batch *batch = plan_spawn(s);
    struct machine m;
    int n = 0;

    (void)point;
    machine_init(s, &m);
    for (size_t i = 0; i < fake_batch_len(batch); i++) {
        const struct runner_step *step = fake_batch_step(batch, i);

        if (step->kind != RUNNER_SPAWN)
            continue;
        n++;
        if (step->spawn->pid_path == NULL || strcmp(step->spawn->pid_path, m.vm.pid_path) != 0)
            flaw("the process's pid file is %s, not that of the request", step->spawn->pid_path);
        if (step->spawn->output_path == NULL || strcmp(step->spawn->output_path, m.vm.log_path) != 0)
            flaw("the process's output goes to %s, not into the log of the request", step->spawn->output_path);
        if (step->undo == NULL || step->undo->kind != RUNNER_KILL || strcmp(step->undo->path, m.vm.pid_path) != 0)
            flaw("the undo of SPAWN is not KILL of its pid file");
    }
    if (n != 1)
        flaw("spawn plans %d processes", n);
    fake_host()->batch_free(batch);
}

/* Disks and interfaces make no difference to the process. */
static void point_spawn_early(struct subject *s, const struct point *point)
{
    struct runner_batch *batch = plan_spawn(s), *early = fake_batch();
    auto_free char *wanted = fake_batch_text(batch), *got = NULL;
    struct runner_error err = ERROR_INIT;
    struct machine m;

    (void)point;
    machine_init(s, &m);
    m.vm.disks = NULL;
    m.vm.nics = NULL;
    if (vmm_ops_of(s)->spawn(s->self, fake_call(), early, &m.vm, &err) != 0)
        flaw("spawn of a machine whose disks are not known yet: %s", err.message);
    got = fake_batch_text(early);
    if (err.code == 0 && strcmp(got, wanted) != 0)
        flaw("where disks are not known yet it plans\n%s, not\n%s", got, wanted);
    fake_host()->batch_free(batch);
    fake_host()->batch_free(early);
}

static void clean_and_run(struct subject *s, const char *when)
{
    struct runner_batch *batch = fake_batch();
    struct runner_error err = ERROR_INIT;
    struct machine m;

    machine_init(s, &m);
    if (vmm_ops_of(s)->cleanup(s->self, fake_call(), batch, &m.vm, &err) != 0)
        flaw("cleanup %s: %s", when, err.message);
    else
        (void)plan_run(batch, when);
    fake_host()->batch_free(batch);
}

static void point_cleanup_twice(struct subject *s, const struct point *point)
{
    struct runner_batch *batch = plan_spawn(s);
    auto_free char *after = NULL;

    (void)point;
    if (plan_run(batch, "spawn")) {
        clean_and_run(s, "of the machine");
        after = world_text(s->world, "s");
        if (after[0] != '\0')
            flaw("cleaned up, there is still:\n%s", after);
        clean_and_run(s, "once more");
    }
    fake_host()->batch_free(batch);
}

/* ---- talking, to nobody ---- */

#define TALKING_OP(name)                                                                                               \
    static void op_##name(struct subject *s, struct trial *t)                                                          \
    {                                                                                                                  \
        struct machine m;                                                                                              \
                                                                                                                       \
        machine_init(s, &m);                                                                                           \
        TRY(t, vmm_ops_of(s)->name(s->self, fake_call(), machine_in(t->layout, &m), &t->err));                         \
    }
TALKING_OP(boot)
TALKING_OP(power_button)
TALKING_OP(pause)
TALKING_OP(resume)
TALKING_OP(resize)

static void op_status(struct subject *s, struct trial *t)
{
    struct runner_vm_status none = {.size = 0}, status = {.size = 0};
    struct runner_vm_status *ret;
    const struct runner_vm *vm;
    struct machine m;

    machine_init(s, &m);
    vm = machine_in(t->layout, &m);
    ret = guard_put(t->layout, &none, sizeof none, sizeof none);
    TRY(t, vmm_ops_of(s)->status(s->self, fake_call(), vm, ret, &t->err));
    if (!guard_take(ret, &status, sizeof status))
        flaw("status writes beyond what it knows");
    if (t->status == 0 && memchr(status.text, '\0', sizeof status.text) == NULL)
        flaw("the text of status has no end");
    if (t->status == 0 && status.state > RUNNER_VM_FAILED)
        flaw("status says state %u", status.state);
}

static void op_counters(struct subject *s, struct trial *t)
{
    struct runner_vm_counters none = {.size = 0}, counters;
    struct runner_vm_counters *ret;
    const struct runner_vm *vm;
    struct machine m;

    machine_init(s, &m);
    vm = machine_in(t->layout, &m);
    ret = guard_put(t->layout, &none, sizeof none, sizeof none);
    TRY(t, vmm_ops_of(s)->counters(s->self, fake_call(), vm, ret, &t->err));
    if (!guard_take(ret, &counters, sizeof counters))
        flaw("counters writes beyond what it knows");
}

static void release_machine(const struct runner_machine *machine)
{
    const char *const texts[] = {machine->kernel,   machine->initramfs, machine->cmdline,
                                 machine->firmware, machine->disk_path, machine->extra};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        fake_host()->release((void *)(uintptr_t)texts[i]);
}

static void look_at_machine(const char *what, struct trial *t, const struct runner_machine *kept)
{
    struct runner_machine machine = {.size = 0};

    if (!guard_take(kept, &machine, sizeof machine))
        flaw("%s writes beyond the machine that it knows", what);
    if (t->status != 0)
        return;
    if (memchr(machine.tap, '\0', sizeof machine.tap) == NULL || memchr(machine.mac, '\0', sizeof machine.mac) == NULL)
        flaw("%s gives a text that has no end", what);
    release_machine(&machine);
}

/* What form its file has only the plugin knows: what everybody could have written there. */
static void op_read_config(struct subject *s, struct trial *t)
{
    static const char text[] =
        "{\"cpus\": {\"boot_vcpus\": 1}, \"memory\": {\"size\": 1073741824}, "
        "\"payload\": {\"kernel\": \"/k\", \"cmdline\": \"quiet\"}, \"disks\": [{\"path\": \"/d\"}]}";
    struct runner_machine none = {.size = 0};
    struct runner_machine *ret;

    guard_reset();
    ret = guard_put(t->layout, &none, sizeof none, sizeof none);
    TRY(t, vmm_ops_of(s)->read_config(s->self, text, sizeof text - 1, ret, &t->err));
    look_at_machine("read_config", t, ret);
}

/* Of nobody, or of a peer that is no VMM. */
static void op_adopt(struct subject *s, struct trial *t)
{
    struct runner_machine none = {.size = 0};
    struct runner_vm_status status = {.size = 0};
    const struct runner_vm *vm;
    struct runner_machine *ret;
    struct runner_vm_status *ret_status;
    struct machine m;

    machine_init(s, &m);
    vm = machine_in(t->layout, &m);
    ret = guard_put(t->layout, &none, sizeof none, sizeof none);
    ret_status = guard_put(t->layout, &status, sizeof status, sizeof status);
    TRY(t, vmm_ops_of(s)->adopt(s->self, fake_call(), vm, ret, ret_status, &t->err));
    if (!guard_take(ret_status, &status, sizeof status))
        flaw("adopt writes beyond the status that it knows");
    look_at_machine("adopt", t, ret);
}

#define FIRST_WORD_MS 20

/* With what it says first, when it says something. */
static void op_listen(struct subject *s, struct trial *t)
{
    struct machine m;
    void *stream = NULL;
    int fd = -1;

    machine_init(s, &m);
    TRY(t, vmm_ops_of(s)->listen(s->self, fake_call(), machine_in(t->layout, &m), &stream, &fd, &t->err));
    for (int i = 0; t->status == 0 && i < 100; i++) {
        struct runner_vm_event event = {.size = sizeof event};
        struct runner_error err = ERROR_INIT;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n = vmm_ops_of(s)->next(s->self, stream, &event, &err);

        if (n < 0 || (n == 0 && poll(&p, 1, FIRST_WORD_MS) <= 0))
            break;
        if (memchr(event.text, '\0', sizeof event.text) == NULL)
            flaw("the text of an event has no end");
    }
    if (t->status == 0)
        vmm_ops_of(s)->unlisten(s->self, stream);
}

static void point_unlisten_null(struct subject *s, const struct point *point)
{
    (void)point;
    subject_renew(s);
    vmm_ops_of(s)->unlisten(s->self, NULL);
}

static void point_status_absent(struct subject *s, const struct point *point)
{
    struct runner_vm_status status = {.size = sizeof status, .state = RUNNER_VM_RUNNING};
    struct runner_error err = ERROR_INIT;
    struct machine m;

    (void)point;
    subject_renew(s);
    machine_init(s, &m);
    if (vmm_ops_of(s)->status(s->self, fake_call(), &m.vm, &status, &err) != 0)
        flaw("without a socket status fails: %s", err.message);
    else if (status.state != RUNNER_VM_ABSENT)
        flaw("without a socket status says %u, %s", status.state, status.text);
}

/* ---- describe, caps ---- */

static void point_describe(struct subject *s, const struct point *point)
{
    (void)point;
    subject_renew(s);
    for (size_t size = 1; size <= 256; size = size < 16 ? size + 1 : size * 2) {
        char text[260];

        memset(text, 'x', sizeof text);
        if (vmm_ops_of(s)->describe(s->self, text, size) != 0)
            flaw("describe fails with %zu bytes of room", size);
        else if (memchr(text, '\0', size) == NULL)
            flaw("describe's text has no end within %zu bytes", size);
        else if (strpbrk(text, "\n\r") != NULL)
            flaw("describe's text is more than one line");
        for (size_t i = size; i < sizeof text; i++)
            if (text[i] != 'x') {
                flaw("describe writes beyond %zu bytes", size);
                break;
            }
    }
}

static void point_caps(struct subject *s, const struct point *point)
{
    const struct runner_vmm_ops *ops = vmm_ops_of(s);
    const uint64_t caps = s->plugin->desc.caps;

    (void)point;
    if ((ops->pause != NULL || ops->resume != NULL) && !(caps & RUNNER_VMM_CAP_PAUSE))
        flaw("there is pause or resume, and caps does not say so");
    if ((ops->listen != NULL || ops->next != NULL || ops->unlisten != NULL) && !(caps & RUNNER_VMM_CAP_EVENTS))
        flaw("there is listen, and caps does not say so");
    if (ops->counters != NULL && !(caps & RUNNER_VMM_CAP_COUNTERS))
        flaw("there is counters, and caps does not say so");
    if ((ops->adopt != NULL || ops->read_config != NULL) && !(caps & RUNNER_VMM_CAP_ADOPT))
        flaw("there is adopt or read_config, and caps does not say so");
    if (ops->resize != NULL && !(caps & RUNNER_VMM_CAP_RESIZE))
        flaw("there is resize, and caps does not say so");
}

/* ---- at once ---- */

static char *spawn_at_once(struct subject *s, void *self, struct runner_call *call, size_t thread)
{
    struct str text = STR_INIT;
    struct machine m;

    machine_fill(s, &m);
    for (int i = 0; i < 20; i++) {
        struct runner_batch *batch = fake_batch();
        struct runner_error err = ERROR_INIT;
        auto_free char *plan = NULL;

        m.vm.cpus = m.vm.max_cpus = (uint32_t)(i + 7 * (int)thread) % 16 + 1; /* each thread its own sizes */
        if (vmm_ops_of(s)->spawn(self, call, batch, &m.vm, &err) != 0)
            flaw("spawn on thread %zu: %s", thread, err.message);
        plan = fake_batch_text(batch);
        str_add(&text, plan);
        fake_host()->batch_free(batch);
    }
    return str_steal(&text);
}

static void point_parallel(struct subject *s, const struct point *point)
{
    struct machine m;

    (void)point;
    subject_renew(s);
    machine_init(s, &m); /* the world's files, for all threads */
    plan_check_at_once(s, spawn_at_once, "spawn");
}

static void add_points(struct checklist *list, const struct plugin *plugin)
{
    checklist_add(list, "spawn.process", "one process, undone by killing it", point_spawn_process);
    checklist_add(list, "spawn.paths", "what the steps make is within the host's directories", point_spawn_paths);
    checklist_add(list, "spawn.undo", "undone, at any step and twice, no process is left", point_spawn_undo);
    if (plugin == NULL || (plugin->desc.caps & RUNNER_VMM_CAP_EARLY))
        checklist_add(list, "spawn.early", "disks and interfaces may be known later", point_spawn_early);
    checklist_add(list, "cleanup.twice", "cleaned up, no socket is left; what is absent can be", point_cleanup_twice);
    checklist_add(list, "status.absent", "nobody there is ABSENT, not an error", point_status_absent);
    checklist_add(list, "describe.bounds", "describe is one line within the room it has", point_describe);
    checklist_add(list, "caps", "caps says what the operations do", point_caps);
    if (plugin == NULL || (plugin->desc.caps & RUNNER_VMM_CAP_EVENTS))
        checklist_add(list, "unlisten.null", "unlisten takes NULL", point_unlisten_null);
    vmm_add_peer_points(list, plugin);
    checklist_add(list, "parallel", "calls at once are what threads says", point_parallel);
    checklist_add(list, "live", "a machine starts, pauses, resumes, answers and ends", point_live);
}

#define TALKING                                                                                                        \
    {.name = "boot", .flags = OP_MAY_FAIL, .call = op_boot},                                                           \
        {.name = "power_button", .flags = OP_MAY_FAIL, .call = op_power_button},                                       \
        {.name = "pause", .flags = OP_MAY_FAIL, .call = op_pause},                                                     \
        {.name = "resume", .flags = OP_MAY_FAIL, .call = op_resume},                                                   \
        {.name = "resize", .flags = OP_MAY_FAIL, .call = op_resize}, {.name = "status", .call = op_status},            \
        {.name = "counters", .flags = OP_MAY_FAIL, .call = op_counters},                                               \
        {.name = "adopt", .flags = OP_MAY_FAIL, .call = op_adopt},                                                     \
    {                                                                                                                  \
        .name = "listen", .flags = OP_MAY_FAIL, .call = op_listen                                                      \
    }

static const struct op ops[] = {
    GENERAL_OPS,
    {.name = "spawn", .call = op_spawn},
    {.name = "cleanup", .call = op_cleanup},
    {.name = "read_config", .flags = OP_MAY_FAIL | OP_ALONE, .call = op_read_config},
    TALKING,
};
const struct kind kind_vmm = {ops, ARRAY_LEN(ops), add_points};

const struct op vmm_talking_ops[] = {TALKING};
const size_t vmm_n_talking_ops = ARRAY_LEN(vmm_talking_ops);
