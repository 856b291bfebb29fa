#include "core/ctl/options.h"

#include <string.h>

#include "core/util/num.h"
#include "core/util/text.h"

#define OPTIONS_MAX 48

struct cursor {
    const struct options *options;
    int argc, at;
    char **argv;
};

void words_add(struct words *w, const char *word)
{
    w->ptr = mem_grow(w->ptr, w->n + 1, sizeof *w->ptr);
    w->ptr[w->n++] = word;
}

void words_done(struct words *w)
{
    free(w->ptr);
    *w = (struct words){NULL, 0};
}

static size_t options_count(const struct options *o)
{
    return o->n_own + o->n_common;
}

static const struct option_spec *options_at(const struct options *o, size_t i)
{
    return i < o->n_own ? &o->own[i] : &o->common[i - o->n_own];
}

static const struct option_spec *find_long(const struct options *o, const char *name, size_t len)
{
    for (size_t i = 0; i < options_count(o); i++) {
        const struct option_spec *spec = options_at(o, i);
        if (strlen(spec->name) == len && memcmp(spec->name, name, len) == 0)
            return spec;
    }
    return NULL;
}

static const struct option_spec *find_letter(const struct options *o, char letter)
{
    for (size_t i = 0; i < options_count(o); i++)
        if (options_at(o, i)->letter == letter)
            return options_at(o, i);
    return NULL;
}

static int unknown(const struct options *o, const char *name, size_t len, struct runner_error *err)
{
    const char *names[OPTIONS_MAX];
    auto_free char *word = mem_dup_n(name, len);
    const char *nearest;
    size_t n = 0;

    for (size_t i = 0; i < options_count(o) && n < OPTIONS_MAX; i++)
        names[n++] = options_at(o, i)->name;
    nearest = text_nearest(word, names, n);
    if (nearest != NULL)
        return fail(err, RUNNER_E_INVALID, 0, "unknown option --%s (did you mean --%s?)", word, nearest);
    return fail(err, RUNNER_E_INVALID, 0, "unknown option --%s", word);
}

static int store(const struct option_spec *spec, const char *value, struct runner_error *err)
{
    int64_t number = 0;

    switch (spec->kind) {
    case OPTION_FLAG:
        *(bool *)spec->to = true;
        return 0;
    case OPTION_TEXT:
        *(const char **)spec->to = value;
        return 0;
    case OPTION_WORDS:
        words_add(spec->to, value);
        return 0;
    case OPTION_INT:
        if (!num_int(value, spec->min, spec->max, &number))
            return fail(err, RUNNER_E_INVALID, 0, "--%s: '%s' is not a number from %lld to %lld", spec->name, value,
                        (long long)spec->min, (long long)spec->max);
        break;
    case OPTION_BYTES:
        if (!num_bytes(value, &number) || number < 1)
            return fail(err, RUNNER_E_INVALID, 0, "--%s: '%s' is not a size like 4096 or 64K", spec->name, value);
        break;
    case OPTION_MSEC:
        if (!num_msec(value, &number) || number < 1)
            return fail(err, RUNNER_E_INVALID, 0, "--%s: '%s' is not a time like 30s or 5m", spec->name, value);
        break;
    }
    *(int64_t *)spec->to = number;
    return 0;
}

/* The value behind an option: attached, or the next word. */
static int take_value(struct cursor *c, const struct option_spec *spec, const char *attached, struct runner_error *err)
{
    if (spec->kind == OPTION_FLAG) {
        if (attached != NULL)
            return fail(err, RUNNER_E_INVALID, 0, "--%s takes no value", spec->name);
        return store(spec, NULL, err);
    }
    if (attached == NULL) {
        if (c->at >= c->argc)
            return fail(err, RUNNER_E_INVALID, 0, "--%s needs a value: %s", spec->name, spec->arg);
        attached = c->argv[c->at++];
    }
    return store(spec, attached, err);
}

static int parse_long(struct cursor *c, const char *text, struct runner_error *err)
{
    size_t len = strcspn(text, "=");
    const struct option_spec *spec = find_long(c->options, text, len);

    if (spec == NULL)
        return unknown(c->options, text, len, err);
    return take_value(c, spec, text[len] == '=' ? text + len + 1 : NULL, err);
}

static int parse_letters(struct cursor *c, const char *text, struct runner_error *err)
{
    for (; *text != '\0'; text++) {
        const struct option_spec *spec = find_letter(c->options, *text);
        if (spec == NULL)
            return fail(err, RUNNER_E_INVALID, 0, "unknown option -%c", *text);
        if (spec->kind != OPTION_FLAG)
            return take_value(c, spec, text[1] != '\0' ? text + 1 : NULL, err);
        if (take_value(c, spec, NULL, err) < 0)
            return -1;
    }
    return 0;
}

static void take_all(struct cursor *c, struct words *to)
{
    while (c->at < c->argc)
        words_add(to, c->argv[c->at++]);
}

int options_parse(const struct options *o, int argc, char **argv, struct words *operands, struct words *rest,
                  struct runner_error *err)
{
    struct cursor c = {.options = o, .argc = argc, .argv = argv};

    while (c.at < argc) {
        const char *word = argv[c.at++];
        if (strcmp(word, "--") == 0) {
            take_all(&c, o->has_rest ? rest : operands);
        } else if (word[0] == '-' && word[1] == '-') {
            if (parse_long(&c, word + 2, err) < 0)
                return -1;
        } else if (word[0] == '-' && word[1] != '\0') {
            if (parse_letters(&c, word + 1, err) < 0)
                return -1;
        } else if (o->has_rest && operands->n == o->rest_after) {
            words_add(rest, word);
            take_all(&c, rest);
        } else {
            words_add(operands, word);
        }
    }
    return 0;
}

static void add_name(const struct option_spec *spec, struct str *out)
{
    if (spec->letter != 0)
        str_addf(out, "  -%c, --%s", spec->letter, spec->name);
    else
        str_addf(out, "      --%s", spec->name);
    if (spec->arg != NULL)
        str_addf(out, " %s", spec->arg);
}

void options_add_help(const struct options *o, struct str *out)
{
    size_t width = 0;

    for (size_t i = 0; i < options_count(o); i++) {
        auto_str struct str name = STR_INIT;
        add_name(options_at(o, i), &name);
        width = name.len > width ? name.len : width;
    }
    for (size_t i = 0; i < options_count(o); i++) {
        auto_str struct str name = STR_INIT;
        add_name(options_at(o, i), &name);
        str_addf(out, "%-*s  %s\n", (int)width, str_text(&name), options_at(o, i)->help);
    }
}
