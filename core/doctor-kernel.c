/* What doctor says of a host's kernel and processors. */
#include <inttypes.h>
#include <string.h>

#include "core/doctor.h"
#include "core/host.h"
#include "core/look.h"
#include "core/procfs.h"
#include "core/util/error.h"
#include "core/util/str.h"

#define TEXT_MAX (64 * 1024)

enum { RELEASE_NEEDED = 5 * 1000 + 4, RELEASE_GOOD = 5 * 1000 + 13 }; /* waiting on a pidfd; landlock */

/* Without its newline. */
static char *read_line(const struct look *look, const char *path)
{
    char *text = look_read(look->call, path, 4096);

    if (text != NULL)
        text[strcspn(text, "\n")] = '\0';
    return text;
}

static void say_release(const struct look *look)
{
    auto_free char *text = read_line(look, "/proc/sys/kernel/osrelease");
    int release = text != NULL ? procfs_release(text) : 0;

    if (release == 0)
        finding_say(&look->to, RUNNER_FINDING_FAIL, "kernel", "mount -t proc proc /proc", "no Linux says its release");
    else if (release < RELEASE_NEEDED)
        finding_say(&look->to, RUNNER_FINDING_FAIL, "kernel", "apt-get install -y linux-image-amd64",
                    "Linux %s, at least 5.4 is needed", text);
    else if (release < RELEASE_GOOD)
        finding_say(&look->to, RUNNER_FINDING_WARN, "kernel", "apt-get install -y linux-image-amd64",
                    "Linux %s: no landlock before 5.13", text);
    else
        finding_say(&look->to, RUNNER_FINDING_OK, "kernel", NULL, "Linux %s", text);
}

/* ---- processors, KVM -------------------------------------------------------------------------------------------- */

static const char *virtualization(const char *cpuinfo)
{
    return procfs_has_word(cpuinfo, "vmx") ? "vmx" : procfs_has_word(cpuinfo, "svm") ? "svm" : NULL;
}

static void say_cpu(const struct look *look)
{
    auto_free char *cpuinfo = look_read(look->call, "/proc/cpuinfo", TEXT_MAX);
    auto_free char *meminfo = look_read(look->call, "/proc/meminfo", TEXT_MAX);
    const char *flag = virtualization(cpuinfo != NULL ? cpuinfo : "");
    int64_t total_kb = 0, free_kb = 0;

    if (meminfo != NULL && procfs_meminfo(meminfo, "MemTotal", &total_kb) &&
        procfs_meminfo(meminfo, "MemAvailable", &free_kb))
        finding_say(&look->to,
                    free_kb >> 10 < look->host->config->min_memory_mb ? RUNNER_FINDING_WARN : RUNNER_FINDING_OK,
                    "memory", NULL, "%" PRId64 " MiB available of %" PRId64 "; a sandbox has at least %" PRId64,
                    free_kb >> 10, total_kb >> 10, look->host->config->min_memory_mb);
    if (flag != NULL)
        finding_say(&look->to, RUNNER_FINDING_OK, "cpu", NULL, "hardware virtualization (%s)", flag);
    else
        finding_say(&look->to, RUNNER_FINDING_WARN, "cpu", NULL,
                    "no hardware virtualization (vmx, svm): switch it on in the firmware, or, where this is a virtual "
                    "machine, nesting in its hypervisor");
}

static void say_kvm(const struct look *look)
{
    static const char *const test[] = {"test", "-r", "/dev/kvm", "-a", "-w", "/dev/kvm", NULL};
    auto_free char *user = NULL, *fix = NULL;
    struct runner_error err = ERROR_INIT;
    int status;

    if (!look_is_there(look->call, "/dev/kvm")) {
        finding_say(&look->to, RUNNER_FINDING_WARN, "kvm", "modprobe kvm_intel || modprobe kvm_amd",
                    "no /dev/kvm: guests are emulated, if at all");
        return;
    }
    user = look_user(look->call);
    fix = mem_printf("groupadd -rf kvm && chgrp kvm /dev/kvm && chmod 660 /dev/kvm && usermod -aG kvm %s", user);
    status = look_run(look->call, test, NULL, &err);
    if (status == 0)
        finding_say(&look->to, RUNNER_FINDING_OK, "kvm", NULL,
                    "/dev/kvm is there; the vmm below says whether it works");
    else if (status > 0)
        finding_say(&look->to, RUNNER_FINDING_WARN, "kvm", fix, "/dev/kvm is there, but %s may not open it", user);
    else
        finding_say(&look->to, RUNNER_FINDING_WARN, "kvm", "apt-get install -y coreutils", "/dev/kvm: %s", err.message);
}

/* ---- confinement, memory, devices ------------------------------------------------------------------------------- */

static void say_seccomp(const struct look *look)
{
    auto_free char *actions = read_line(look, "/proc/sys/kernel/seccomp/actions_avail");

    if (actions != NULL && procfs_has_word(actions, "kill_process"))
        finding_say(&look->to, RUNNER_FINDING_OK, "seccomp", NULL, "system calls of a VMM can be filtered");
    else
        finding_say(&look->to, RUNNER_FINDING_WARN, "seccomp", "apt-get install -y linux-image-amd64",
                    "this kernel filters no system calls: a VMM that wants that will not start");
}

static void say_hugepages(const struct look *look)
{
    auto_free char *text = look_read(look->call, "/proc/meminfo", TEXT_MAX);
    int64_t total = 0, left = 0, size_kb = 0;

    if (text == NULL || !procfs_meminfo(text, "HugePages_Total", &total) ||
        !procfs_meminfo(text, "HugePages_Free", &left) || !procfs_meminfo(text, "Hugepagesize", &size_kb))
        finding_say(&look->to, RUNNER_FINDING_SKIP, "hugepages", NULL, "this kernel has none");
    else if (total == 0)
        finding_say(&look->to, RUNNER_FINDING_SKIP, "hugepages", "echo 512 >/proc/sys/vm/nr_hugepages",
                    "none of %" PRId64 " KiB reserved; nothing here needs them", size_kb);
    else
        finding_say(&look->to, RUNNER_FINDING_OK, "hugepages", NULL,
                    "%" PRId64 " of %" PRId64 " free, %" PRId64 " KiB each", left, total, size_kb);
}

static void say_iommu(const struct look *look)
{
    size_t n = look_count(look->call, "/sys/kernel/iommu_groups");

    if (n == 0)
        finding_say(
            &look->to, RUNNER_FINDING_SKIP, "iommu",
            "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&intel_iommu=on iommu=pt /' /etc/default/grub && update-grub && reboot",
            "no IOMMU groups: no PCI device can be handed to a guest; nothing else needs them");
    else if (!look_is_there(look->call, "/sys/bus/pci/drivers/vfio-pci"))
        finding_say(&look->to, RUNNER_FINDING_SKIP, "iommu", "modprobe vfio-pci",
                    "%zu IOMMU groups, but the driver vfio-pci is not loaded; only GPUs need it", n);
    else
        finding_say(&look->to, RUNNER_FINDING_OK, "iommu", NULL, "%zu IOMMU groups, vfio-pci is there", n);
}

void doctor_kernel(const struct look *look)
{
    say_release(look);
    say_cpu(look);
    say_kvm(look);
    say_seccomp(look);
    say_hugepages(look);
    say_iommu(look);
}
