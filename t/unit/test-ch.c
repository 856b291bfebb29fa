/* vmm/cloud-hypervisor: the real Cloud Hypervisor through transport/local with the toy guest. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/num.h"
#include "plugins/vmm/cloud-hypervisor/vmconfig.h"
#include "t/unit/ch-stage.h"

TestSuite(real_ch, .init = ch_open, .fini = stage_close, .timeout = 60);

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
    int64_t deadline = num_now_ms() + 60000;
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

/* A path as long as that in a folder that is there. */
static char *long_path(int folders)
{
    auto_str struct str path = STR_INIT;

    str_add(&path, dir);
    for (int i = 0; i < folders; i++)
        str_addf(&path, "/%0200d", i);
    RUN("mkdir", "-p", str_text(&path));
    str_add(&path, "/disk");
    return str_steal(&path);
}

/* As many disks as there may be, all of them one file, which nobody writes to. */
static void add_many_disks(const char *path)
{
    static struct runner_image image;
    static const struct runner_image *list[VMCONFIG_DISKS_MAX];

    RUN("qemu-img", "create", "-q", "-f", "raw", path, "1M");
    image = (struct runner_image){.size = sizeof image, .flags = RUNNER_I_READONLY, .path = path, .format = "raw"};
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        list[i] = &image;
    vm.n_disks = ARRAY_LEN(list);
    vm.disks = list;
}

/* Too long an answer kills it: the configuration that it tells again is refused before there is a machine. */
Test(real_ch, long_answers)
{
    auto_free char *path = long_path(5), *longer = long_path(14);

    add_many_disks(path);
    start();
    for (int i = 0; i < 100; i++)
        cr_assert_eq(state(), RUNNER_VM_RUNNING, "asked %d times", i);
    kill_vm(SIGKILL);
    await_end();
    cleanup();
    add_many_disks(longer);
    cr_assert_eq(spawn(), 0, "%s", err.message);
    cr_expect_eq(ops->boot(self, fake_call(), &vm, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_INVALID, "%s", err.message);
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
