/* Points that every kind has: an instance's life, errors, secrets. */
#include "kit/general.h"

#include <string.h>

#include "kit/param.h"

/* ---- operations ---- */

bool general_always(const struct plugin *plugin)
{
    (void)plugin;
    return true;
}

bool general_has_check(const struct plugin *plugin)
{
    return plugin->desc.check != NULL;
}

/* Beside the instance that is there. What a create() that failed leaves half-built is ended, as core does. */
void general_create(struct subject *s, struct trial *t)
{
    void *self = NULL;

    TRY(t, s->plugin->desc.create(s->values, s->n_values, &self, &t->err));
    if (self != NULL)
        s->plugin->desc.destroy(self);
}

void general_check(struct subject *s, struct trial *t)
{
    TRY(t, s->plugin->desc.check(s->self, fake_call(), &t->err));
}

bool general_has_diagnose(const struct plugin *plugin)
{
    return plugin->desc.diagnose != NULL;
}

static bool is_line(const char *text)
{
    return text != NULL && text[0] != '\0' && strpbrk(text, "\n\r") == NULL;
}

static void take_finding(void *ctx, const struct runner_finding *finding)
{
    size_t len = finding->topic != NULL ? strlen(finding->topic) : 0;

    ++*(int *)ctx;
    if (len < 1 || len > 24 || strspn(finding->topic, "abcdefghijklmnopqrstuvwxyz0123456789-") != len)
        flaw("a finding's topic is '%s'", finding->topic);
    if (!is_line(finding->text) || (finding->fix != NULL && !is_line(finding->fix)))
        flaw("finding '%s' has a text or fix that is not one line", finding->topic);
    if (finding->level < RUNNER_FINDING_OK || finding->level > RUNNER_FINDING_SKIP)
        flaw("finding '%s' has the level %u", finding->topic, finding->level);
}

/* What fails in the host is a finding, and not a failure of diagnose. */
void general_diagnose(struct subject *s, struct trial *t)
{
    int n = 0;

    TRY(t, s->plugin->desc.diagnose(s->self, fake_call(), take_finding, &n, &t->err));
    if (t->status == 0 && n == 0)
        flaw("diagnose finds nothing to say");
}

/* ---- an instance's life ---- */

static void point_destroy_null(struct subject *s, const struct point *point)
{
    (void)point;
    s->plugin->desc.destroy(NULL);
}

static void look_at_nothing(const struct op *op, const struct trial *t, void *arg)
{
    (void)op, (void)t, (void)arg;
}

static void point_half_built(struct subject *s, const struct point *point)
{
    const struct op create = {.name = "create", .call = general_create};

    (void)point;
    op_sweep(s, &create, NOMEM, look_at_nothing, NULL);
    general_try_values(s, look_at_nothing, NULL);
}

static void point_many(struct subject *s, const struct point *point)
{
    void *selves[32];
    struct runner_error err = ERROR_INIT;

    (void)point;
    for (size_t i = 0; i < ARRAY_LEN(selves); i++) {
        selves[i] = NULL;
        if (s->plugin->desc.create(s->values, s->n_values, &selves[i], &err) != 0)
            flaw("create number %zu fails: %s", i + 1, err.message);
    }
    for (size_t i = 0; i < ARRAY_LEN(selves); i++)
        if (selves[i] != NULL)
            s->plugin->desc.destroy(selves[i]);
}

void general_add_first(struct checklist *list)
{
    checklist_add(list, "docs", "version, summary and each parameter are documented in one line", point_docs);
    checklist_add(list, "dump", "--dump-plugin shows all of it", point_dump);
    checklist_add(list, "params.defaults", "create takes the defaults", point_defaults);
    checklist_add(list, "params.order", "create finds values by their names", point_order);
    checklist_add(list, "destroy.null", "destroy takes NULL", point_destroy_null);
    checklist_add(list, "destroy.half-built", "destroy takes what a create that failed left", point_half_built);
    checklist_last_is_about(list, &general_values);
    checklist_add(list, "params.values", "create takes odd values or refuses them with INVALID", point_values);
    checklist_add(list, "create.many", "instances live beside each other", point_many);
}

/* ---- errors ---- */

static void look_code(const struct op *op, const struct trial *t, void *arg)
{
    (void)arg;
    if (t->status != 0 && t->status != -1)
        flaw("%s returns %d %s", op->name, t->status, fault_text(t));
    if (t->status == -1 && error_code_fault(&t->err) != NULL)
        flaw("%s fails with %s (%d) %s", op->name, error_code_fault(&t->err), t->err.code, fault_text(t));
    if (t->err.size != sizeof t->err)
        flaw("%s changes the size of the error %s", op->name, fault_text(t));
}

static void look_message(const struct op *op, const struct trial *t, void *arg)
{
    (void)arg;
    if (t->status == -1 && error_message_fault(&t->err) != NULL)
        flaw("%s fails with %s %s: '%.*s'", op->name, error_message_fault(&t->err), fault_text(t), 200, t->err.message);
}

static void point_error_codes(struct subject *s, const struct point *point)
{
    (void)point;
    op_sweep_all(s, look_code, NULL);
    general_try_values(s, look_code, NULL);
}

static void point_error_messages(struct subject *s, const struct point *point)
{
    (void)point;
    op_sweep_all(s, look_message, NULL);
    general_try_values(s, look_message, NULL);
}

/* ---- secrets ---- */

struct secrets {
    struct subject *subject;
    char **words;
    size_t n;
};

static void look_secret_in(const struct secrets *secrets, const char *op, const char *what, const char *text)
{
    for (size_t i = 0; i < secrets->n; i++)
        if (strstr(text, secrets->words[i]) != NULL)
            flaw("%s shows a secret in %s", op, what);
}

static void look_secret(const struct op *op, const struct trial *t, void *arg)
{
    const struct secrets *secrets = arg;
    const struct runner_vmm_ops *vmm = secrets->subject->plugin->desc.ops;
    char text[256] = "";

    look_secret_in(secrets, op->name, "its message", t->err.message);
    look_secret_in(secrets, op->name, "the log", fake_host_log());
    look_secret_in(secrets, op->name, "a step", fake_host_added());
    if (secrets->subject->plugin->desc.kind == RUNNER_VMM && secrets->subject->self != NULL &&
        vmm->describe(secrets->subject->self, text, sizeof text) == 0)
        look_secret_in(secrets, "describe", "its text", text);
    fake_host_forget();
}

static void point_secrets(struct subject *s, const struct point *point)
{
    struct secrets secrets = {.subject = s};

    (void)point;
    for (uint32_t p = 0; p < s->plugin->desc.n_params; p++)
        for (size_t i = 0; (s->plugin->params[p].flags & RUNNER_P_SECRET) && i < s->n_values; i++)
            if (strcmp(s->values[i].name, s->plugin->params[p].name) == 0 && s->values[i].text[0] != '\0') {
                secrets.words = mem_grow(secrets.words, secrets.n + 1, sizeof *secrets.words);
                secrets.words[secrets.n++] = mem_dup(s->values[i].text);
            }
    if (secrets.n == 0)
        skip_point("no parameter is a secret");
    fake_host_keep_added(true);
    op_sweep_all(s, look_secret, &secrets);
    general_try_values(s, look_secret, &secrets);
}

void general_add_last(struct checklist *list, uint32_t kind)
{
    checklist_add(list, "errors.code", "what fails returns -1 and says a code", point_error_codes);
    checklist_add(list, "errors.message", "what fails says why in one line", point_error_messages);
    checklist_add(list, "secrets", "secrets are in no message, log line or step", point_secrets);
    if (kind != RUNNER_TRANSPORT)
        checklist_add(list, "hands-off", "it opens and makes nothing itself: its host may be another machine",
                      point_hands_off);
    checklist_add(list, "memory", "memory does not grow with the number of calls", point_memory);
    checklist_add(list, "descriptors", "file descriptors do not grow with the number of calls", point_descriptors);
    checklist_add(list, "threads", "threads do not grow with the number of calls", point_threads);
}
