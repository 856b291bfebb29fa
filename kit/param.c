/* Parameters: what the descriptor says of them, and values that an instance is made with. */
#include "kit/param.h"

#include <string.h>

#include "core/value.h"
#include "kit/general.h"

enum { LONG_TEXT = 4000 };

/* ---- descriptor ---- */

static const char *line_fault(const char *text)
{
    if (text == NULL || text[0] == '\0')
        return "is missing";
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20)
            return "is more than one line";
    return NULL;
}

void point_docs(struct subject *s, const struct point *point)
{
    const struct plugin *plugin = s->plugin;

    (void)point;
    if (line_fault(plugin->desc.version) != NULL)
        flaw("the version %s", line_fault(plugin->desc.version));
    if (line_fault(plugin->desc.summary) != NULL)
        flaw("the summary %s", line_fault(plugin->desc.summary));
    for (uint32_t i = 0; i < plugin->desc.n_params; i++)
        if (line_fault(plugin->params[i].doc) != NULL)
            flaw("the doc of parameter '%s' %s", plugin->params[i].name, line_fault(plugin->params[i].doc));
}

static bool has_key(const char *dump, const char *key)
{
    auto_free char *line = mem_printf("\n%s=", key);

    return strstr(dump, line) != NULL;
}

void point_dump(struct subject *s, const struct point *point)
{
    auto_str struct str dump = STR_INIT;
    static const char *const keys[] = {"kind", "name", "version", "threads", "caps"};

    (void)point;
    loader_dump(s->plugin, &dump);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (!has_key(str_text(&dump), keys[i]))
            flaw("the dump has no %s", keys[i]);
    for (uint32_t i = 0; i < s->plugin->desc.n_params; i++) {
        auto_free char *key = mem_printf("param.%s.type", s->plugin->params[i].name);
        if (!has_key(str_text(&dump), key))
            flaw("the dump has no %s", key);
    }
}

/* ---- values ---- */

/* A copy of the values with that parameter's replaced; text NULL: left out. The caller frees the array alone. */
static struct runner_value *values_with(const struct subject *s, const struct runner_value *one, const char *name,
                                        size_t *ret_n)
{
    struct runner_value *values = mem_array(s->n_values + 1, sizeof *values);
    size_t n = 0;

    for (size_t i = 0; i < s->n_values; i++)
        if (strcmp(s->values[i].name, name) != 0)
            values[n++] = s->values[i];
    if (one != NULL)
        values[n++] = *one;
    *ret_n = n;
    return values;
}

/* An instance of these values, ended again. What a create() that failed leaves half-built is ended, as core does. */
static void create_with(struct subject *s, const struct runner_value *values, size_t n, struct trial *t)
{
    void *self = NULL;

    TRY(t, s->plugin->desc.create(values, n, &self, &t->err));
    if (self != NULL)
        s->plugin->desc.destroy(self);
    else if (t->status == 0)
        flaw("create: succeeds without an instance");
}

static void try_value(struct subject *s, const struct runner_param *param, const char *text, look_fn *look, void *arg)
{
    const struct op op = {.name = param->name};
    struct trial t = {.layout = TODAY};
    struct runner_value value;
    auto_free struct runner_value *values = NULL;
    size_t n;

    if (!value_parse(param, s->dir, text, &value))
        return; /* core does not let it pass */
    values = values_with(s, &value, param->name, &n);
    create_with(s, values, n, &t);
    if (t.status != 0)
        look(&op, &t, arg);
    free((char *)(uintptr_t)value.text);
}

static void try_bounds(struct subject *s, const struct runner_param *param, look_fn *look, void *arg)
{
    const int64_t numbers[] = {param->min, param->max, 0, 1, -1, INT64_MAX, INT64_MIN};

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        auto_str struct str text = STR_INIT;

        value_format(param->type, numbers[i], &text);
        try_value(s, param, str_text(&text), look, arg);
    }
}

static void try_texts(struct subject *s, const struct runner_param *param, look_fn *look, void *arg)
{
    auto_free char *text = mem_array(LONG_TEXT + 1, 1);
    static const char *const odd[] = {"", " ", "-", "/", "%n%s%p", "a=b", "\xc3\xa4", "none", "0", "..",
                                      "/nonexistent/x", "a/b", "255.255.255.255", "0.0.0.0/0", "x y\\z'\""};

    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        try_value(s, param, odd[i], look, arg);
    memset(text, 'x', LONG_TEXT);
    try_value(s, param, text, look, arg);
    for (size_t i = 0; i + 1 < LONG_TEXT; i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    try_value(s, param, text, look, arg);
}

static void try_left_out(struct subject *s, const struct runner_param *param, look_fn *look, void *arg)
{
    const struct op op = {.name = param->name};
    struct trial t = {.layout = TODAY};
    size_t n;
    auto_free struct runner_value *values = values_with(s, NULL, param->name, &n);

    create_with(s, values, n, &t);
    if (t.status != 0)
        look(&op, &t, arg);
}

const struct op general_values = {.name = "values"};

void general_try_values(struct subject *s, look_fn *look, void *arg)
{
    if (point_is_fatal(&general_values, AS_IS))
        return;
    for (uint32_t i = 0; i < s->plugin->desc.n_params; i++) {
        const struct runner_param *param = &s->plugin->params[i];

        if (param->type == RUNNER_T_INT || param->type == RUNNER_T_BYTES || param->type == RUNNER_T_MSEC)
            try_bounds(s, param, look, arg);
        else if (param->type == RUNNER_T_STRING && param->choices == NULL)
            try_texts(s, param, look, arg);
        for (size_t c = 0; param->choices != NULL && param->choices[c] != NULL; c++)
            try_value(s, param, param->choices[c], look, arg);
        if (param->type == RUNNER_T_BOOL) {
            try_value(s, param, "true", look, arg);
            try_value(s, param, "false", look, arg);
        }
        try_left_out(s, param, look, arg);
    }
}

static void look_refused(const struct op *op, const struct trial *t, void *arg)
{
    (void)arg;
    if (t->err.code != RUNNER_E_INVALID && t->err.code != RUNNER_E_NOTSUP && t->err.code != RUNNER_E_NOTFOUND)
        flaw("a value of '%s' is refused with code %s, not invalid: %s", op->name, error_name(t->err.code),
             t->err.message);
}

static void need_params(const struct subject *s)
{
    if (s->plugin->desc.n_params == 0)
        skip_point("it has no parameters");
}

void point_values(struct subject *s, const struct point *point)
{
    (void)point;
    need_params(s);
    general_try_values(s, look_refused, NULL);
}

/* Values that are found by name may come in any order. */
void point_order(struct subject *s, const struct point *point)
{
    auto_free struct runner_value *values = mem_array(s->n_values + 1, sizeof *values);
    struct trial t = {.layout = TODAY};

    (void)point;
    need_params(s);
    for (size_t i = 0; i < s->n_values; i++)
        values[s->n_values - 1 - i] = s->values[i];
    create_with(s, values, s->n_values, &t);
    if (t.status != 0)
        flaw("create fails when values come in another order: %s", t.err.message);
}

/* The defaults alone and what is required: what a short section in runner.yaml gives. */
void point_defaults(struct subject *s, const struct point *point)
{
    auto_free struct runner_value *values = mem_array(s->n_values + 1, sizeof *values);
    struct runner_value *own;
    size_t n = 0, n_own;
    struct runner_error err = ERROR_INIT;
    struct trial t = {.layout = TODAY};

    (void)point;
    need_params(s);
    if (subject_values(s->plugin, NULL, 0, s->dir, &own, &n_own, &err) < 0)
        stop_point("%s", err.message);
    for (size_t i = 0; i < n_own; i++)
        values[n++] = own[i];
    for (uint32_t p = 0; p < s->plugin->desc.n_params; p++)
        for (size_t i = 0; (s->plugin->params[p].flags & RUNNER_P_REQUIRED) && i < s->n_values && n <= s->n_values; i++)
            if (strcmp(s->values[i].name, s->plugin->params[p].name) == 0 && s->plugin->params[p].dflt == NULL)
                values[n++] = s->values[i];
    create_with(s, values, n, &t);
    if (t.status != 0)
        flaw("create fails with the defaults: %s", t.err.message);
    subject_values_free(own, n_own);
}
