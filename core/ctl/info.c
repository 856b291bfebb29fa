/* runnerctl info */
#include <string.h>

#include "core/ctl/ctl.h"
#include "core/ctl/list.h"
#include "core/ctl/output.h"
#include "core/ctl/quote.h"
#include "core/ctl/table.h"

int list_info(struct ctl *ctl, const char *id, struct client_reply *ret, struct json **ret_tree)
{
    auto_str struct str path = STR_INIT;
    int code;

    str_add(&path, "/sandboxes/");
    quote_url(&path, id);
    code = ctl_request(ctl, "GET", str_text(&path), NULL, ret, ret_tree);
    if (code == CTL_OK && json_text(*ret_tree, "state", NULL) == NULL)
        return ctl_fail(ctl, CTL_FAILED, "the runner's reply makes no sense: it has no \"state\"");
    return code;
}

static void add_value(struct str *out, const struct json *j)
{
    auto_str struct str raw = STR_INIT;

    if (j->type == JSON_STRING)
        str_add(&raw, j->text);
    else
        json_add_tree(&raw, NULL, j);
    output_add_clean(out, str_text(&raw), true);
}

/* What is shown in a way of its own, or says nothing. */
static bool is_left_out(const struct json *j)
{
    return j->type == JSON_NULL || strcmp(j->key, "serviceHealth") == 0 || strcmp(j->key, "metrics") == 0 ||
           strcmp(j->key, "capacity") == 0;
}

static size_t key_width(const struct json *tree)
{
    size_t width = 0;

    for (const struct json *j = tree->first; j != NULL; j = j->next)
        width = !is_left_out(j) && strlen(j->key) > width ? strlen(j->key) : width;
    return width;
}

/* Every member of the reply, in its order: what a later runner adds is shown as well. */
static void add_members(struct str *out, const struct json *tree, bool is_colour)
{
    int width = (int)key_width(tree);

    for (const struct json *j = tree->first; j != NULL; j = j->next) {
        auto_str struct str key = STR_INIT;
        const char *colour = NULL;
        if (is_left_out(j))
            continue;
        if (is_colour && strcmp(j->key, "state") == 0 && j->type == JSON_STRING)
            colour = table_state_colour(j->text);
        output_add_clean(&key, j->key, false);
        str_addf(out, "%-*s  ", width, str_text(&key));
        if (colour != NULL)
            str_addf(out, "\033[%sm", colour);
        add_value(out, j);
        str_add(out, colour != NULL ? "\033[0m\n" : "\n");
    }
}

/* Memory and disk are bytes; what is not limited, or not known, is null. */
static void add_amount(struct table *t, const char *resource, const struct json *amount)
{
    bool is_bytes = strcmp(resource, "memory") == 0 || strcmp(resource, "disk") == 0;
    auto_str struct str text = STR_INIT;

    if (amount == NULL || amount->type != JSON_INT) {
        table_add(t, NULL);
        return;
    }
    if (is_bytes)
        output_add_size(&text, amount->number);
    else
        str_addf(&text, "%lld", (long long)amount->number);
    table_add(t, str_text(&text));
}

static void add_capacity(struct str *out, const struct json *capacity, bool is_colour)
{
    static const struct table_column columns[] = {
        {"HOST", false}, {"RESOURCE", false}, {"ALLOCATED", true}, {"LIMIT", true}, {"HOST HAS", true}};
    auto_table struct table t;

    table_init(&t, columns, ARRAY_LEN(columns));
    for (const struct json *j = capacity->first; j != NULL; j = j->next) {
        const char *resource = json_text(j, "resource", "");

        table_add(&t, json_text(j, "host", NULL));
        table_add(&t, resource);
        add_amount(&t, resource, json_get(j, "allocated"));
        add_amount(&t, resource, json_get(j, "limit"));
        add_amount(&t, resource, json_get(j, "has"));
    }
    table_print(&t, is_colour, out);
}

/* The runner's own GET /info: its members, its figures, what its hosts have room for and are made of. */
static void add_runner(struct str *out, const struct json *tree, bool is_colour)
{
    static const struct table_column columns[] = {{"SERVICE", false}, {"STATE", false}, {"PROBLEM", false}};
    const struct json *metrics = json_get(tree, "metrics"), *services = json_get(tree, "serviceHealth");
    const struct json *capacity = json_get(tree, "capacity");
    auto_table struct table t;

    add_members(out, tree, is_colour);
    if (metrics != NULL && metrics->type == JSON_OBJECT)
        add_members(out, metrics, is_colour);
    if (capacity != NULL && capacity->type == JSON_ARRAY)
        add_capacity(out, capacity, is_colour);
    table_init(&t, columns, ARRAY_LEN(columns));
    for (const struct json *j = services != NULL ? services->first : NULL; j != NULL; j = j->next) {
        table_add(&t, json_text(j, "serviceName", NULL));
        table_add(&t, json_bool(j, "healthy", false) ? "healthy" : "failing");
        table_add(&t, json_text(j, "errorReason", NULL));
    }
    table_print(&t, is_colour, out);
}

static int info_runner(struct ctl *ctl)
{
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    auto_str struct str out = STR_INIT;
    int code = ctl_request(ctl, "GET", "/info", NULL, &reply, &tree);

    if (code != CTL_OK)
        return code;
    if (tree->type != JSON_OBJECT)
        return ctl_fail(ctl, CTL_FAILED, "the runner's reply makes no sense: it is no object");
    if (ctl->is_json)
        return ctl_print_json(ctl, &reply);
    add_runner(&out, tree, output_is_colour());
    return ctl_print(ctl, &out);
}

static int info(struct ctl *ctl, const char *id, bool is_first)
{
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    auto_str struct str out = STR_INIT;
    int code = list_info(ctl, id, &reply, &tree);

    if (code != CTL_OK)
        return code;
    if (ctl->is_json)
        return ctl_print_json(ctl, &reply);
    if (!is_first)
        str_add_char(&out, '\n');
    if (json_get(tree, "id") == NULL)
        str_addf(&out, "%s:\n", id);
    add_members(&out, tree, output_is_colour());
    return ctl_print(ctl, &out);
}

int info_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words ids = {NULL, 0};
    int code = ctl_begin(ctl, argc, argv, NULL, 0, 0, SIZE_MAX, &ids, NULL), worst = CTL_OK;

    if (code != CTL_GO_ON)
        return code;
    if (ctl_check_ids(ctl, &ids) != CTL_OK)
        return CTL_USAGE;
    if (ids.n == 0)
        return info_runner(ctl);
    ctl->is_many = ids.n > 1;
    for (size_t i = 0; i < ids.n && (worst == CTL_OK || worst == CTL_FAILED); i++) {
        ctl->subject = ids.ptr[i];
        code = info(ctl, ids.ptr[i], i == 0);
        worst = code > worst ? code : worst;
    }
    return worst;
}
