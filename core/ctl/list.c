/* runnerctl ls, info, version */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/ctl/ctl.h"
#include "core/ctl/list.h"
#include "core/ctl/output.h"
#include "core/ctl/quote.h"
#include "core/ctl/table.h"

int list_fetch(struct ctl *ctl, const char *query, struct client_reply *ret, struct json **ret_tree,
               const struct json **ret_first)
{
    auto_free char *path = mem_printf("/sandboxes%s", query);
    const struct json *list;
    int code = ctl_request(ctl, "GET", path, NULL, ret, ret_tree);

    if (code != CTL_OK)
        return code;
    list = json_get(*ret_tree, "sandboxes");
    if (list == NULL || list->type != JSON_ARRAY)
        return ctl_fail(ctl, CTL_FAILED, "the runner's reply makes no sense: it has no list \"sandboxes\"");
    for (const struct json *j = list->first; j != NULL; j = j->next)
        if (json_text(j, "id", NULL) == NULL)
            return ctl_fail(ctl, CTL_FAILED, "the runner's reply makes no sense: a sandbox without \"id\"");
    *ret_first = list->first;
    return CTL_OK;
}

static void add_number(struct table *t, const struct json *sandbox, const char *key)
{
    const struct json *j = json_get(sandbox, key);

    if (j != NULL && j->type == JSON_INT)
        table_addf(t, "%lld", (long long)j->number);
    else
        table_add(t, NULL);
}

static void add_row(struct table *t, const struct json *sandbox)
{
    const char *name = json_text(sandbox, "name", NULL);
    auto_str struct str age = STR_INIT;

    table_add(t, json_text(sandbox, "id", NULL));
    table_add(t, name != NULL && strcmp(name, json_text(sandbox, "id", "")) == 0 ? NULL : name);
    table_add_state(t, json_text(sandbox, "state", NULL));
    table_add(t, json_text(sandbox, "snapshot", NULL));
    add_number(t, sandbox, "cpus");
    add_number(t, sandbox, "memoryGiB");
    add_number(t, sandbox, "diskGiB");
    table_add(t, json_text(sandbox, "address", NULL));
    output_add_age(&age, json_text(sandbox, "createdAt", NULL), (int64_t)time(NULL));
    table_add(t, str_text(&age));
}

static int print_list(struct ctl *ctl, const struct json *first)
{
    static const struct table_column columns[] = {{"ID", false},       {"NAME", false},    {"STATE", false},
                                                  {"SNAPSHOT", false}, {"CPUS", true},     {"MEM GIB", true},
                                                  {"DISK GIB", true},  {"ADDRESS", false}, {"AGE", true}};
    auto_str struct str out = STR_INIT;
    auto_table struct table t;

    table_init(&t, columns, ARRAY_LEN(columns));
    for (const struct json *j = first; j != NULL; j = j->next)
        add_row(&t, j);
    table_print(&t, output_is_colour(), &out);
    return ctl_print(ctl, &out);
}

static int print_ids(struct ctl *ctl, const struct json *first)
{
    auto_str struct str out = STR_INIT;

    for (const struct json *j = first; j != NULL; j = j->next) {
        output_add_clean(&out, json_text(j, "id", ""), false);
        str_add_char(&out, '\n');
    }
    return ctl_print(ctl, &out);
}

int list_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words operands = {NULL, 0};
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    const struct json *first = NULL;
    bool is_quiet = false;
    const struct option_spec own[] = {{'q', "quiet", NULL, "print the ids alone", OPTION_FLAG, &is_quiet, 0, 0}};
    int code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 0, 0, &operands, NULL);

    if (code != CTL_GO_ON)
        return code;
    code = list_fetch(ctl, "", &reply, &tree, &first);
    if (code != CTL_OK)
        return code;
    if (ctl->is_json)
        return ctl_print_json(ctl, &reply);
    return is_quiet ? print_ids(ctl, first) : print_list(ctl, first);
}

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

/* Every member of the reply, in its order: what a later runner adds is shown as well. */
static void add_info(struct str *out, const struct json *tree, bool is_colour)
{
    size_t width = 0;

    for (const struct json *j = tree->first; j != NULL; j = j->next)
        width = strlen(j->key) > width ? strlen(j->key) : width;
    for (const struct json *j = tree->first; j != NULL; j = j->next) {
        auto_str struct str key = STR_INIT;
        const char *colour =
            strcmp(j->key, "state") == 0 && j->type == JSON_STRING ? table_state_colour(j->text) : NULL;
        if (j->type == JSON_NULL)
            continue;
        output_add_clean(&key, j->key, false);
        str_addf(out, "%-*s  ", (int)width, str_text(&key));
        if (is_colour && colour != NULL)
            str_addf(out, "\033[%sm", colour);
        add_value(out, j);
        str_add(out, is_colour && colour != NULL ? "\033[0m\n" : "\n");
    }
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
    add_info(&out, tree, output_is_colour());
    return ctl_print(ctl, &out);
}

int info_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words ids = {NULL, 0};
    int code = ctl_begin(ctl, argc, argv, NULL, 0, 1, SIZE_MAX, &ids, NULL), worst = CTL_OK;

    if (code != CTL_GO_ON)
        return code;
    if (ctl_check_ids(ctl, &ids) != CTL_OK)
        return CTL_USAGE;
    ctl->is_many = ids.n > 1;
    for (size_t i = 0; i < ids.n && (worst == CTL_OK || worst == CTL_FAILED); i++) {
        ctl->subject = ids.ptr[i];
        code = info(ctl, ids.ptr[i], i == 0);
        worst = code > worst ? code : worst;
    }
    return worst;
}

int version_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words operands = {NULL, 0};
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    auto_str struct str out = STR_INIT;
    int code = ctl_begin(ctl, argc, argv, NULL, 0, 0, 0, &operands, NULL);

    if (code != CTL_GO_ON)
        return code;
    if (!ctl->is_json) {
        str_addf(&out, "runnerctl %s\n", PACKAGE_VERSION);
        code = ctl_print(ctl, &out);
        if (code != CTL_OK)
            return code;
        str_clear(&out);
    }
    code = ctl_request(ctl, "GET", "/", NULL, &reply, &tree);
    if (code != CTL_OK)
        return code;
    if (ctl->is_json)
        return ctl_print_json(ctl, &reply);
    str_add(&out, "runner-ch ");
    output_add_clean(&out, json_text(tree, "version", "of unknown version"), false);
    str_addf(&out, " at %s\n", client_address(ctl->client));
    return ctl_print(ctl, &out);
}
