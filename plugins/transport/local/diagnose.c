/* What works on this machine that only a process on it can find out. */
#include "plugins/transport/local/local.h"

#include <errno.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sys/syscall.h>

#include "core/util/finding.h"

#define LANDLOCK_GOOD 3 /* Linux 6.2: truncation is restricted too, and VMMs refuse to do without */

static void say_user(const struct finding_sink *to)
{
    uid_t uid = geteuid();
    const struct passwd *user = getpwuid(uid);

    if (uid == 0)
        finding_say(to, RUNNER_FINDING_OK, "transport", NULL, "this machine, by its own system calls, as root");
    else
        finding_say(to, RUNNER_FINDING_OK, "transport", NULL,
                    "this machine, by its own system calls, as %s (%u), not root",
                    user != NULL ? user->pw_name : "a user without a name", (unsigned)uid);
}

static void say_landlock(const struct finding_sink *to)
{
    static const char kernel[] = "apt-get install -y -t bookworm-backports linux-image-amd64";
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    if (abi >= LANDLOCK_GOOD)
        finding_say(to, RUNNER_FINDING_OK, "landlock", NULL, "version %ld: a VMM can be kept to its own files", abi);
    else if (abi > 0)
        finding_say(to, RUNNER_FINDING_WARN, "landlock", kernel,
                    "version %ld, VMMs want %d (Linux 6.2): they are not kept to their own files", abi, LANDLOCK_GOOD);
    else if (errno == EOPNOTSUPP)
        finding_say(to, RUNNER_FINDING_WARN, "landlock",
                    "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&lsm=landlock,lockdown,yama,integrity,apparmor,bpf /' "
                    "/etc/default/grub && update-grub && reboot",
                    "switched off when this kernel booted: VMMs are not kept to their own files");
    else
        finding_say(to, RUNNER_FINDING_WARN, "landlock", kernel,
                    "this kernel has none: VMMs are not kept to their own files");
}

int diagnose_run(void *self, struct runner_call *call, void (*say)(void *ctx, const struct runner_finding *), void *ctx,
                 struct runner_error *err)
{
    const struct finding_sink to = {say, ctx};

    (void)self;
    (void)call;
    (void)err;
    say_user(&to);
    say_landlock(&to);
    return 0;
}
