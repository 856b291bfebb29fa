/* vmm/cloud-hypervisor: the real Cloud Hypervisor as a user of its own, confined. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "core/util/cleanup.h"
#include "t/unit/ch-stage.h"

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
    ch_open();
    if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        cr_skip_test("no namespaces of one's own here");
    give_device("/dev/kvm", 232, KVM_GID, 0660);
    if (exists("/dev/net/tun"))
        give_device("/dev/net/tun", 200, 0, 0666);
    cr_assert_eq(chmod(dir, 0711), 0);
    cr_assert_eq(chown(vm.vmm_dir, UID, UID), 0);
    vm.uid = vm.gid = UID;
}

TestSuite(user_ch, .init = setup_user, .fini = stage_close, .timeout = 60);

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
    cr_assert_eq(run_step(&step, &result), 0, "%s", err.message);
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

/* Without a right to change a TAP. */
Test(user_ch, tap_with_an_mtu)
{
    nic.mtu = 1400;
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

    nic.mtu = 1400;
    fake_host_gate(no_taps, &n);
    life();
    fake_host_gate(NULL, NULL);
}
