#include "plugins/vmm/cloud-hypervisor/check.h"

#include <stdio.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"
#include "plugins/vmm/cloud-hypervisor/probe.h"
#include "plugins/vmm/common/verdict.h"

/* Older ones have a virtio-blk that a guest can break out of (CVE-2026-45782). */
#define OLDEST_MAJOR 51
#define OLDEST_MINOR 2

bool check_parse_version(const char *text, struct ch_facts *ret)
{
    static const char head[] = "cloud-hypervisor ";
    const char *start;
    size_t len;
    int major, minor;

    if (strncmp(text, head, sizeof head - 1) != 0)
        return false;
    start = text + sizeof head - 1;
    len = strcspn(start, " \t\r\n");
    if (len >= sizeof ret->version || sscanf(start, "v%4d.%4d", &major, &minor) != 2 || major < 0 || minor < 0)
        return false;
    memcpy(ret->version, start, len);
    ret->version[len] = '\0';
    ret->major = major;
    ret->minor = minor;
    return true;
}

static int check_version(const struct ch *self, const struct ch_facts *facts, struct runner_error *err)
{
    if (facts->major > OLDEST_MAJOR || (facts->major == OLDEST_MAJOR && facts->minor >= OLDEST_MINOR))
        return 0;
    return fail(err, RUNNER_E_INVALID, 0, "'%s' is %s, and v%d.%d is the oldest that is safe", self->binary,
                facts->version, OLDEST_MAJOR, OLDEST_MINOR);
}

/* ---- trying ---- */

/* A guest was tried and did not come: is that an answer, or the end of the operation? */
static int check_over(struct ch *self, struct runner_call *call, struct runner_error *err)
{
    int over = self->host->cancelled(call);

    if (over == 0)
        return 0;
    return fail(err, over, 0, "probe of " CH_NAME ": %s", over == RUNNER_E_CANCELLED ? "cancelled" : "deadline passed");
}

#define SET_TEXT(to, ...) ((void)snprintf((to), sizeof(to), __VA_ARGS__))

/*
 * The tiny guest: as one without privileges, with landlock; else without landlock; else as the runner's user, which
 * tells what is missing. A guest that does not end is not tried again: it costs seconds, and landlock makes none hang.
 */
static void try_tiny(struct ch *self, struct runner_call *call, struct verdict *verdict)
{
    bool wants_landlock = strcmp(self->landlock, "off") != 0;
    struct runner_error cause = ERROR_INIT, first = ERROR_INIT, other = ERROR_INIT;

    verdict->has_kvm = probe_tiny(self, call, self->probe_uid, wants_landlock, &cause) == 0;
    verdict->facts.has_landlock = verdict->has_kvm && wants_landlock;
    if (!verdict->has_kvm && wants_landlock && cause.code != RUNNER_E_TIMEOUT) {
        first = cause;
        verdict->has_kvm = probe_tiny(self, call, self->probe_uid, false, &cause) == 0;
    }
    if (verdict->has_kvm) {
        SET_TEXT(verdict->unlocked, "%.190s", first.message);
        return;
    }
    verdict->was_slow = cause.code == RUNNER_E_TIMEOUT;
    if (self->probe_uid != 0 && cause.code != RUNNER_E_TIMEOUT && probe_tiny(self, call, 0, false, &other) == 0)
        SET_TEXT(verdict->reason,
                 "it runs a guest for the runner's user, but not for one without privileges, as which sandboxes run "
                 "(%.150s): chgrp kvm /dev/kvm && chmod 660 /dev/kvm",
                 cause.message);
    else
        SET_TEXT(verdict->reason, "%.390s", cause.message);
}

/* The kernel of sandboxes has the last word. */
static void try_kernel(struct ch *self, struct runner_call *call, const struct kernel *kernel, struct verdict *verdict)
{
    struct runner_error cause = ERROR_INIT;

    if (!verdict->has_kvm || kernel->path == NULL)
        return;
    SET_TEXT(verdict->kernel, "%s", kernel->path);
    verdict->has_kvm = probe_kernel(self, call, kernel, &cause) == 0;
    verdict->was_slow = cause.code == RUNNER_E_TIMEOUT;
    if (!verdict->has_kvm)
        SET_TEXT(verdict->reason, "the kernel %.150s does not run on it: %.200s", kernel->path, cause.message);
}

static int try_all(struct ch *self, struct runner_call *call, const struct scene *scene, const struct kernel *kernel,
                   struct verdict *ret, struct runner_error *err)
{
    *ret = (struct verdict){.facts = {.is_known = true}};
    if (probe_version(self, call, &ret->facts, err) < 0 || check_version(self, &ret->facts, err) < 0)
        return -1;
    if (!scene->has_kvm_device) {
        SET_TEXT(ret->reason, "there is no /dev/kvm");
        return 0;
    }
    if (strcmp(self->probe, "none") == 0) {
        ret->has_kvm = true;
        ret->facts.has_landlock =
            strcmp(self->landlock, "off") != 0 && probe_landlock(self, call, ret->unlocked, sizeof ret->unlocked);
        return check_over(self, call, err);
    }
    try_tiny(self, call, ret);
    if (check_over(self, call, err) < 0)
        return -1;
    try_kernel(self, call, kernel, ret);
    return check_over(self, call, err);
}

/* ---- the verdict kept ---- */

#define INPUTS    5                /* besides binary, device and boot */
#define REFUSE_MS INT64_C(3600000) /* that no guest came in time is believed for so long: the host may have been busy */

struct inputs {
    struct runner_field fields[INPUTS];
    char uid[16], ms[24];
};

static void inputs_get(const struct ch *self, struct inputs *inputs)
{
    (void)snprintf(inputs->uid, sizeof inputs->uid, "%u", self->probe_uid);
    (void)snprintf(inputs->ms, sizeof inputs->ms, "%lld", (long long)self->probe_timeout_ms);
    inputs->fields[0] = (struct runner_field){"probe", self->probe};
    inputs->fields[1] = (struct runner_field){"probeUid", inputs->uid};
    inputs->fields[2] = (struct runner_field){"probeTimeoutMs", inputs->ms};
    inputs->fields[3] = (struct runner_field){"landlock", self->landlock};
    inputs->fields[4] = (struct runner_field){"seccomp", self->seccomp};
}

/* Of another kernel than is to be tried now it says nothing, nor of any when the tiny guest only ran. */
static bool recall(const struct ch *self, const struct scene *scene, const struct kernel *kernel, struct verdict *ret)
{
    const struct json *kept = scene->kept;
    auto_free char *line = mem_printf("cloud-hypervisor %s", json_text(kept, "version", ""));
    struct inputs inputs;
    struct verdict verdict = {.facts = {.is_known = true}};
    const char *tried;
    int64_t age_ms;

    inputs_get(self, &inputs);
    if (!verdict_recall(scene, inputs.fields, INPUTS) || !check_parse_version(line, &verdict.facts) ||
        check_version(self, &verdict.facts, NULL) < 0)
        return false;
    verdict.has_kvm = json_bool(kept, "kvmWorks", false);
    age_ms = num_wall_ms() - json_int(kept, "triedAtMs", 0);
    if (!verdict.has_kvm && (age_ms < 0 || age_ms > REFUSE_MS))
        return false;
    verdict.facts.has_landlock = json_bool(kept, "landlockWorks", false);
    tried = json_text(kept, "kernel", "");
    if (kernel->path != NULL && (verdict.has_kvm || tried[0] != '\0') && strcmp(tried, kernel->path) != 0)
        return false;
    SET_TEXT(verdict.reason, "%s", json_text(kept, "reason", ""));
    SET_TEXT(verdict.unlocked, "%s", json_text(kept, "landlockReason", ""));
    *ret = verdict;
    return true;
}

static void keep(struct ch *self, struct runner_call *call, const struct scene *scene, const struct verdict *verdict)
{
    auto_str struct str s = STR_INIT;
    struct inputs inputs;

    inputs_get(self, &inputs);
    verdict_begin(scene, inputs.fields, INPUTS, &s);
    json_add_int(&s, "triedAtMs", num_wall_ms());
    json_add_text(&s, "version", verdict->facts.version);
    json_add_bool(&s, "kvmWorks", verdict->has_kvm);
    json_add_text(&s, "reason", verdict->reason);
    json_add_text(&s, "kernel", verdict->kernel);
    json_add_bool(&s, "landlockWorks", verdict->facts.has_landlock);
    json_add_text(&s, "landlockReason", verdict->unlocked);
    verdict_keep(self->host, call, scene, &s);
}

static int judge(struct ch *self, struct runner_call *call, bool is_anew, struct verdict *ret, struct runner_error *err)
{
    CLEANUP(scene_done) struct scene scene = {0};
    CLEANUP(kernel_done) struct kernel kernel = {0};

    if (scene_look(self->host, call, "cloud-hypervisor", self->binary, &scene, err) < 0)
        return -1;
    if (scene.has_kvm_device && strcmp(self->probe, "kernel") == 0 &&
        kernel_find(self->host, call, self->probe_kernel, self->probe_initramfs, &kernel, err) < 0)
        return -1;
    if (!is_anew && recall(self, &scene, &kernel, ret))
        return 0;
    if (try_all(self, call, &scene, &kernel, ret, err) < 0)
        return -1;
    if (ret->has_kvm || ret->was_slow) /* else what is wrong may be mended, and is found out again at once */
        keep(self, call, &scene, ret);
    return check_over(self, call, err); /* keeping it may have been what was cancelled */
}

/* ---- what is said of it ---- */

static const char *accel_reason(const struct ch *self, const struct verdict *verdict)
{
    if (!verdict->has_kvm)
        return verdict->reason;
    return strcmp(self->probe, "none") == 0 ? "not tried (probe: none)" : "it ran a guest";
}

static void log_choice(struct ch *self, struct runner_call *call, const struct verdict *verdict)
{
    struct runner_field fields[] = {{"vmm", "cloud-hypervisor"},
                                    {"version", verdict->facts.version},
                                    {"accel", verdict->has_kvm ? "kvm" : "none"},
                                    {"reason", accel_reason(self, verdict)},
                                    {"landlock", verdict->facts.has_landlock ? "yes" : "no"}};

    self->host->log(call, RUNNER_LOG_INFO, "vmm.accel", fields, ARRAY_LEN(fields));
}

static void log_unlocked(struct ch *self, struct runner_call *call, const char *reason)
{
    struct runner_field fields[] = {{"vmm", "cloud-hypervisor"}, {"reason", reason}};

    self->host->log(call, RUNNER_LOG_WARN, "vmm.no_landlock", fields, ARRAY_LEN(fields));
}

static bool facts_get(struct ch *self, struct ch_facts *ret)
{
    pthread_mutex_lock(&self->lock);
    *ret = self->facts;
    pthread_mutex_unlock(&self->lock);
    return ret->is_known;
}

void check_no_landlock(struct ch *self, struct runner_call *call, const char *reason)
{
    bool is_news;

    pthread_mutex_lock(&self->lock);
    is_news = self->facts.has_landlock;
    self->facts.has_landlock = false;
    pthread_mutex_unlock(&self->lock);
    if (is_news)
        log_unlocked(self, call, reason);
}

/* What the configuration insists on, and what there is. */
static int check_verdict(struct ch *self, const struct verdict *verdict, struct runner_error *err)
{
    if (!verdict->has_kvm)
        return fail(err, RUNNER_E_NOTSUP, 0, "KVM runs no guest here: %s", verdict->reason);
    if (strcmp(self->landlock, "on") == 0 && !verdict->facts.has_landlock)
        return fail(err, RUNNER_E_NOTSUP, 0, "landlock: on, but it does not work here: %s", verdict->unlocked);
    return 0;
}

int check_choose(struct ch *self, struct runner_call *call, bool is_again, struct runner_error *err)
{
    struct ch_facts facts;
    struct verdict verdict;
    bool is_news;

    if (facts_get(self, &facts) && !is_again)
        return 0;
    if (judge(self, call, false, &verdict, err) < 0)
        return -1;
    is_news = !facts.is_known || !verdict.has_kvm || strcmp(facts.version, verdict.facts.version) != 0;
    if (!is_news)
        verdict.facts.has_landlock = verdict.facts.has_landlock && facts.has_landlock; /* check_no_landlock() knows better */
    if (is_news)
        log_choice(self, call, &verdict);
    if (check_verdict(self, &verdict, err) < 0)
        return -1;
    if (is_news && !verdict.facts.has_landlock && strcmp(self->landlock, "off") != 0)
        log_unlocked(self, call, verdict.unlocked);
    pthread_mutex_lock(&self->lock);
    self->facts = verdict.facts;
    pthread_mutex_unlock(&self->lock);
    return 0;
}

int check_try(struct ch *self, struct runner_call *call, struct verdict *ret, struct runner_error *err)
{
    return judge(self, call, true, ret, err);
}

int check_facts(struct ch *self, struct runner_call *call, struct ch_facts *ret, struct runner_error *err)
{
    if (facts_get(self, ret))
        return 0;
    if (check_choose(self, call, false, err) < 0)
        return -1;
    (void)facts_get(self, ret);
    return 0;
}
