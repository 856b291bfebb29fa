/* runnerctl ls, version */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/ctl/ctl.h"
#include "core/ctl/list.h"
#include "core/ctl/output.h"
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

void list_add_number(struct table *t, const struct json *sandbox, const char *key)
{
    const struct json *j = json_get(sandbox, key);

    if (j != NULL && (j->type == JSON_INT || j->type == JSON_DOUBLE))
        table_addf(t, "%.6g", j->real);
    else
        table_add(t, NULL);
}

/* What is on its way says what it is at: "creating:ready". */
static void add_state(struct table *t, const struct json *sandbox)
{
    const char *state = json_text(sandbox, "state", NULL), *phase = json_text(sandbox, "phase", NULL);
    auto_free char *both = state != NULL && phase != NULL ? mem_printf("%s:%s", state, phase) : NULL;

    table_add_state(t, both != NULL ? both : state);
}

static void add_row(struct table *t, const struct json *sandbox)
{
    const char *name = json_text(sandbox, "name", NULL);
    auto_str struct str age = STR_INIT;

    table_add(t, json_text(sandbox, "id", NULL));
    table_add(t, name != NULL && strcmp(name, json_text(sandbox, "id", "")) == 0 ? NULL : name);
    add_state(t, sandbox);
    table_add(t, json_text(sandbox, "snapshot", NULL));
    list_add_number(t, sandbox, "cpus");
    list_add_number(t, sandbox, "memoryGiB");
    list_add_number(t, sandbox, "diskGiB");
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
