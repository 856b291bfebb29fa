/* vmm/cloud-hypervisor: its plans, and the real Cloud Hypervisor through transport/local with the toy guest. */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"
#include "kit/fake/host.h"
#include "plugins/vmm/cloud-hypervisor/client.h"

const struct runner_plugin *runner_plugin_1(void);

static struct runner_error err = ERROR_INIT;
static const struct runner_transport_ops *transport;
static void *transport_self, *self;
static const struct runner_vmm_ops *ops;
static char dir[] = "/tmp/test-ch.XXXXXX";
static struct runner_vm vm;

/* ---- the stage ---- */

static char *at(const char *name)
{
    return mem_printf("%s/%s", dir, name);
}

static void transport_load(void)
{
    const char *top = getenv("top_builddir");
    auto_free char *path = mem_printf("%s/plugins/transport/local.so", top != NULL ? top : ".");
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct runner_plugin *(*get)(void);

    cr_assert_not_null(object, "%s", dlerror());
    *(void **)&get = dlsym(object, "runner_plugin_1");
    transport = get()->ops;
    cr_assert_eq(get()->load(fake_host(), &err), 0);
    cr_assert_eq(get()->create(NULL, 0, &transport_self, &err), 0, "%s", err.message);
}

static void setup_vm(void)
{
    const char *top = getenv("top_builddir");
    auto_free char *toy = mem_printf("%s/t/guest/toy", top != NULL ? top : ".");

    vm = (struct runner_vm){.size = sizeof vm,
                            .id = "sb-1",
                            .dir = dir,
                            .socket_path = at("vm.sock"),
                            .pid_path = at("vm.pid"),
                            .log_path = at("vm.log"),
                            .serial_path = at("serial.log"),
                            .vmm_dir = at("vmm"),
                            .cpus = 1,
                            .max_cpus = 2,
                            .memory_bytes = 256 << 20,
                            .max_memory_bytes = 512 << 20,
                            .kernel = realpath(toy, NULL),
                            .cmdline = "tick=10"};
    cr_assert_eq(mkdir(vm.vmm_dir, 0700), 0);
}

static void setup_with(const struct runner_value *values, size_t n)
{
    cr_assert_not_null(mkdtemp(dir));
    fake_host_reset();
    fake_host_root(dir);
    transport_load();
    cr_assert_eq(runner_plugin_1()->load(fake_host(), &err), 0);
    cr_assert_eq(runner_plugin_1()->create(values, n, &self, &err), 0);
    ops = runner_plugin_1()->ops;
    setup_vm();
}

static int transport_step(const struct runner_step *step, struct runner_result *result)
{
    const struct runner_step *steps = step;

    return transport->run(transport_self, fake_call(), &steps, 1, result, &err);
}

static void kill_vm(int number)
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_KILL, .path = vm.pid_path, .number = number};
    struct runner_result result = {.size = sizeof result};

    cr_expect_eq(transport_step(&step, &result), 0, "%s", err.message);
}

static void teardown(void)
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = dir};
    struct runner_result result = {.size = sizeof result};

    kill_vm(SIGKILL);
    cr_expect_eq(transport_step(&step, &result), 0, "%s", err.message);
    runner_plugin_1()->destroy(self);
    free((void *)(uintptr_t)vm.socket_path);
    free((void *)(uintptr_t)vm.pid_path);
    free((void *)(uintptr_t)vm.log_path);
    free((void *)(uintptr_t)vm.serial_path);
    free((void *)(uintptr_t)vm.vmm_dir);
    free((void *)(uintptr_t)vm.kernel);
    cr_expect_eq(fake_host_live(), 0);
}

static bool exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* ---- the real one ---- */

static const char *real_binary(void)
{
    const char *binary = getenv("CLOUD_HYPERVISOR");

    return binary != NULL ? binary : "/usr/local/bin/cloud-hypervisor";
}

static void setup_real(void)
{
    struct runner_value values[] = {{"binary", real_binary(), 0}, {"probe", "none", 0}, {"log", "info", 0}};

    if (access(real_binary(), X_OK) < 0)
        cr_skip_test("%s is not there (CLOUD_HYPERVISOR names another)", real_binary());
    if (access("/dev/kvm", R_OK | W_OK) < 0)
        cr_skip_test("/dev/kvm cannot be used by this user");
    setup_with(values, ARRAY_LEN(values));
    if (vm.kernel == NULL)
        cr_skip_test("t/guest/toy is not built");
    fake_host_transport(transport, transport_self);
}

TestSuite(real_ch, .init = setup_real, .fini = teardown, .timeout = 60);

static int spawn(void)
{
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    int status = ops->spawn(self, fake_call(), batch, &vm, &err);

    if (status == 0)
        status = fake_host()->run(fake_call(), batch, &err);
    fake_host()->batch_free(batch);
    return status;
}

static void start(void)
{
    cr_assert_eq(spawn(), 0, "%s", err.message);
    cr_assert_eq(ops->boot(self, fake_call(), &vm, &err), 0, "%s", err.message);
}

static uint32_t state(void)
{
    struct runner_vm_status status = {.size = sizeof status};

    cr_assert_eq(ops->status(self, fake_call(), &vm, &status, &err), 0, "%s", err.message);
    return status.state;
}

static void await_end(void)
{
    int fd;

    if (transport->watch(transport_self, fake_call(), vm.pid_path, &fd, &err) < 0)
        return;
    cr_assert_gt(fake_host()->wait(fake_call(), fd, POLLIN, 10000), 0);
    close(fd);
}

static long ticks(void)
{
    FILE *file = fopen(vm.serial_path, "re");
    char line[256];
    long last = -1;

    cr_assert_not_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        (void)sscanf(line, "tick %ld", &last);
    fclose(file);
    return last;
}

static void nap(int64_t ms)
{
    (void)fake_host()->wait(fake_call(), -1, 0, ms);
}

static long await_ticks(long more_than)
{
    int64_t deadline = num_now_ms() + 20000;

    while (ticks() <= more_than && num_now_ms() < deadline)
        nap(10);
    cr_assert_gt(ticks(), more_than);
    return ticks();
}

Test(real_ch, life)
{
    long last;

    start();
    await_ticks(3);
    cr_expect_eq(state(), RUNNER_VM_RUNNING);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(ops->pause(self, fake_call(), &vm, &err), 0, "%s", err.message);
        cr_expect_eq(state(), RUNNER_VM_PAUSED);
    }
    last = ticks();
    nap(200);
    cr_expect_eq(ticks(), last, "a paused machine does not tick");
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(ops->resume(self, fake_call(), &vm, &err), 0, "%s", err.message);
        cr_expect_eq(state(), RUNNER_VM_RUNNING);
    }
    await_ticks(last);
    cr_expect_eq(ops->boot(self, fake_call(), &vm, &err), 0, "a second boot: %s", err.message);
    cr_expect_eq(ops->power_button(self, fake_call(), &vm, &err), 0, "%s", err.message);
    await_end();
    cr_expect_eq(state(), RUNNER_VM_ABSENT);
}

static void cleanup(void)
{
    struct runner_batch *batch = fake_host()->batch_new(fake_call());

    cr_assert_eq(ops->cleanup(self, fake_call(), batch, &vm, &err), 0);
    cr_assert_eq(fake_host()->run(fake_call(), batch, &err), 0, "%s", err.message);
    fake_host()->batch_free(batch);
}

Test(real_ch, killed)
{
    auto_free char *vsock = mem_printf("%s/vsock.sock", vm.vmm_dir), *events = at("events"), *old = at("serial.log.1");

    start();
    await_ticks(3);
    kill_vm(SIGKILL);
    await_end();
    cr_expect_eq(state(), RUNNER_VM_ABSENT);
    cr_expect(exists(vm.socket_path) && exists(vsock) && exists(events), "what a killed process leaves");
    cleanup();
    cr_expect_not(exists(vm.socket_path) || exists(vsock) || exists(events));
    cleanup();
    start();
    cr_expect_eq(state(), RUNNER_VM_RUNNING, "on the same paths again");
    cr_expect(exists(old), "the serial log of the life before is kept");
}

/* The next event that is one of those, or the test fails. */
static void await_event(void *stream, int fd, const char *text, uint32_t kind)
{
    int64_t deadline = num_now_ms() + 10000;
    struct runner_vm_event event = {.size = sizeof event};

    while (num_now_ms() < deadline) {
        int got = ops->next(self, stream, &event, &err);

        cr_assert_geq(got, 0, "%s", err.message);
        if (got == 1 && strcmp(event.text, text) == 0) {
            cr_expect_eq(event.kind, kind, "%s", text);
            return;
        }
        if (got == 0)
            (void)fake_host()->wait(fake_call(), fd, POLLIN, 1000);
    }
    cr_assert_fail("no event %s", text);
}

Test(real_ch, events)
{
    void *stream;
    int fd;

    vm.cmdline = "tick=10 panic=20";
    start();
    cr_assert_eq(ops->listen(self, fake_call(), &vm, &stream, &fd, &err), 0, "%s", err.message);
    await_event(stream, fd, "vmm/starting", RUNNER_VM_EVENT_OTHER);
    await_event(stream, fd, "vm/booted", RUNNER_VM_EVENT_OTHER);
    cr_expect_eq(ops->pause(self, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_eq(ops->resume(self, fake_call(), &vm, &err), 0, "%s", err.message);
    await_event(stream, fd, "vm/paused", RUNNER_VM_EVENT_PAUSED);
    await_event(stream, fd, "vm/resumed", RUNNER_VM_EVENT_RESUMED);
    await_event(stream, fd, "guest/panic", RUNNER_VM_EVENT_PANIC);
    kill_vm(SIGTERM);
    await_event(stream, fd, "vm/shutdown", RUNNER_VM_EVENT_SHUTDOWN);
    await_end();
    while (ops->next(self, stream, &(struct runner_vm_event){.size = sizeof(struct runner_vm_event)}, &err) == 1)
        ;
    cr_expect_eq(err.code, RUNNER_E_UNREACHABLE, "the stream ends with the process");
    ops->unlisten(self, stream);
}

Test(real_ch, reboot)
{
    void *stream;
    int fd;

    vm.cmdline = "tick=10 reboot=20";
    start();
    cr_assert_eq(ops->listen(self, fake_call(), &vm, &stream, &fd, &err), 0, "%s", err.message);
    await_event(stream, fd, "vm/rebooted", RUNNER_VM_EVENT_REBOOTED);
    cr_expect_eq(state(), RUNNER_VM_RUNNING);
    ops->unlisten(self, stream);
}

/* ---- disks ---- */

static void run(const char *const argv[])
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = argv};
    struct runner_result result = {.size = sizeof result};

    cr_assert_eq(transport_step(&step, &result), 0, "%s", err.message);
    fake_host()->release(result.out);
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static struct runner_image disks[2];
static const struct runner_image *disk_list[] = {&disks[0], &disks[1]};

static void add_disks(const char *overlay, const char *base, const char *seed)
{
    RUN("qemu-img", "create", "-q", "-f", "raw", base, "16M");
    RUN("qemu-img", "create", "-q", "-f", "raw", seed, "1M");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", overlay, "64M");
    disks[0] = (struct runner_image){
        .size = sizeof disks[0], .path = overlay, .format = "qcow2", .backing_path = base, .backing_format = "raw"};
    disks[1] =
        (struct runner_image){.size = sizeof disks[1], .flags = RUNNER_I_READONLY, .path = seed, .format = "raw"};
    vm.n_disks = 2;
    vm.disks = disk_list;
}

Test(real_ch, disks_and_counters)
{
    auto_free char *base = at("base"), *overlay = at("disk.qcow2"), *seed = at("seed");
    struct runner_vm_counters counters = {.size = sizeof counters};
    char text[100];

    add_disks(overlay, base, seed);
    start();
    cr_expect_eq(ops->counters(self, fake_call(), &vm, &counters, &err), 0, "%s", err.message);
    cr_expect_eq(counters.disk_reads, 0, "nobody read yet");
    cr_expect_eq(ops->describe(self, text, sizeof text), 0);
    cr_log_info("%s; %s", text, fake_host_log());
    cr_expect_eq(strncmp(text, "cloud-hypervisor v", 18), 0, "%s", text);
}

static int put(const char *action, const char *body)
{
    const struct client_request request = {.action = action, .body = body, .fd = -1, .timeout_ms = 10000};
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;

    return client_call(self, fake_call(), &vm, &request, &reply, &err);
}

/* The room for hot-plugging is enough to get to the ceiling, in one step and in eight. */
Test(real_ch, hotplug_to_the_ceiling)
{
    static const int64_t from_mib[] = {256, 1024, 3072, 4096};

    vm.cmdline = "tick=10 nobutton";
    for (size_t i = 0; i < ARRAY_LEN(from_mib); i++)
        for (int steps = 1; steps <= 8; steps += 7) {
            vm.memory_bytes = from_mib[i] << 20;
            vm.max_memory_bytes = vm.memory_bytes + (INT64_C(1024) << 20);
            start();
            for (int step = 1; step <= steps; step++) {
                auto_free char *body =
                    mem_printf("{\"desired_ram\":%lld}", (long long)((from_mib[i] + 1024 * step / steps) << 20));

                cr_assert_eq(put("vm.resize", body), 0, "%lld MiB, step %d of %d: %s", (long long)from_mib[i], step,
                             steps, err.message);
            }
            cr_expect_eq(put("vm.resize", "{\"desired_vcpus\":2}"), 0, "%s", err.message);
            kill_vm(SIGKILL);
            await_end();
            cleanup();
        }
}

Test(real_ch, firmware)
{
    vm.firmware = vm.kernel;
    vm.kernel = NULL;
    start();
    await_ticks(3);
    vm.kernel = vm.firmware;
}

static void expect_boot_error(int code, const char *part)
{
    cr_assert_eq(spawn(), 0, "%s", err.message);
    cr_expect_eq(ops->boot(self, fake_call(), &vm, &err), -1);
    cr_expect_eq(err.code, code, "%s", err.message);
    cr_expect_not_null(strstr(err.message, part), "%s", err.message);
    cr_log_info("%s", err.message);
}

Test(real_ch, missing_disk)
{
    auto_free char *base = at("base"), *overlay = at("disk.qcow2"), *seed = at("seed");

    add_disks(overlay, base, seed);
    unlink(seed);
    expect_boot_error(RUNNER_E_NOTFOUND,
                      "Cloud Hypervisor refuses vm.boot: Error from API: The VM could not boot: Error from device "
                      "manager: Cannot open disk path");
}

static void take_kernel_away(void)
{
    free((void *)(uintptr_t)vm.kernel);
    vm.kernel = mem_dup("/nonexistent/kernel");
}

Test(real_ch, no_kernel)
{
    take_kernel_away();
    expect_boot_error(RUNNER_E_NOTFOUND, "Cannot open kernel file: No such file or directory (os error 2)");
}

Test(real_ch, ends_at_once)
{
    take_kernel_away();
    cr_assert_eq(spawn(), 0, "%s", err.message);
    kill_vm(SIGKILL);
    cr_expect_eq(ops->boot(self, fake_call(), &vm, &err), -1);
    cr_expect_not_null(strstr(err.message, "Cloud Hypervisor ended by signal 9 (Killed)"), "%s", err.message);
}

/* ---- as a user of its own ---- */

#define UID     1900000123
#define KVM_GID 1900000122

/* The machine's own device with the owner and mode that it has where it is meant for users. */
static void give_device(const char *path, unsigned minor, gid_t group, mode_t mode)
{
    auto_free char *node = at(strrchr(path, '/') + 1);

    cr_assert_eq(mknod(node, S_IFCHR, makedev(10, minor)), 0);
    cr_assert_eq(chown(node, 0, group), 0);
    cr_assert_eq(chmod(node, mode), 0);
    cr_assert_eq(mount(node, path, NULL, MS_BIND, NULL), 0);
}

/* Namespaces of the test's own: devices that users may open, and no network but what it makes. */
static void setup_user(void)
{
    if (geteuid() != 0)
        cr_skip_test("only root can start a process as another user");
    setup_real();
    if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        cr_skip_test("no namespaces of one's own here");
    give_device("/dev/kvm", 232, KVM_GID, 0660);
    if (exists("/dev/net/tun"))
        give_device("/dev/net/tun", 200, 0, 0666);
    cr_assert_eq(chmod(dir, 0711), 0);
    cr_assert_eq(chown(vm.vmm_dir, UID, UID), 0);
    vm.uid = vm.gid = UID;
}

TestSuite(user_ch, .init = setup_user, .fini = teardown, .timeout = 60);

static struct runner_nic nic = {
    .size = sizeof nic, .kind = RUNNER_NIC_TAP, .name = "tap-test", .mac = "02:00:00:00:00:01", .uid = UID};
static const struct runner_nic *nics[] = {&nic};

static void add_tap(void)
{
    struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_ADD, .path = nic.name, .number = (int64_t)nic.uid};
    struct runner_result result = {.size = sizeof result};

    if (access("/dev/net/tun", R_OK | W_OK) < 0)
        cr_skip_test("/dev/net/tun cannot be used here");
    cr_assert_eq(transport_step(&step, &result), 0, "%s", err.message);
    vm.n_nics = 1;
    vm.nics = nics;
}

static long process_id(void)
{
    FILE *file = fopen(vm.pid_path, "re");
    long pid = 0;

    cr_assert_not_null(file);
    cr_assert_eq(fscanf(file, "%ld", &pid), 1);
    fclose(file);
    return pid;
}

static bool is_thread(long pid, const char *id, const char *name)
{
    auto_free char *path = mem_printf("/proc/%ld/task/%s/comm", pid, id);
    auto_fclose FILE *file = fopen(path, "re");
    char comm[32] = "";

    if (file == NULL || fgets(comm, sizeof comm, file) == NULL)
        return false;
    comm[strcspn(comm, "\n")] = '\0';
    return strcmp(comm, name) == 0;
}

static long thread_id(const char *name)
{
    long pid = process_id(), found = -1;
    auto_free char *path = mem_printf("/proc/%ld/task", pid);
    auto_dir DIR *tasks = opendir(path);
    struct dirent *entry;

    cr_assert_not_null(tasks);
    while (found < 0 && (entry = readdir(tasks)) != NULL)
        if (is_thread(pid, entry->d_name, name))
            found = atol(entry->d_name);
    cr_assert_gt(found, 0, "no thread '%s'", name);
    return found;
}

/* What /proc says in one line of the status of the process, or of its first thread of that name. */
static char *status_line(const char *thread, const char *name)
{
    auto_free char *path = mem_printf("/proc/%ld/task/%ld/status", process_id(), thread_id(thread));
    FILE *file = fopen(path, "re");
    char line[512];
    char *found = NULL;

    cr_assert_not_null(file);
    while (found == NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            found = mem_dup_n(line, strcspn(line, "\n"));
    fclose(file);
    return found;
}

static void expect_line(const char *name, const char *expected)
{
    auto_free char *line = status_line("vmm", name);

    cr_expect_str_eq(line != NULL ? line : "", expected);
}

static void expect_confined(void)
{
    auto_free char *groups = mem_printf("Groups:\t%d ", KVM_GID);
    auto_free char *uid = mem_printf("Uid:\t%d\t%d\t%d\t%d", UID, UID, UID, UID);

    expect_line("Uid:", uid);
    expect_line("Groups:", groups);
    expect_line("CapEff:", "CapEff:\t0000000000000000");
    expect_line("CapBnd:", "CapBnd:\t0000000000000000");
    expect_line("NoNewPrivs:", "NoNewPrivs:\t1");
    expect_line("Seccomp:", "Seccomp:\t2");
    cr_expect_eq(put("vm.add-disk", "{\"id\":\"x\",\"path\":\"/etc/passwd\",\"image_type\":\"Raw\",\"readonly\":true}"),
                 -1, "landlock lets it open what is not the machine's");
    cr_expect_not_null(strstr(err.message, "Permission denied"), "%s", err.message);
}

static void life(void)
{
    auto_free char *base = at("base"), *overlay = at("disk.qcow2"), *seed = at("seed");
    struct runner_vm_counters counters = {.size = sizeof counters};

    add_tap();
    add_disks(overlay, base, seed);
    cr_assert_eq(chown(overlay, UID, UID), 0);
    cr_assert_eq(chown(seed, UID, UID), 0);
    cr_assert_eq(chmod(base, 0444), 0);
    start();
    await_ticks(3);
    expect_confined();
    cr_expect_eq(ops->pause(self, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_eq(ops->resume(self, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_eq(ops->counters(self, fake_call(), &vm, &counters, &err), 0, "%s", err.message);
    cr_expect_eq(fake_host()->dial(fake_call(), "tap:tap-test", &(int){-1}, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_BUSY, "the machine has the TAP: %s", err.message);
    cr_expect_eq(ops->power_button(self, fake_call(), &vm, &err), 0, "%s", err.message);
    await_end();
    cr_expect_null(strstr(fake_host_log(), "vmm.no_landlock"), "%s", fake_host_log());
}

Test(user_ch, tap_by_descriptor)
{
    life();
}

/* The first time, which is boot's. */
static int no_taps(void *arg, enum fake_site site, struct runner_call *call, const void *subject)
{
    int *n = arg;

    (void)call;
    return site == FAKE_DIAL && strncmp(subject, "tap:", 4) == 0 && (*n)++ == 0 ? RUNNER_E_NOTSUP : 0;
}

/* A transport that cannot hand out descriptors: the owner of the TAP may open it. */
Test(user_ch, tap_by_name)
{
    int n = 0;

    fake_host_gate(no_taps, &n);
    life();
    fake_host_gate(NULL, NULL);
}
