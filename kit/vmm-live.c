/* A machine for real: the steps are carried out by transport/local. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/util/num.h"
#include "kit/plan.h"
#include "kit/vmm.h"

enum { LIVE_MS = 20000, POLL_MS = 20, DISK_BYTES = 16 << 20 };

static struct runner_error err = ERROR_INIT;

static void use_local(const struct options *options)
{
    struct loader *loader = loader_new(options->plugin_dir, fake_host());
    const struct plugin *local;
    void *self = NULL;

    if (loader_open(loader, RUNNER_TRANSPORT, "local", &local, &err) < 0 ||
        local->desc.create(NULL, 0, &self, &err) != 0)
        stop_point("transport/local: %s", err.message);
    fake_host_transport(&local->ops.transport, self);
}

static void make_file(const char *path, int64_t size_bytes)
{
    auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, size_bytes) < 0)
        stop_point("'%s': %m", path);
}

/* Without an interface, which needs privilege. The kernel is a beginning and zeros: a real VMM refuses it. */
static void make_machine(struct subject *s, struct machine *m)
{
    auto_close int kernel = -1;

    machine_init(s, m);
    m->vm.n_nics = 0;
    make_file(m->disk.path, DISK_BYTES);
    make_file(m->vm.kernel, 4096);
    kernel = open(m->vm.kernel, O_WRONLY | O_CLOEXEC);
    if (kernel < 0 || write(kernel, "\177ELF", 4) != 4)
        stop_point("'%s': %m", m->vm.kernel);
    if (s->options->kernel != NULL)
        m->vm.kernel = s->options->kernel;
    make_file(m->vm.initramfs, 4096);
}

static void expect(bool holds, const char *what)
{
    if (!holds)
        flaw("%s: %s", what, err.message[0] != '\0' ? err.message : "it is not so");
    err = (struct runner_error)ERROR_INIT;
}

static bool is_state(struct subject *s, const struct machine *m, uint32_t state)
{
    struct runner_vm_status status = {.size = sizeof status};

    return vmm_ops_of(s)->status(s->self, fake_call(), &m->vm, &status, &err) == 0 && status.state == state;
}

static void pause_and_resume(struct subject *s, const struct machine *m)
{
    const struct runner_vmm_ops *ops = vmm_ops_of(s);

    if (!(s->plugin->desc.caps & RUNNER_VMM_CAP_PAUSE))
        return;
    expect(ops->pause(s->self, fake_call(), &m->vm, &err) == 0, "pause");
    expect(is_state(s, m, RUNNER_VM_PAUSED), "paused, status says so");
    expect(ops->pause(s->self, fake_call(), &m->vm, &err) == 0, "pause again");
    expect(ops->resume(s->self, fake_call(), &m->vm, &err) == 0, "resume");
    expect(is_state(s, m, RUNNER_VM_RUNNING), "resumed, status says so");
    expect(ops->resume(s->self, fake_call(), &m->vm, &err) == 0, "resume again");
}

/* What is said between begin and now, up to an event of that kind. */
static bool hears(struct subject *s, void *stream, int fd, uint32_t kind)
{
    int64_t end_ms = num_now_ms() + LIVE_MS;
    struct runner_vm_event event = {.size = sizeof event};

    while (num_now_ms() < end_ms) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n = vmm_ops_of(s)->next(s->self, stream, &event, &err);

        if (n == 1 && event.kind == kind)
            return true;
        if (n < 0)
            return false;
        if (n == 0)
            (void)poll(&p, 1, POLL_MS);
    }
    return false;
}

static void events(struct subject *s, const struct machine *m)
{
    const struct runner_vmm_ops *ops = vmm_ops_of(s);
    void *stream = NULL;
    int fd = -1;

    if (!(s->plugin->desc.caps & RUNNER_VMM_CAP_EVENTS))
        return;
    expect(ops->listen(s->self, fake_call(), &m->vm, &stream, &fd, &err) == 0, "listen");
    if (stream == NULL)
        return;
    if (s->plugin->desc.caps & RUNNER_VMM_CAP_PAUSE) {
        expect(ops->pause(s->self, fake_call(), &m->vm, &err) == 0, "pause");
        expect(hears(s, stream, fd, RUNNER_VM_EVENT_PAUSED), "an event says that it is paused");
        expect(ops->resume(s->self, fake_call(), &m->vm, &err) == 0, "resume");
        expect(hears(s, stream, fd, RUNNER_VM_EVENT_RESUMED), "an event says that it is resumed");
    }
    ops->unlisten(s->self, stream);
}

static void counters(struct subject *s, const struct machine *m)
{
    struct runner_vm_counters counted = {.size = sizeof counted};

    if (s->plugin->desc.caps & RUNNER_VMM_CAP_COUNTERS)
        expect(vmm_ops_of(s)->counters(s->self, fake_call(), &m->vm, &counted, &err) == 0, "counters");
}

/* To its ceilings, twice; beyond them, and back, it says that a new start is needed. */
static void resize(struct subject *s, const struct machine *m)
{
    const struct runner_vmm_ops *ops = vmm_ops_of(s);
    struct runner_vm more = m->vm;

    if (!(s->plugin->desc.caps & RUNNER_VMM_CAP_RESIZE))
        return;
    more.cpus = m->vm.max_cpus;
    more.memory_bytes = m->vm.max_memory_bytes;
    expect(ops->resize(s->self, fake_call(), &more, &err) == 0, "resize");
    expect(ops->resize(s->self, fake_call(), &more, &err) == 0, "resize again");
    expect(is_state(s, m, RUNNER_VM_RUNNING), "resized, status says that it runs");
    more.cpus = more.max_cpus = m->vm.max_cpus + 1;
    expect(ops->resize(s->self, fake_call(), &more, &err) < 0 && err.code == RUNNER_E_NOTSUP,
           "resize beyond its processors is NOTSUP");
    more.cpus = m->vm.max_cpus;
    more.memory_bytes = more.max_memory_bytes = 2 * m->vm.max_memory_bytes + (INT64_C(1) << 30);
    expect(ops->resize(s->self, fake_call(), &more, &err) < 0 && err.code == RUNNER_E_NOTSUP,
           "resize beyond its memory is NOTSUP");
    expect(ops->resize(s->self, fake_call(), &m->vm, &err) < 0 && err.code == RUNNER_E_NOTSUP,
           "resize to less than it has is NOTSUP, by which core knows that it has more");
}

static void end(struct subject *s, const struct machine *m, struct runner_batch *spawned)
{
    auto_str struct str faults = STR_INIT;
    struct runner_batch *batch = fake_batch();
    struct stat st;

    expect(vmm_ops_of(s)->power_button(s->self, fake_call(), &m->vm, &err) == 0, "power_button");
    fake_host_undo_batch(spawned, &faults);
    if (faults.len > 0)
        flaw("undo: %s", str_text(&faults));
    expect(is_state(s, m, RUNNER_VM_ABSENT), "killed, status says that it is absent");
    expect(vmm_ops_of(s)->cleanup(s->self, fake_call(), batch, &m->vm, &err) == 0 && plan_run(batch, "cleanup"),
           "cleanup");
    fake_host()->batch_free(batch);
    expect(lstat(m->vm.socket_path, &st) < 0, "cleaned up, the socket is gone");
}

void point_live(struct subject *s, const struct point *point)
{
    struct runner_batch *batch;
    char text[256] = "";
    struct machine m;

    (void)point;
    if (!s->options->is_live)
        skip_point("asks for --live, and a VMM or a fake of one");
    subject_renew(s);
    make_machine(s, &m);
    use_local(s->options);
    fake_host_deadline(LIVE_MS);
    if (s->plugin->desc.check != NULL)
        expect(s->plugin->desc.check(s->self, fake_call(), &err) == 0, "check");
    batch = fake_batch();
    if (vmm_ops_of(s)->spawn(s->self, fake_call(), batch, &m.vm, &err) != 0)
        stop_point("spawn: %s", err.message);
    if (!plan_run(batch, "spawn"))
        end_point();
    expect(vmm_ops_of(s)->boot(s->self, fake_call(), &m.vm, &err) == 0, "boot");
    expect(is_state(s, &m, RUNNER_VM_RUNNING), "booted, status says that it runs");
    expect(vmm_ops_of(s)->describe(s->self, text, sizeof text) == 0, "describe");
    note("it is: %s", text);
    pause_and_resume(s, &m);
    events(s, &m);
    counters(s, &m);
    resize(s, &m);
    end(s, &m, batch);
    fake_host()->batch_free(batch);
}
