#include "plugins/vmm/qemu/accel.h"

#include <stdio.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "plugins/vmm/common/verdict.h"
#include "plugins/vmm/qemu/probe.h"

/* A guest was tried and did not come: is that an answer, or the end of the operation? */
static int check_over(struct qemu *self, struct runner_call *call, struct runner_error *err)
{
    int over = self->host->cancelled(call);

    if (over == 0)
        return 0;
    return fail(err, over, 0, "probe of QEMU: %s", over == RUNNER_E_CANCELLED ? "cancelled" : "deadline passed");
}

/* Where the tiny guest lies while it is tried. */
static const char *probe_dir(const struct qemu *self, struct runner_call *call, const struct scene *scene)
{
    return scene->has_root ? self->host->root(call) : "/tmp";
}

/* The kernel of sandboxes has the last word. */
static int try_kvm(struct qemu *self, struct runner_call *call, const struct scene *scene, const struct kernel *kernel,
                   struct verdict *verdict, struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT;

    verdict->facts.has_kvm = true;
    if (probe_tiny(self, call, probe_dir(self, call, scene), &verdict->facts, &cause) < 0) {
        verdict->facts.has_kvm = false;
    } else if (kernel->path != NULL) {
        (void)snprintf(verdict->kernel, sizeof verdict->kernel, "%s", kernel->path);
        verdict->facts.has_kvm = probe_kernel(self, call, &verdict->facts, kernel, &cause) == 0;
    }
    if (verdict->facts.has_kvm)
        return 0;
    (void)snprintf(verdict->reason, sizeof verdict->reason, "%.*s", (int)sizeof verdict->reason - 1, cause.message);
    return check_over(self, call, err);
}

/* qboot is a part of QEMU's own data, which some packages leave out: then SeaBIOS it is. */
static int try_qboot(struct qemu *self, struct runner_call *call, const struct scene *scene, struct verdict *verdict,
                     struct runner_error *err)
{
    const char *dir = probe_dir(self, call, scene);
    struct runner_error cause = ERROR_INIT;

    verdict->facts.has_qboot = true;
    if (strcmp(self->firmware, "qboot") == 0)
        return probe_tiny(self, call, dir, &verdict->facts, err);
    if (probe_tiny(self, call, dir, &verdict->facts, &cause) == 0)
        return 0;
    verdict->facts.has_qboot = false;
    return check_over(self, call, err);
}

static int try_all(struct qemu *self, struct runner_call *call, const struct scene *scene, const struct kernel *kernel,
                   struct verdict *ret, struct runner_error *err)
{
    *ret = (struct verdict){.facts = {.is_known = true}};
    if (probe_version(self, call, &ret->facts, err) < 0)
        return -1;
    if (strcmp(self->accel, "tcg") == 0)
        (void)snprintf(ret->reason, sizeof ret->reason, "the configuration says tcg");
    else if (!scene->has_kvm_device)
        (void)snprintf(ret->reason, sizeof ret->reason, "there is no /dev/kvm");
    else if (try_kvm(self, call, scene, kernel, ret, err) < 0)
        return -1;
    if (strcmp(self->firmware, "seabios") == 0)
        return 0;
    return try_qboot(self, call, scene, ret, err);
}

/* ---- the verdict kept ---- */

#define INPUTS 3 /* besides binary, device and boot */

static void inputs_get(const struct qemu *self, struct runner_field inputs[INPUTS])
{
    inputs[0] = (struct runner_field){"cpu", self->cpu != NULL ? self->cpu : "host"};
    inputs[1] = (struct runner_field){"accel", self->accel};
    inputs[2] = (struct runner_field){"firmware", self->firmware};
}

/* A KVM that ran the tiny guest only is tried again once there is a kernel. */
static bool recall(const struct qemu *self, const struct scene *scene, const struct kernel *kernel, struct verdict *ret)
{
    const struct json *kept = scene->kept;
    auto_free char *line = mem_printf("QEMU emulator version %s", json_text(kept, "version", ""));
    struct runner_field inputs[INPUTS];
    struct verdict verdict = {.facts = {.is_known = true}};

    inputs_get(self, inputs);
    if (!verdict_recall(scene, inputs, INPUTS) || !probe_parse_version(line, &verdict.facts))
        return false;
    verdict.facts.has_kvm = json_bool(kept, "kvmWorks", false);
    verdict.facts.has_qboot = json_bool(kept, "qbootWorks", false);
    if (verdict.facts.has_kvm && kernel->path != NULL && strcmp(json_text(kept, "kernel", ""), kernel->path) != 0)
        return false;
    (void)snprintf(verdict.reason, sizeof verdict.reason, "%s", json_text(kept, "reason", ""));
    *ret = verdict;
    return true;
}

static void keep(struct qemu *self, struct runner_call *call, const struct scene *scene, const struct verdict *verdict)
{
    auto_str struct str s = STR_INIT;
    struct runner_field inputs[INPUTS];

    inputs_get(self, inputs);
    verdict_begin(scene, inputs, INPUTS, &s);
    json_add_text(&s, "version", verdict->facts.version);
    json_add_bool(&s, "kvmWorks", verdict->facts.has_kvm);
    json_add_text(&s, "reason", verdict->reason);
    json_add_text(&s, "kernel", verdict->kernel);
    json_add_bool(&s, "qbootWorks", verdict->facts.has_qboot);
    verdict_keep(self->host, call, scene, &s);
}

static int judge(struct qemu *self, struct runner_call *call, bool is_anew, struct verdict *ret,
                 struct runner_error *err)
{
    CLEANUP(scene_done) struct scene scene = {0};
    CLEANUP(kernel_done) struct kernel kernel = {0};

    if (scene_look(self->host, call, "qemu", self->binary, &scene, err) < 0)
        return -1;
    if (scene.has_kvm_device && strcmp(self->accel, "tcg") != 0 &&
        kernel_find(self->host, call, self->probe_kernel, self->probe_initramfs, &kernel, err) < 0)
        return -1;
    if (is_anew || !recall(self, &scene, &kernel, ret)) {
        if (try_all(self, call, &scene, &kernel, ret, err) < 0)
            return -1;
        keep(self, call, &scene, ret);
    }
    ret->facts.is_kvm_roots =
        ret->facts.has_kvm && probe_is_kvm_roots(self, call); /* not kept: a mode changes easily */
    return check_over(self, call, err);                       /* what came last may have been what was cancelled */
}

static void log_choice(struct qemu *self, struct runner_call *call, const struct verdict *verdict)
{
    const struct qemu_facts *facts = &verdict->facts;
    const char *reason = !facts->has_kvm       ? verdict->reason
                         : facts->is_kvm_roots ? "it ran a guest, but only root may open /dev/kvm"
                                               : "it ran a guest";
    struct runner_field fields[] = {{"vmm", "qemu"},
                                    {"version", facts->version},
                                    {"accel", facts->has_kvm ? "kvm" : "tcg"},
                                    {"reason", reason},
                                    {"firmware", facts->has_qboot ? "qboot" : "seabios"}};

    self->host->log(call, RUNNER_LOG_INFO, "vmm.accel", fields, ARRAY_LEN(fields));
}

static void facts_set(struct qemu *self, const struct qemu_facts *facts)
{
    pthread_mutex_lock(&self->lock);
    self->facts = *facts;
    pthread_mutex_unlock(&self->lock);
}

static bool facts_get(struct qemu *self, struct qemu_facts *ret)
{
    pthread_mutex_lock(&self->lock);
    *ret = self->facts;
    pthread_mutex_unlock(&self->lock);
    return ret->is_known;
}

int accel_choose(struct qemu *self, struct runner_call *call, bool is_again, struct runner_error *err)
{
    struct qemu_facts facts;
    struct verdict verdict;

    if (facts_get(self, &facts) && !is_again)
        return 0;
    if (judge(self, call, false, &verdict, err) < 0)
        return -1;
    if (strcmp(self->accel, "kvm") == 0 && !verdict.facts.has_kvm)
        return fail(err, RUNNER_E_NOTSUP, 0, "accel: kvm, but KVM runs no guest here: %s", verdict.reason);
    if (!facts.is_known || facts.has_kvm != verdict.facts.has_kvm || strcmp(facts.version, verdict.facts.version) != 0)
        log_choice(self, call, &verdict);
    facts_set(self, &verdict.facts);
    return 0;
}

int accel_try(struct qemu *self, struct runner_call *call, struct verdict *ret, struct runner_error *err)
{
    if (judge(self, call, true, ret, err) < 0)
        return -1;
    facts_set(self, &ret->facts);
    return 0;
}

int accel_facts(struct qemu *self, struct runner_call *call, struct qemu_facts *ret, struct runner_error *err)
{
    if (facts_get(self, ret))
        return 0;
    if (accel_choose(self, call, false, err) < 0)
        return -1;
    (void)facts_get(self, ret);
    return 0;
}
