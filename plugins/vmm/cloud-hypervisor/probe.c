#include "plugins/vmm/cloud-hypervisor/probe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"
#include "plugins/vmm/cloud-hypervisor/check.h"
#include "plugins/vmm/common/probe-guest.h"
#include "plugins/vmm/common/steps.h"

#define VERSION_MS 10000
#define TINY_MS    4000 /* takes 30 to 100 ms where KVM works */
#define WORDS_MAX  40
#define SMALL_MAX  4096

/* ---- the program and its kernel ---- */

int probe_version(struct ch *self, struct runner_call *call, struct ch_facts *facts, struct runner_error *err)
{
    const char *const argv[] = {self->binary, "--version", NULL};
    auto_free char *out = steps_output_of(self->host, call, argv, VERSION_MS, err);

    if (out == NULL)
        return error_wrap(err, CH_NAME " '%s'", self->binary);
    if (!check_parse_version(out, facts))
        return fail(err, RUNNER_E_INVALID, 0, "'%s --version' does not answer as " CH_NAME " does", self->binary);
    return 0;
}

/* Rules that limit truncation came with Linux 6.2; a kernel that has them may still have been started without. */
static bool has_landlock(const char *release, bool has_list, const char *list, char *reason, size_t size)
{
    int major = 0, minor = 0;

    if (sscanf(release, "%4d.%4d", &major, &minor) != 2 || major < 6 || (major == 6 && minor < 2))
        (void)snprintf(reason, size, "Linux %.*s, and 6.2 is needed", (int)strcspn(release, "\n"), release);
    else if (has_list && strstr(list, "landlock") == NULL)
        (void)snprintf(reason, size, "this kernel was started without landlock (its list: %.*s)",
                       (int)strcspn(list, "\n"), list);
    else
        return true;
    return false;
}

bool probe_landlock(struct ch *self, struct runner_call *call, char *reason, size_t size)
{
    struct runner_batch *batch = self->host->batch_new(call);
    bool has = false;

    if (batch != NULL &&
        steps_add_path(self->host, batch, RUNNER_READ, 0, SMALL_MAX, "/proc/sys/kernel/osrelease", NULL) >= 0 &&
        steps_add_path(self->host, batch, RUNNER_READ, RUNNER_S_OPTIONAL, SMALL_MAX, "/sys/kernel/security/lsm",
                       NULL) >= 0 &&
        self->host->run(call, batch, NULL) == 0) {
        auto_free char *release = steps_text(self->host, batch, 0), *list = steps_text(self->host, batch, 1);

        has = has_landlock(release, self->host->result(batch, 1)->status == 0, list, reason, size);
    } else {
        (void)snprintf(reason, size, "it is not known which kernel this is");
    }
    self->host->batch_free(batch);
    return has;
}

/* ---- guests ---- */

struct words {
    const char *list[WORDS_MAX + 1];
    size_t n;
};

static void add(struct words *words, const char *word)
{
    if (words->n < WORDS_MAX)
        words->list[words->n++] = word;
}

static void add_guest(struct words *words, const struct ch *self, const char *kernel, const char *initramfs)
{
    static const char *const rest[] = {"--cpus",   "boot=1", "--memory",  "size=256M",
                                       "--serial", "tty",    "--console", "off"};

    add(words, self->binary);
    add(words, "--seccomp");
    add(words, self->seccomp);
    for (size_t i = 0; i < ARRAY_LEN(rest); i++)
        add(words, rest[i]);
    add(words, "--kernel");
    add(words, kernel);
    if (initramfs != NULL) {
        add(words, "--initramfs");
        add(words, initramfs);
        add(words, "--cmdline");
        add(words, "console=ttyS0 quiet panic=-1 runner.probe");
    }
}

int probe_kernel(struct ch *self, struct runner_call *call, const struct kernel *kernel, struct runner_error *err)
{
    struct words words = {.n = 0};
    const struct runner_step run = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = words.list, .number = self->probe_timeout_ms};

    add_guest(&words, self, kernel->path, kernel->initramfs);
    return steps_run_guest(self->host, call, &run, err);
}

/* Where any user can read it, under a name that none of them can have taken before. */
static char *tiny_path(void)
{
    uint64_t number;

    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        number = (uint64_t)num_now_us();
    return mem_printf("/tmp/runner-probe-%016" PRIx64 ".elf", number);
}

int probe_tiny(struct ch *self, struct runner_call *call, uint32_t uid, bool has_landlock, struct runner_error *err)
{
    static const char *const groups_of[] = {"/dev/kvm", NULL};
    const struct runner_spawn user = {.size = sizeof user, .uid = uid, .gid = uid, .groups_of = groups_of};
    auto_free char *path = tiny_path();
    struct words words = {.n = 0};
    const struct runner_step run = {.size = RUNNER_STEP_INIT,
                                    .kind = RUNNER_RUN,
                                    .argv = words.list,
                                    .number = TINY_MS,
                                    .spawn = uid != 0 ? &user : NULL};
    size_t size;
    const void *guest = probe_guest_pvh(&size);

    if (size == 0)
        return fail(err, RUNNER_E_NOTSUP, 0, "no probe guest for this architecture");
    add_guest(&words, self, path, NULL);
    if (has_landlock)
        add(&words, "--landlock");
    return steps_run_guest_at(self->host, call, path, guest, size, &run, err);
}
