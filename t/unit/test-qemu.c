/* vmm/qemu against the fake QEMU, through transport/local. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util/cleanup.h"
#include "plugins/vmm/qemu/qemu.h"
#include "t/unit/vmm-stage.h"

static char *binary;
static struct runner_nic nic = {.size = sizeof nic,
                                .kind = RUNNER_NIC_USER,
                                .mac = "02:00:00:00:00:01",
                                .address = "10.0.2.15",
                                .gateway = "10.0.2.2",
                                .prefix_len = 24,
                                .guest_port = 2280};

/* ---- the stage ---- */

static int on_step(void *arg, const struct runner_step *step, struct runner_result *result, struct runner_error *e)
{
    (void)arg;
    return transport->run(transport_self, fake_call(), &step, 1, result, e);
}

static void setup_plugin(const char *program, const char *accel, const char *firmware)
{
    struct runner_value values[] = {
        {"binary", program, 0}, {"accel", accel, 0}, {"firmware", firmware, 0}, {"tb_size", NULL, 64 << 20}};

    stage_open(values, ARRAY_LEN(values));
    fake_host_on_step(on_step, NULL);
    vm.kernel = at("kernel");
    vm.cmdline = "quiet";
    write_text(vm.kernel, "");
}

/* The fake reads its wishes from <its path>.conf, so each test has a path of its own for it. */
static void setup(void)
{
    const char *top = getenv("top_builddir");
    auto_free char *program = mem_printf("%s/t/fake/fake-qemu", top != NULL ? top : ".");
    auto_free char *real = realpath(program, NULL);
    static char link[64];

    cr_assert_not_null(real, "%s: build it first", program);
    (void)snprintf(link, sizeof link, "/tmp/test-qemu-link.%d", (int)getpid());
    setup_plugin(link, "tcg", "seabios");
    binary = mem_dup(link);
    cr_assert_eq(symlink(real, binary), 0);
}

static void teardown(void)
{
    if (binary != NULL) {
        auto_free char *wishes = mem_printf("%s.conf", binary);

        (void)unlink(wishes);
        (void)unlink(binary);
    }
    free(binary);
    stage_close();
}

TestSuite(qemu, .init = setup, .fini = teardown, .timeout = 60);

static void wish(const char *lines)
{
    auto_free char *path = mem_printf("%s.conf", binary);

    write_text(path, lines);
}

/* ---- a life ---- */

Test(qemu, life)
{
    wish("noise\n");
    start();
    cr_expect_eq(state(), RUNNER_VM_RUNNING);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(ops->pause(self, fake_call(), &vm, &err), 0, "%s", err.message);
        cr_expect_eq(state(), RUNNER_VM_PAUSED);
    }
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(ops->resume(self, fake_call(), &vm, &err), 0, "%s", err.message);
        cr_expect_eq(state(), RUNNER_VM_RUNNING);
    }
    cr_expect_eq(ops->boot(self, fake_call(), &vm, &err), 0, "a second boot: %s", err.message);
    cr_expect_eq(ops->power_button(self, fake_call(), &vm, &err), 0, "%s", err.message);
    await_end();
    cr_expect_eq(state(), RUNNER_VM_ABSENT);
    cr_expect_not(exists(vm.socket_path));
}

Test(qemu, killed)
{
    start();
    kill_vm(SIGKILL);
    await_end();
    cr_expect_eq(state(), RUNNER_VM_ABSENT);
    cr_expect(exists(vm.socket_path), "a killed QEMU leaves its socket");
    cleanup();
    cr_expect_not(exists(vm.socket_path));
    start();
    cr_expect_eq(state(), RUNNER_VM_RUNNING, "on the same path again");
}

Test(qemu, plan)
{
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    auto_free char *text = NULL, *undo = NULL;

    cr_assert_eq(ops->spawn(self, fake_call(), batch, &vm, &err), 0);
    cr_assert_eq(fake_batch_len(batch), 3);
    text = fake_step_text(fake_batch_step(batch, 0));
    undo = mem_printf("REMOVE %s/vm.log", dir);
    cr_expect_str_eq(text, undo);
    free(text);
    text = fake_step_text(fake_batch_step(batch, 1));
    cr_expect_not_null(strstr(text, " undo: KILL "));
    cr_expect_not_null(strstr(text, "3:listen:"));
    free(text);
    text = fake_step_text(fake_batch_step(batch, 2));
    cr_expect_not_null(strstr(text, " undo: REMOVE "));
    fake_host()->batch_free(batch);
}

/* What it may not open itself it is given; its limits are those of the guest and what is beside it. */
Test(qemu, confined)
{
    static const struct runner_nic *nics[] = {&nic};
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    auto_free char *text = NULL, *memory = NULL;

    nic = (struct runner_nic){.size = sizeof nic, .kind = RUNNER_NIC_TAP, .name = "tap-7", .mac = "02:00:00:00:00:01"};
    vm.n_nics = 1;
    vm.nics = nics;
    vm.uid = vm.gid = 7;
    vm.cgroup = "a-1";
    vm.memory_bytes = INT64_C(256) << 20;
    memory = mem_printf(" memory=%lld ", (256LL + 4 + 64 + 512) << 20);
    cr_assert_eq(ops->spawn(self, fake_call(), batch, &vm, &err), 0);
    text = fake_step_text(fake_batch_step(batch, 0));
    cr_expect_not_null(strstr(text, " undo: CGROUP_DEL a-1"));
    free(text);
    text = fake_step_text(fake_batch_step(batch, 1));
    cr_expect_not_null(strstr(text, " uid=7 gid=7 groups_of=/dev/kvm "));
    cr_expect_not_null(strstr(text, " cgroup=a-1"));
    cr_expect_not_null(strstr(text, memory), "%s", text);
    cr_expect_not_null(strstr(text, ",8:tap:tap-7"));
    cr_expect_not_null(strstr(text, "[tap,id=net0,fd=8,vhost=off]"));
    fake_host()->batch_free(batch);
    batch = fake_host()->batch_new(fake_call());
    cr_assert_eq(ops->cleanup(self, fake_call(), batch, &vm, &err), 0);
    free(text);
    text = fake_batch_text(batch);
    cr_expect_not_null(strstr(text, "CGROUP_DEL a-1\n"));
    fake_host()->batch_free(batch);
}

/* KVM that only root may open: emulated for another user, and refused where KVM was insisted on. */
Test(qemu, kvm_is_roots)
{
    struct qemu *qemu = self;
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    auto_free char *text = NULL;

    qemu->facts = (struct qemu_facts){.is_known = true, .has_kvm = true, .is_kvm_roots = true, .major = 7, .minor = 2};
    cr_assert_eq(ops->spawn(self, fake_call(), batch, &vm, &err), 0);
    text = fake_step_text(fake_batch_step(batch, 1));
    cr_expect_not_null(strstr(text, "[-accel][kvm]"));
    fake_host()->batch_free(batch);
    batch = fake_host()->batch_new(fake_call());
    vm.uid = vm.gid = 7;
    cr_assert_eq(ops->spawn(self, fake_call(), batch, &vm, &err), 0);
    free(text);
    text = fake_step_text(fake_batch_step(batch, 1));
    cr_expect_not_null(strstr(text, "[-accel][tcg,"));
    fake_host()->batch_free(batch);
    batch = fake_host()->batch_new(fake_call());
    qemu->accel = "kvm";
    cr_expect_eq(ops->spawn(self, fake_call(), batch, &vm, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_NOTSUP);
    cr_expect_not_null(strstr(err.message, "only root may open /dev/kvm"));
    fake_host()->batch_free(batch);
}

Test(qemu, absent)
{
    cr_expect_eq(state(), RUNNER_VM_ABSENT);
    cr_expect_eq(ops->pause(self, fake_call(), &vm, &err), -1);
    cr_expect(err.code == RUNNER_E_UNREACHABLE || err.code == RUNNER_E_NOTFOUND);
}

Test(qemu, describe)
{
    char text[100];

    cr_expect_eq(ops->describe(self, text, sizeof text), 0);
    cr_expect_str_eq(text, "qemu, accelerator not chosen yet");
    cr_expect_eq(runner_plugin_1()->check(self, fake_call(), &err), 0, "%s", err.message);
    cr_expect_eq(ops->describe(self, text, sizeof text), 0);
    cr_expect_str_eq(text, "qemu 7.2.22, accelerator tcg");
    cr_expect_not_null(strstr(fake_host_log(), "info vmm.accel vmm=qemu version=7.2.22 accel=tcg"));
}

/* ---- what goes wrong at start ---- */

static void expect_boot_error(int code, const char *message)
{
    cr_assert_eq(spawn(), 0, "%s", err.message);
    cr_expect_eq(ops->boot(self, fake_call(), &vm, &err), -1);
    cr_expect_eq(err.code, code, "%s", err.message);
    cr_expect_str_eq(err.message, message);
}

Test(qemu, ends_at_once)
{
    wish("exit 1 -device foo: 'foo' is not a valid device model name\n");
    expect_boot_error(RUNNER_E_IO, "QEMU ended with status 1: qemu-system-x86_64: -device foo: 'foo' is not a valid "
                                   "device model name");
}

Test(qemu, ends_after_the_greeting)
{
    wish("late-exit 1 Failed to get \"write\" lock\n");
    expect_boot_error(RUNNER_E_BUSY, "QEMU ended with status 1: qemu-system-x86_64: Failed to get \"write\" lock");
}

Test(qemu, killed_by_its_sandbox)
{
    wish("signal 31\n");
    expect_boot_error(RUNNER_E_IO,
                      "QEMU ended by signal 31 (Bad system call), which is its sandbox's and said nothing");
}

Test(qemu, earlier_log_is_not_quoted)
{
    write_text(vm.log_path, "qemu-system-x86_64: from an earlier life\n");
    wish("signal 6\n");
    expect_boot_error(RUNNER_E_IO, "QEMU ended by signal 6 (Aborted) and said nothing");
}

Test(qemu, cut_line)
{
    wish("cut query-status\n");
    cr_assert_eq(spawn(), 0);
    cr_expect_eq(ops->boot(self, fake_call(), &vm, &err), -1);
    cr_expect_str_eq(err.message, "QMP: QEMU closed the connection", "the process lives: its log explains nothing");
}

Test(qemu, no_kernel)
{
    auto_free char *expected = mem_printf("QEMU ended with status 1: qemu-system-x86_64: could not open kernel file "
                                          "'%s': No such file or directory",
                                          vm.kernel);

    unlink(vm.kernel);
    expect_boot_error(RUNNER_E_NOTFOUND, expected);
}

/* Gives the machine a user network on a port that a listener of ours had, and returns that listener. */
static int take_port(void)
{
    static const struct runner_nic *nics[] = {&nic};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(bind(fd, (struct sockaddr *)&address, len), 0);
    cr_assert_eq(listen(fd, 1), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    nic.forward_port = ntohs(address.sin_port);
    vm.n_nics = 1;
    vm.nics = nics;
    return fd;
}

Test(qemu, port_in_use)
{
    auto_close int fd = take_port();
    auto_free char *expected =
        mem_printf("QEMU ended with status 1: qemu-system-x86_64: -netdev user: Could not set up host forwarding "
                   "rule 'tcp:127.0.0.1:%u-10.0.2.15:2280'",
                   nic.forward_port);

    cr_assert_geq(fd, 0);
    expect_boot_error(RUNNER_E_BUSY, expected);
}

Test(qemu, d06_silence_is_no_death)
{
    start();
    wish("no-greeting\n");
    kill_vm(SIGKILL);
    await_end();
    cr_assert_eq(spawn(), 0);
    fake_host_deadline(200);
    cr_expect_eq(
        ops->status(self, fake_call(), &vm, &(struct runner_vm_status){.size = sizeof(struct runner_vm_status)}, &err),
        -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT);
    fake_host_deadline(-1);
}

Test(qemu, boot_of_a_paused_machine)
{
    wish("state prelaunch\n");
    start();
    cr_expect_eq(state(), RUNNER_VM_RUNNING);
}

Test(qemu, panicked)
{
    wish("state guest-panicked\n");
    expect_boot_error(RUNNER_E_IO, "the machine is in state 'guest-panicked'");
    cr_expect_eq(state(), RUNNER_VM_FAILED);
}

Test(qemu, refusal)
{
    wish("refuse stop not while it snows\n");
    start();
    cr_expect_eq(ops->pause(self, fake_call(), &vm, &err), -1);
    cr_expect_str_eq(err.message, "QEMU refuses stop: not while it snows");
    cr_expect_eq(state(), RUNNER_VM_RUNNING);
}

Test(qemu, big_and_garbage)
{
    wish("big query-status\ngarbage stop\n");
    start();
    cr_expect_eq(state(), RUNNER_VM_RUNNING, "a reply of 1 MiB is read");
    cr_expect_eq(ops->pause(self, fake_call(), &vm, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_INVALID, "%s", err.message);
}

/* The effect is there, whatever became of the answer. */
Test(qemu, d06_answers_that_are_lost)
{
    wish("lose stop\nlose cont\n");
    start();
    cr_expect_eq(ops->pause(self, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_eq(state(), RUNNER_VM_PAUSED);
    cr_expect_eq(ops->resume(self, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_eq(state(), RUNNER_VM_RUNNING);
}

Test(qemu, ignored_power_button)
{
    wish("ignore-powerdown\n");
    start();
    cr_expect_eq(ops->power_button(self, fake_call(), &vm, &err), 0);
    cr_expect_eq(state(), RUNNER_VM_RUNNING);
}

Test(qemu, missing_binary)
{
    unlink(binary);
    cr_expect_eq(runner_plugin_1()->check(self, fake_call(), &err), -1);
    cr_expect_eq(err.code, RUNNER_E_NOTFOUND, "%s", err.message);
    cr_expect_not_null(strstr(err.message, binary));
}

/* ---- the real one ---- */

static void setup_real(void)
{
    if (access("/usr/bin/qemu-system-x86_64", X_OK) < 0 || access("/usr/bin/qemu-img", X_OK) < 0)
        cr_skip_test("qemu-system-x86_64 or qemu-img is not installed");
    setup_plugin("qemu-system-x86_64", "auto", "auto");
}

TestSuite(real_qemu, .init = setup_real, .fini = teardown, .timeout = 120);

/* A multiboot kernel that jumps to itself: magic, flags (addresses follow), checksum, addresses, code. */
static void write_idle_kernel(void)
{
    static const uint32_t image[] = {0x1badb002, 0x10000,   0u - (0x1badb002 + 0x10000), 0x100000, 0x100000, 0, 0,
                                     0x100020,   0xfeebfeeb};
    FILE *file = fopen(vm.kernel, "we");

    cr_assert_not_null(file);
    cr_assert_eq(fwrite(image, sizeof image, 1, file), 1);
    cr_assert_eq(fclose(file), 0);
}

Test(real_qemu, life)
{
    auto_free char *base = at("base.raw"), *overlay = at("disk.qcow2"), *seed = at("seed,1.iso");
    struct runner_image disks[] = {
        {.size = sizeof disks[0], .path = overlay, .format = "qcow2", .backing_path = base, .backing_format = "raw"},
        {.size = sizeof disks[1], .flags = RUNNER_I_READONLY, .path = seed, .format = "raw"}};
    const struct runner_image *list[] = {&disks[0], &disks[1]};
    char text[100];

    RUN("qemu-img", "create", "-q", "-f", "raw", base, "16M");
    RUN("qemu-img", "create", "-q", "-f", "raw", seed, "1M");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", overlay, "64M");
    write_idle_kernel();
    close(take_port());
    vm.n_disks = 2;
    vm.disks = list;
    vm.max_cpus = 2;
    vm.max_memory_bytes = 1 << 30;
    start();
    cr_expect_eq(ops->describe(self, text, sizeof text), 0);
    cr_log_info("%s; %s", text, fake_host_log());
    cr_expect_eq(state(), RUNNER_VM_RUNNING);
    cr_expect_eq(ops->pause(self, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_eq(ops->pause(self, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_eq(state(), RUNNER_VM_PAUSED);
    cr_expect_eq(ops->resume(self, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_eq(ops->power_button(self, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_eq(state(), RUNNER_VM_RUNNING, "this guest knows no power button");
    kill_vm(SIGTERM);
    await_end();
    cr_expect_eq(state(), RUNNER_VM_ABSENT);
    cr_expect_not(exists(vm.socket_path));
}

Test(real_qemu, missing_disk)
{
    struct runner_image disk = {.size = sizeof disk, .path = "/nonexistent/disk", .format = "raw"};
    const struct runner_image *list[] = {&disk};

    write_idle_kernel();
    vm.n_disks = 1;
    vm.disks = list;
    cr_assert_eq(spawn(), 0, "%s", err.message);
    cr_expect_eq(ops->boot(self, fake_call(), &vm, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_NOTFOUND);
    cr_expect_not_null(strstr(err.message, "QEMU ended with status 1: qemu-system-x86_64: -blockdev"), "%s",
                       err.message);
    cr_expect_not_null(strstr(err.message, "Could not open '/nonexistent/disk': No such file or directory"), "%s",
                       err.message);
}

/* The second start finds the verdict of the first. */
Test(real_qemu, verdict_is_kept)
{
    auto_free char *path = at("accel-qemu.json");

    cr_assert_eq(runner_plugin_1()->check(self, fake_call(), &err), 0, "%s", err.message);
    cr_expect(exists(path));
    cr_expect_not_null(strstr(fake_host_ran(), "qemu-system-x86_64][--version]"), "%s", fake_host_ran());
    fake_host_reset();
    fake_host_root(dir);
    fake_host_on_step(on_step, NULL);
    cr_assert_eq(runner_plugin_1()->check(self, fake_call(), &err), 0, "%s", err.message);
    /* Of programs only the look whether the VMMs' users may open /dev/kvm, which may change. */
    cr_expect_null(strstr(fake_host_ran(), "qemu-system-x86_64]["), "%s", fake_host_ran());
}
