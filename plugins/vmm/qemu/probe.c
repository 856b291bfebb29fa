#include "plugins/vmm/qemu/probe.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/util/error.h"
#include "plugins/vmm/common/probe-guest.h"
#include "plugins/vmm/common/steps.h"
#include "plugins/vmm/qemu/args.h"

#define VERSION_MS 10000
#define NOBODY     65534
#define TINY_MS    4000  /* takes 50 to 100 ms where KVM works, 3.2 s where it interprets each instruction */
#define KERNEL_MS  10000 /* a kernel is in its init after 0.3 to 0.6 s where KVM works */

bool probe_parse_version(const char *text, struct qemu_facts *ret)
{
    static const char head[] = "QEMU emulator version ";
    const char *start = strstr(text, head);
    size_t len;
    int major, minor;

    if (start == NULL)
        return false;
    start += sizeof head - 1;
    len = strspn(start, "0123456789.");
    if (len >= sizeof ret->version || sscanf(start, "%4d.%4d", &major, &minor) != 2)
        return false;
    memcpy(ret->version, start, len);
    ret->version[len] = '\0';
    ret->major = major;
    ret->minor = minor;
    return true;
}

int probe_version(struct qemu *self, struct runner_call *call, struct qemu_facts *facts, struct runner_error *err)
{
    const char *const argv[] = {self->binary, "--version", NULL};
    auto_free char *out = steps_output_of(self->host, call, argv, VERSION_MS, err);

    if (out == NULL)
        return error_wrap(err, "QEMU '%s'", self->binary);
    if (!probe_parse_version(out, facts))
        return fail(err, RUNNER_E_INVALID, 0, "'%s --version' does not answer as QEMU does", self->binary);
    return 0;
}

/* ---- guests ---- */

static void add_probe_words(const struct qemu *self, const struct qemu_facts *facts, const char *kernel,
                            const char *initramfs, struct args *args)
{
    static const char *const words[] = {
        "-nodefaults", "-no-user-config",         "-no-reboot", "-display",   "none", "-m", "256M",
        "-chardev",    "stdio,id=con,signal=off", "-serial",    "chardev:con"};

    args_add(args, "%s", self->binary);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        args_add(args, "%s", words[i]);
    args_add_machine(args, facts);
    args_add_accel(args, self, facts->has_kvm);
    args_add(args, "-kernel");
    args_add(args, "%s", kernel);
    if (initramfs != NULL) {
        args_add(args, "-initrd");
        args_add(args, "%s", initramfs);
        args_add(args, "-append");
        args_add(args, "console=ttyS0 quiet reboot=t panic=-1 runner.probe");
    }
}

int probe_kernel(struct qemu *self, struct runner_call *call, const struct qemu_facts *facts,
                 const struct kernel *kernel, struct runner_error *err)
{
    auto_args struct args args = ARGS_INIT;
    struct runner_step run = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .number = KERNEL_MS};

    add_probe_words(self, facts, kernel->path, kernel->initramfs, &args);
    run.argv = (const char *const *)args.words;
    return steps_run_guest(self->host, call, &run, err);
}

int probe_tiny(struct qemu *self, struct runner_call *call, const char *dir, const struct qemu_facts *facts,
               struct runner_error *err)
{
    static atomic_uint counter; /* two instances may probe at once */
    auto_free char *path = mem_printf("%s/probe-%ld-%u.bin", dir, (long)getpid(), atomic_fetch_add(&counter, 1));
    auto_args struct args args = ARGS_INIT;
    struct runner_step run = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .number = TINY_MS};
    size_t size;
    const void *guest = probe_guest(&size);

    if (size == 0)
        return fail(err, RUNNER_E_NOTSUP, 0, "no probe guest for this architecture");
    add_probe_words(self, facts, path, NULL, &args);
    run.argv = (const char *const *)args.words;
    return steps_run_guest_at(self->host, call, path, guest, size, &run, err);
}

bool probe_is_kvm_roots(struct qemu *self, struct runner_call *call)
{
    static const char *const argv[] = {"test", "-r", "/dev/kvm", "-a", "-w", "/dev/kvm", NULL};
    static const char *const groups_of[] = {"/dev/kvm", NULL};
    const struct runner_spawn user = {.size = sizeof user, .uid = NOBODY, .gid = NOBODY, .groups_of = groups_of};
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_RUN,
                                     .flags = RUNNER_S_ANY_STATUS,
                                     .argv = argv,
                                     .number = VERSION_MS,
                                     .spawn = &user};
    struct runner_batch *batch = self->host->batch_new(call);
    struct runner_error cause = ERROR_INIT;
    bool is = batch != NULL && self->host->add(batch, &step, &cause) >= 0 &&
              self->host->run(call, batch, &cause) == 0 && self->host->result(batch, 0)->status != 0;

    self->host->batch_free(batch);
    return is;
}
