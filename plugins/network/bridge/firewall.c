/* Others' rules that drop what guests send to the outside: Docker's, a firewall's. They are told, never changed. */
#include <string.h>

#include "core/util/json.h"
#include "plugins/network/bridge/bridges.h"
#include "plugins/network/bridge/names.h"

/* NULL in *ret_out: it could not say. */
static int run(struct runner_call *call, const char *const *argv, char **ret_out, struct runner_error *err)
{
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .flags = RUNNER_S_ANY_STATUS, .argv = argv};
    struct runner_batch *batch = bridge_host->batch_new(call);
    int index = bridge_host->add(batch, &step, err), r = -1;

    *ret_out = NULL;
    if (index >= 0 && bridge_host->run(call, batch, err) == 0) {
        const struct runner_result *result = bridge_host->result(batch, index);

        if (result->status == 0)
            *ret_out = mem_dup_n(result->out != NULL ? result->out : "", result->len);
        r = 0;
    }
    bridge_host->batch_free(batch);
    return r;
}
#define RUN(call, ret_out, err, ...) run(call, (const char *const[]){__VA_ARGS__, NULL}, ret_out, err)

/* A base chain that drops forwarded packets unless one of its rules accepts them. */
static bool is_dropping(const char *ours, const struct json *chain)
{
    return strcmp(json_text(chain, "hook", ""), "forward") == 0 &&
           strcmp(json_text(chain, "policy", ""), "drop") == 0 && strcmp(json_text(chain, "table", ""), ours) != 0;
}

/* Whether rules of the table, perhaps of a chain that this one jumps to, speak of each of our bridges or of their network:
 * then somebody thought of them. */
static bool is_thought_of(const struct bridge *b, struct runner_call *call, const char *family, const char *table)
{
    auto_free char *out = NULL;
    uint64_t there = names_bridges(b->names);

    if (RUN(call, &out, NULL, "nft", "list", "table", family, table) < 0 || out == NULL)
        return false;
    if (strstr(out, b->subnet) != NULL)
        return true;
    for (unsigned i = 0; i < BRIDGES_MAX; i++) {
        char name[IFNAME_SIZE];
        auto_free char *word = NULL;

        bridges_name(b, i, name);
        word = mem_printf("\"%s\"", name);
        if (places_has(there, i) && strstr(out, word) == NULL)
            return false;
    }
    return true;
}

bool firewall_drops(const struct bridge *b, struct runner_call *call, const struct json *chain)
{
    auto_str struct str ours = STR_INIT;

    rules_table(b, &ours);
    return is_dropping(str_text(&ours), chain) &&
           !is_thought_of(b, call, json_text(chain, "family", "inet"), json_text(chain, "table", "filter"));
}

int firewall_find(const struct bridge *b, struct runner_call *call, struct firewall *ret, struct runner_error *err)
{
    auto_free char *out = NULL;
    auto_json struct json *all = NULL;
    const struct json *list;

    *ret = (struct firewall){.chain = ""};
    if (RUN(call, &out, err, "nft", "-j", "list", "chains") < 0)
        return -1;
    if (out == NULL || json_parse(out, strlen(out), &all, NULL) < 0)
        return 0;
    list = json_get(all, "nftables");
    for (const struct json *j = list != NULL ? list->first : NULL; j != NULL; j = j->next) {
        const struct json *chain = json_get(j, "chain");

        if (!firewall_drops(b, call, chain))
            continue;
        (void)snprintf(ret->family, sizeof ret->family, "%s", json_text(chain, "family", "inet"));
        (void)snprintf(ret->table, sizeof ret->table, "%s", json_text(chain, "table", "filter"));
        (void)snprintf(ret->chain, sizeof ret->chain, "%s", json_text(chain, "name", "forward"));
        return 0;
    }
    return 0;
}
