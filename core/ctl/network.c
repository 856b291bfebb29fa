/* runnerctl network */
#include <string.h>

#include "core/ctl/network.h"
#include "core/ctl/output.h"
#include "core/ctl/quote.h"

void network_specs(struct network_options *o, struct option_spec ret[NETWORK_OPTIONS])
{
    const struct option_spec specs[NETWORK_OPTIONS] = {
        {0, "allow", "CIDR,...", "only these IPv4 networks, at most 10", OPTION_TEXT, &o->allow, 0, 0},
        {0, "domains", "NAME,...", "only what these names stand for, at most 10; *.NAME: all below", OPTION_TEXT,
         &o->domains, 0, 0},
        {0, "block", NULL, "nothing outside at all", OPTION_FLAG, &o->is_block, 0, 0},
        {0, "open", NULL, "all that the runner's own settings let it reach", OPTION_FLAG, &o->is_open, 0, 0},
    };

    memcpy(ret, specs, sizeof specs);
}

bool network_is_given(const struct network_options *o)
{
    return o->is_block || o->is_open || o->allow != NULL || o->domains != NULL;
}

int network_check(const struct ctl *ctl, const struct network_options *o)
{
    bool has_list = o->allow != NULL || o->domains != NULL;

    if (o->is_block + o->is_open + has_list > 1)
        return ctl_fail(ctl, CTL_USAGE, "of --block, --open, and --allow with --domains only one is possible");
    return CTL_OK;
}

void network_add(const struct network_options *o, struct str *out)
{
    if (!network_is_given(o))
        return;
    json_add_bool(out, "networkBlockAll", o->is_block);
    json_add_text(out, "networkAllowList", o->allow != NULL ? o->allow : "");
    json_add_text(out, "domainAllowList", o->domains != NULL ? o->domains : "");
}

/* ---- the command ---- */

static void add_line(struct str *out, const char *name, const char *value)
{
    str_addf(out, "%-9s  ", name);
    output_add_clean(out, value[0] != '\0' ? value : "-", false);
    str_add_char(out, '\n');
}

static void add_settings(struct str *out, const struct json *tree)
{
    const char *cidrs = json_text(tree, "networkAllowList", ""), *domains = json_text(tree, "domainAllowList", "");
    bool is_blocked = json_bool(tree, "networkBlockAll", false);

    add_line(out, "reaches",
             is_blocked                               ? "nothing"
             : cidrs[0] == '\0' && domains[0] == '\0' ? "everything"
                                                      : "what is listed");
    add_line(out, "networks", cidrs);
    add_line(out, "domains", domains);
    add_line(out, "limited", json_bool(tree, "networkLimitEgress", false) ? "yes" : "no");
    add_line(out, "enforced", json_bool(tree, "isEnforced", false) ? "yes" : "no");
}

static int show(struct ctl *ctl, const char *path)
{
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    auto_str struct str out = STR_INIT;
    int code = ctl_request(ctl, "GET", path, NULL, &reply, &tree);

    if (code != CTL_OK)
        return code;
    if (tree->type != JSON_OBJECT)
        return ctl_fail(ctl, CTL_FAILED, "the runner's reply makes no sense: it is no object");
    if (ctl->is_json)
        return ctl_print_json(ctl, &reply);
    add_settings(&out, tree);
    return ctl_print(ctl, &out);
}

static int set(struct ctl *ctl, const char *path, const struct network_options *o)
{
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    auto_str struct str body = STR_INIT, out = STR_INIT;
    int code;

    json_open(&body, NULL, '{');
    network_add(o, &body);
    json_close(&body, '}');
    code = ctl_request(ctl, "POST", path, str_text(&body), &reply, &tree);
    if (code != CTL_OK)
        return code;
    if (ctl->is_json)
        return ctl_print_json(ctl, &reply);
    str_addf(&out, "%s\n", ctl->subject);
    return ctl_print(ctl, &out);
}

static int run(struct ctl *ctl, const struct network_options *o, const char *id)
{
    auto_str struct str path = STR_INIT;
    int code;

    if (network_check(ctl, o) != CTL_OK || ctl_check_id(ctl, id) != CTL_OK)
        return CTL_USAGE;
    str_add(&path, "/sandboxes/");
    quote_url(&path, id);
    str_add(&path, "/network-settings");
    ctl->subject = id;
    code = network_is_given(o) ? set(ctl, str_text(&path), o) : show(ctl, str_text(&path));
    ctl->subject = NULL;
    return code;
}

int network_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words operands = {NULL, 0};
    struct network_options o = {.allow = NULL};
    struct option_spec own[NETWORK_OPTIONS];
    int code;

    network_specs(&o, own);
    code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 1, 1, &operands, NULL);
    return code == CTL_GO_ON ? run(ctl, &o, operands.ptr[0]) : code;
}
