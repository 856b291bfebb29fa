#include "t/unit/ch-stage.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/util/cleanup.h"
#include "core/util/num.h"
#include "plugins/vmm/cloud-hypervisor/client.h"

static const char *real_binary(void)
{
    const char *binary = getenv("CLOUD_HYPERVISOR");

    return binary != NULL ? binary : "/usr/local/bin/cloud-hypervisor";
}

void ch_open(void)
{
    const char *top = getenv("top_builddir");
    auto_free char *toy = mem_printf("%s/t/guest/toy", top != NULL ? top : ".");
    struct runner_value values[] = {{"binary", real_binary(), 0}, {"probe", "none", 0}, {"log", "info", 0}};

    if (access(real_binary(), X_OK) < 0)
        cr_skip_test("%s is not there (CLOUD_HYPERVISOR names another)", real_binary());
    if (access("/dev/kvm", R_OK | W_OK) < 0)
        cr_skip_test("/dev/kvm cannot be used by this user");
    stage_open(values, ARRAY_LEN(values));
    vm.vmm_dir = at("vmm");
    vm.max_cpus = 2;
    vm.max_memory_bytes = 512 << 20;
    vm.kernel = realpath(toy, NULL);
    vm.cmdline = "tick=10";
    cr_assert_eq(mkdir(vm.vmm_dir, 0700), 0);
    if (vm.kernel == NULL)
        cr_skip_test("t/guest/toy is not built");
    fake_host_transport(transport, transport_self);
}

static struct runner_image disks[2];
static const struct runner_image *disk_list[] = {&disks[0], &disks[1]};

void add_disks(const char *overlay, const char *base, const char *seed)
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

int put(const char *action, const char *body)
{
    const struct client_request request = {.action = action, .body = body, .fd = -1, .timeout_ms = 10000};
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;

    return client_call(self, fake_call(), &vm, &request, &reply, &err);
}

long ticks(void)
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

void nap(int64_t ms)
{
    (void)fake_host()->wait(fake_call(), -1, 0, ms);
}

long await_ticks(long more_than)
{
    int64_t deadline = num_now_ms() + 60000;

    while (ticks() <= more_than && num_now_ms() < deadline)
        nap(10);
    cr_assert_gt(ticks(), more_than);
    return ticks();
}
