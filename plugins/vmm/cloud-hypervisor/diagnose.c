#include "plugins/vmm/cloud-hypervisor/diagnose.h"

#include <string.h>

#include "core/util/error.h"
#include "core/util/finding.h"
#include "core/util/str.h"
#include "plugins/vmm/cloud-hypervisor/check.h"

/* Debian has no package of it; its releases have a static program. */
#define INSTALL                                                                                                        \
    "apt-get install -y ca-certificates curl && curl --create-dirs -fLo %s "                                           \
    "https://github.com/cloud-hypervisor/cloud-hypervisor/releases/latest/download/cloud-hypervisor-static && "        \
    "chmod 755 %s"
#define NEWER_KERNEL "apt-get install -y -t bookworm-backports linux-image-amd64"

static void say_program(const struct ch *self, const struct runner_error *cause, const struct finding_sink *to)
{
    const bool is_replaceable = cause->code == RUNNER_E_NOTFOUND || cause->code == RUNNER_E_INVALID;
    const bool is_path = strchr(self->binary, '/') != NULL;
    const char *path = is_path ? self->binary : "/usr/local/bin/cloud-hypervisor";
    auto_free char *fix = mem_printf(INSTALL, path, path);

    finding_say(to, RUNNER_FINDING_FAIL, "cloud-hypervisor", is_replaceable ? fix : NULL, "%s%s%s%s", cause->message,
                is_path ? " (vmm: {binary: " : "", is_path ? path : "", is_path ? "} in the configuration)" : "");
}

/* The command that may give it a KVM, by why it has none. */
static const char *kvm_fix(const char *reason)
{
    if (strstr(reason, "there is no /dev/kvm") != NULL)
        return "modprobe kvm_intel || modprobe kvm_amd";
    if (strstr(reason, "chgrp kvm") != NULL || strstr(reason, "ermission denied") != NULL)
        return "groupadd -rf kvm && chgrp kvm /dev/kvm && chmod 660 /dev/kvm";
    return NULL; /* a KVM that runs nothing: the host's own hypervisor is to blame */
}

static void say_kvm(const struct ch *self, const struct verdict *verdict, const struct finding_sink *to)
{
    if (!verdict->has_kvm)
        finding_say(to, RUNNER_FINDING_FAIL, "ch-kvm", kvm_fix(verdict->reason), "KVM runs no guest: %s",
                    verdict->reason);
    else if (strcmp(self->probe, "none") == 0)
        finding_say(to, RUNNER_FINDING_SKIP, "ch-kvm", NULL, "not tried: the configuration says probe: none");
    else if (verdict->kernel[0] != '\0')
        finding_say(to, RUNNER_FINDING_OK, "ch-kvm", NULL, "KVM ran a guest with the kernel %s", verdict->kernel);
    else
        finding_say(to, RUNNER_FINDING_OK, "ch-kvm", NULL, "KVM ran a tiny guest");
}

static void say_landlock(const struct ch *self, const struct verdict *verdict, const struct finding_sink *to)
{
    bool is_needed = strcmp(self->landlock, "on") == 0;

    if (strcmp(self->landlock, "off") == 0)
        finding_say(to, RUNNER_FINDING_WARN, "ch-landlock", NULL,
                    "the configuration says landlock: off: a VMM is not kept to its own files");
    else if (verdict->facts.has_landlock)
        finding_say(to, RUNNER_FINDING_OK, "ch-landlock", NULL, "a VMM is kept to its own files");
    else if (!verdict->has_kvm && verdict->unlocked[0] == '\0')
        finding_say(to, RUNNER_FINDING_SKIP, "ch-landlock", NULL, "not tried, as no guest runs");
    else
        finding_say(to, is_needed ? RUNNER_FINDING_FAIL : RUNNER_FINDING_WARN, "ch-landlock", NEWER_KERNEL,
                    "a VMM is not kept to its own files: %s", verdict->unlocked);
}

static void say_seccomp(const struct ch *self, const struct finding_sink *to)
{
    if (strcmp(self->seccomp, "true") != 0)
        finding_say(to, RUNNER_FINDING_WARN, "ch-seccomp", NULL,
                    "the configuration says seccomp: %s: an unexpected system call does not end a VMM", self->seccomp);
}

int diagnose_run(void *instance, struct runner_call *call, void (*say)(void *ctx, const struct runner_finding *),
                 void *ctx, struct runner_error *err)
{
    struct ch *self = instance;
    struct finding_sink to = {say, ctx};
    struct runner_error cause = ERROR_INIT;
    struct verdict verdict;

    if (check_try(self, call, &verdict, &cause) == 0) {
        finding_say(&to, RUNNER_FINDING_OK, "cloud-hypervisor", NULL, "'%s' is " CH_NAME " %s", self->binary,
                    verdict.facts.version);
        say_kvm(self, &verdict, &to);
        say_landlock(self, &verdict, &to);
        say_seccomp(self, &to);
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
