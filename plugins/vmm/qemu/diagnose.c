#include "plugins/vmm/qemu/diagnose.h"

#include <string.h>

#include "core/util/error.h"
#include "core/util/finding.h"
#include "plugins/vmm/qemu/accel.h"

/* The command that may give this QEMU a KVM, by why it has none. */
static const char *kvm_fix(const char *reason)
{
    if (strstr(reason, "there is no /dev/kvm") != NULL)
        return "modprobe kvm_intel || modprobe kvm_amd";
    if (strstr(reason, "Permission denied") != NULL)
        return "groupadd -rf kvm && chgrp kvm /dev/kvm && chmod 660 /dev/kvm && usermod -aG kvm USER";
    return NULL; /* a KVM that runs nothing: the host's own hypervisor is to blame */
}

static void say_kvm(const struct qemu *self, const struct verdict *verdict, const struct finding_sink *to)
{
    bool is_needed = strcmp(self->accel, "kvm") == 0;

    if (strcmp(self->accel, "tcg") == 0)
        finding_say(to, RUNNER_FINDING_SKIP, "qemu-kvm", NULL, "not tried: the configuration says accel: tcg");
    else if (!verdict->facts.has_kvm)
        finding_say(to, is_needed ? RUNNER_FINDING_FAIL : RUNNER_FINDING_WARN, "qemu-kvm", kvm_fix(verdict->reason),
                    "KVM runs no guest, %s: %s",
                    is_needed ? "and the configuration says accel: kvm" : "so guests are emulated, many times slower",
                    verdict->reason);
    else if (verdict->kernel[0] != '\0')
        finding_say(to, RUNNER_FINDING_OK, "qemu-kvm", NULL, "KVM ran a guest with the kernel %s", verdict->kernel);
    else
        finding_say(to, RUNNER_FINDING_OK, "qemu-kvm", NULL,
                    "KVM ran a tiny guest; no snapshot's kernel to try it with");
}

/* What is installed for a path that somebody chose is nobody's to say. */
static void say_program(const struct qemu *self, const struct runner_error *cause, const struct finding_sink *to)
{
    static const char install[] = "apt-get install -y --no-install-recommends qemu-system-x86";
    const bool is_path = strchr(self->binary, '/') != NULL;

    if (is_path)
        finding_say(to, RUNNER_FINDING_FAIL, "qemu", NULL,
                    "%s (vmm: {binary: %s} in the configuration; without it, the first qemu-system-x86_64 of PATH)",
                    cause->message, self->binary);
    else
        finding_say(to, RUNNER_FINDING_FAIL, "qemu", cause->code == RUNNER_E_NOTFOUND ? install : NULL, "%s",
                    cause->message);
}

int diagnose_run(void *instance, struct runner_call *call, void (*say)(void *ctx, const struct runner_finding *),
                 void *ctx, struct runner_error *err)
{
    struct qemu *self = instance;
    struct finding_sink to = {say, ctx};
    struct runner_error cause = ERROR_INIT;
    struct verdict verdict;

    if (accel_try(self, call, &verdict, &cause) == 0) {
        finding_say(&to, RUNNER_FINDING_OK, "qemu", NULL, "'%s' is QEMU %s; boots by %s", self->binary,
                    verdict.facts.version, verdict.facts.has_qboot ? "qboot" : "SeaBIOS");
        say_kvm(self, &verdict, &to);
        return 0;
    }
    if (self->host->cancelled(call) != 0) {
        if (err != NULL)
            error_copy(err, &cause);
        return -1;
    }
    say_program(self, &cause, &to);
    return 0;
}
