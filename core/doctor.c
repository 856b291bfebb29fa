#include "core/doctor.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/fit.h"
#include "core/host.h"
#include "core/log.h"
#include "core/util/str.h"
#include "core/util/text.h"

enum { DOCTOR_FINE = 0, DOCTOR_FAILS = 1, DOCTOR_OPTIONS = 2 };

#define PART_MS 60000 /* for one plugin: a KVM that hangs is tried with several guests */

/* ---- findings --------------------------------------------------------------------------------------------------- */

static void keep(void *ctx, const struct runner_finding *finding)
{
    struct doctor *d = ctx;
    struct doctor_note *note;

    d->notes = mem_grow(d->notes, d->n + 1, sizeof *d->notes);
    note = &d->notes[d->n++];
    *note = (struct doctor_note){.host = d->host,
                                 .part = mem_dup(d->part),
                                 .level = finding->level,
                                 .topic = mem_dup(finding->topic),
                                 .text = mem_dup(finding->text),
                                 .fix = mem_dup(finding->fix)};
    if (note->level < RUNNER_FINDING_OK || note->level > RUNNER_FINDING_SKIP)
        note->level = RUNNER_FINDING_WARN;
}

static struct finding_sink sink_of(struct doctor *d)
{
    return (struct finding_sink){keep, d};
}

static void notes_done(struct doctor *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->notes[i].part);
        free(d->notes[i].topic);
        free(d->notes[i].text);
        free(d->notes[i].fix);
    }
    free(d->notes);
}

static bool has_failed_since(const struct doctor *d, size_t first)
{
    for (size_t i = first; i < d->n; i++)
        if (d->notes[i].level == RUNNER_FINDING_FAIL)
            return true;
    return false;
}

/* ---- being interrupted ------------------------------------------------------------------------------------------ */

static struct runner_call *volatile interruptible; /* what was tried is undone, then the looks end */
static volatile sig_atomic_t is_interrupted;

static void on_signal(int number)
{
    (void)number;
    is_interrupted = 1;
    if (interruptible != NULL)
        call_cancel(interruptible);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}; /* the second one kills */

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

/* ---- parts of a host -------------------------------------------------------------------------------------------- */

struct part { /* an instance of a plugin */
    struct host *host;
    struct instance *instance;
    char name[64]; /* "vmm/qemu" */
};

static int part_ask(const struct part *part, struct runner_call *call, const struct finding_sink *to,
                    struct runner_error *err)
{
    const struct runner_plugin *desc = &part->instance->plugin->desc;
    void *self = part->instance->self;
    int status = 0;

    instance_enter(part->instance);
    if (desc->diagnose != NULL)
        status = desc->diagnose(self, call, to->say, to->ctx, err);
    else if (desc->check != NULL)
        status = desc->check(self, call, err);
    instance_leave(part->instance);
    return status;
}

/* Whether nothing of it FAILs. */
static bool part_diagnose(struct doctor *d, const struct part *part)
{
    const struct runner_plugin *desc = &part->instance->plugin->desc;
    const char *topic = loader_kind_name(desc->kind);
    struct finding_sink to = sink_of(d);
    struct runner_error err = ERROR_INIT;
    struct runner_call call;
    size_t first = d->n;

    d->part = part->name;
    doctor_progress(d);
    call_init(&call, part->host, NULL, PART_MS);
    interruptible = &call;
    if (is_interrupted)
        call_cancel(&call);
    if (part_ask(part, &call, &to, &err) < 0)
        finding_say(&to, RUNNER_FINDING_FAIL, topic, NULL, "%s: %s", desc->name, err.message);
    else if (d->n == first)
        finding_say(&to, RUNNER_FINDING_OK, topic, NULL, "%s %s: %s", desc->name, desc->version, desc->summary);
    interruptible = NULL;
    call_done(&call);
    return !has_failed_since(d, first);
}

static struct part part_of(struct host *host, struct instance *instance)
{
    struct part part = {.host = host, .instance = instance};
    const struct runner_plugin *desc = &instance->plugin->desc;

    (void)snprintf(part.name, sizeof part.name, "%s/%s", loader_kind_name(desc->kind), desc->name);
    return part;
}

/* ---- a host ----------------------------------------------------------------------------------------------------- */

/* Looks that need no plugin but the transport. */
static void host_look(struct doctor *d, struct host *host)
{
    static void (*const looks[])(const struct look *) = {doctor_kernel, doctor_files, doctor_sandboxes, doctor_capacity,
                                                         doctor_process};

    for (size_t i = 0; i < ARRAY_LEN(looks) && !is_interrupted; i++) {
        struct runner_call call;
        struct look look = {host, &call, sink_of(d)};

        d->part = "host";
        doctor_progress(d);
        call_init(&call, host, NULL, PART_MS);
        interruptible = &call;
        looks[i](&look);
        interruptible = NULL;
        call_done(&call);
        doctor_print_new(d);
    }
}

/* ---- which VMM -------------------------------------------------------------------------------------------------- */

/* Of candidates one is enough. */
static void soften_since(struct doctor *d, size_t first)
{
    for (size_t i = first; i < d->n; i++)
        if (d->notes[i].level == RUNNER_FINDING_FAIL)
            d->notes[i].level = RUNNER_FINDING_WARN;
}

static uint64_t caps_needed(const struct host *host)
{
    bool is_user_nic = host_plugin(host, RUNNER_NETWORK)->desc.caps & RUNNER_NETWORK_CAP_USER_NIC;

    return is_user_nic ? RUNNER_VMM_CAP_USER_NETWORK : 0;
}

/* Whether it could run this host's sandboxes. */
static bool vmm_diagnose(struct doctor *d, const struct part *part)
{
    const struct runner_plugin *desc = &part->instance->plugin->desc;
    struct finding_sink to = sink_of(d);
    bool works = part_diagnose(d, part);

    if ((desc->caps & caps_needed(part->host)) == caps_needed(part->host))
        return works;
    finding_say(&to, RUNNER_FINDING_FAIL, "vmm-network", NULL, "%s has no part in the network %s", desc->name,
                host_plugin(part->host, RUNNER_NETWORK)->desc.name);
    return false;
}

static void host_vmms(struct doctor *d, struct host *host)
{
    const struct instance *chosen = NULL;
    auto_str struct str others = STR_INIT;
    struct finding_sink to = sink_of(d);
    size_t first = d->n;

    for (struct instance *i = host->instances[RUNNER_VMM]; i != NULL && !is_interrupted; i = i->next) {
        struct part part = part_of(host, i);

        if (vmm_diagnose(d, &part)) {
            chosen = chosen != NULL ? chosen : i;
            continue;
        }
        str_addf(&others, "%s%s", others.len > 0 ? ", " : "", i->plugin->desc.name);
    }
    d->part = "host";
    if (is_interrupted)
        return;
    if (chosen == NULL) {
        finding_say(&to, RUNNER_FINDING_FAIL, "vmm", NULL, "none works: %s", str_text(&others));
        return;
    }
    soften_since(d, first);
    finding_say(&to, RUNNER_FINDING_OK, "vmm", NULL, "%s runs new sandboxes%s%s%s", chosen->plugin->desc.name,
                others.len > 0 ? "; does not work: " : "", str_text(&others), others.len > 0 ? ", see above" : "");
}

static void ipam_fits(struct doctor *d, struct host *host)
{
    struct finding_sink to = sink_of(d);
    struct runner_error err = ERROR_INIT;
    struct runner_call call;

    call_init(&call, host, NULL, PART_MS);
    interruptible = &call;
    if (fit_network(host, &call, &err) < 0)
        finding_say(&to, RUNNER_FINDING_FAIL, "gateway", NULL, "%s", err.message);
    else
        finding_say(&to, RUNNER_FINDING_OK, "gateway", NULL, "%s takes what is leased",
                    host_plugin(host, RUNNER_NETWORK)->desc.name);
    interruptible = NULL;
    call_done(&call);
}

static void host_plugins(struct doctor *d, struct host *host)
{
    static const uint32_t kinds[] = {RUNNER_DISK, RUNNER_NETWORK, RUNNER_IPAM, RUNNER_STORAGE};

    host_vmms(d, host);
    doctor_print_new(d);
    for (size_t i = 0; i < ARRAY_LEN(kinds) && !is_interrupted; i++)
        if (host->instances[kinds[i]] != NULL) {
            struct part part = part_of(host, host->instances[kinds[i]]);

            (void)part_diagnose(d, &part);
            if (kinds[i] == RUNNER_IPAM)
                ipam_fits(d, host);
            doctor_print_new(d);
        }
}

/* ---- all of a host ---------------------------------------------------------------------------------------------- */

static void host_diagnose(struct doctor *d, const struct config_host *config)
{
    auto_free char *title = mem_printf("host %s: %s", config->name, config->root);
    auto_host struct host *host = NULL;
    struct finding_sink to = sink_of(d);
    struct runner_error err = ERROR_INIT;
    struct part transport;

    d->host = config->name;
    d->part = "host";
    doctor_print_head(d, title);
    if (host_new(config, &host, &err) < 0) {
        finding_say(&to, RUNNER_FINDING_FAIL, "configuration", NULL, "%s", err.message);
        doctor_print_new(d);
        return;
    }
    transport = part_of(host, host->instances[RUNNER_TRANSPORT]);
    if (!part_diagnose(d, &transport)) {
        finding_say(&to, RUNNER_FINDING_SKIP, "host", NULL, "nothing else of it was looked at: its transport fails");
        doctor_print_new(d);
        return;
    }
    doctor_print_new(d);
    host_look(d, host);
    host_plugins(d, host);
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

static void refuse_config(struct doctor *d, const char *messages)
{
    struct finding_sink to = sink_of(d);

    for (const char *line = messages; *line != '\0';) {
        int len = (int)strcspn(line, "\n");
        finding_say(&to, RUNNER_FINDING_FAIL, "configuration", NULL, "%.*s", len, line);
        line += len + (line[len] == '\n');
    }
}

static bool has_host(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->n_hosts; i++)
        if (strcmp(config->hosts[i].name, name) == 0)
            return true;
    return false;
}

static void diagnose_all(struct doctor *d, const struct config *config)
{
    const char *only = d->options->host;
    struct finding_sink to = sink_of(d);

    finding_say(&to, RUNNER_FINDING_OK, "configuration", NULL, "%s",
                config->path != NULL ? config->path : "no file: defaults and environment");
    doctor_runner(config, &to);
    doctor_print_new(d);
    for (size_t i = 0; i < config->n_hosts && !is_interrupted; i++)
        if (only == NULL || strcmp(config->hosts[i].name, only) == 0)
            host_diagnose(d, &config->hosts[i]);
}

int doctor_main(const struct doctor_options *options)
{
    struct doctor d = {.options = options, .part = "runner"};
    auto_config struct config *config = NULL;
    auto_str struct str messages = STR_INIT;
    bool is_bad;

    log_setup(RUNNER_LOG_ERROR, false); /* what plugins tell of their work is said here in other words */
    if (config_load(options->load, &config, &messages) == 0 && options->host != NULL &&
        !has_host(config, options->host)) {
        fprintf(stderr, "runner-ch: doctor: no host '%s' in the configuration\n", options->host);
        return DOCTOR_OPTIONS;
    }
    catch_signals();
    doctor_print_begin(&d);
    if (config == NULL)
        refuse_config(&d, str_text(&messages));
    else
        diagnose_all(&d, config);
    doctor_print_new(&d);
    doctor_print_end(&d);
    is_bad = d.n_levels[RUNNER_FINDING_FAIL] > 0 || is_interrupted;
    notes_done(&d);
    return is_bad ? DOCTOR_FAILS : DOCTOR_FINE;
}
