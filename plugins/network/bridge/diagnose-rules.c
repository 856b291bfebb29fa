/* Whether the kernel takes the rules of a bridge, and what others say beside them. */
#include <string.h>

#include "plugins/network/bridge/bridges.h"
#include "plugins/network/bridge/diagnose.h"
#include "plugins/network/bridge/names.h"

/* A connection of nobody's is forgotten: the kernel knows how to find those of one address. */
static void say_connections(const struct look *look)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(look->call);
    struct runner_error err = ERROR_INIT;

    if (plan_cut(batch, "192.0.2.1", &err) == 0 && bridge_host->run(look->call, batch, &err) == 0)
        finding_say(&look->to, RUNNER_FINDING_OK, "connections", NULL, "those of a guest can be forgotten");
    else
        finding_say(&look->to, RUNNER_FINDING_WARN, "connections",
                    look_fix(&err, NULL, "modprobe -a nf_conntrack nf_conntrack_netlink"),
                    "those of a guest that is cut off stay in conntrack until they time out: %s", err.message);
}

/* The very rules of this bridge, checked by the kernel and not committed. */
bool look_at_rules(const struct look *look)
{
    auto_str struct str script = STR_INIT;
    struct runner_error err = ERROR_INIT;
    char mark[32];

    rules_script(look->b, "bridge", &script, mark);
    rules_script(look->b, "inet", &script, mark);
    if (RUN(look, str_text(&script), NULL, &err, "nft", "-c", "-f", "-") == 0) {
        finding_say(&look->to, RUNNER_FINDING_OK, "nftables", NULL, "the kernel takes the rules of bridge %s",
                    look->b->name);
        say_connections(look);
        return true;
    }
    finding_say(&look->to, RUNNER_FINDING_FAIL, "nftables",
                look_fix(&err, "apt-get install -y nftables", "modprobe -a nf_tables nft_ct nft_masq nft_connlimit"),
                "%s", err.message);
    return false;
}

/* ---- others ------------------------------------------------------------------------------------------------------ */

/* Of all chains of an answer. */
static bool has_chain(const struct json *chains, const char *family, const char *table, const char *name)
{
    for (const struct json *j = chains; j != NULL; j = j->next) {
        const struct json *chain = json_get(j, "chain");

        if (strcmp(json_text(chain, "family", ""), family) == 0 && strcmp(json_text(chain, "table", ""), table) == 0 &&
            strcmp(json_text(chain, "name", ""), name) == 0)
            return true;
    }
    return false;
}

/* Docker and ufw each write their own chains anew, and leave alone what is said where they want it said. */
static char *fix_for(const struct look *look, const struct json *chains, const char *family, const char *table,
                     const char *name)
{
    uint64_t there = names_bridges(look->b->names);
    bool is_ufw = has_chain(chains, family, table, "ufw-user-forward");
    struct str fix = STR_INIT;

    if (has_chain(chains, family, table, "DOCKER-USER"))
        name = "DOCKER-USER";
    for (unsigned i = 0; i < BRIDGES_MAX; i++) {
        char bridge[IFNAME_SIZE];

        bridges_name(look->b, i, bridge);
        if (!places_has(there, i))
            continue;
        str_add(&fix, i > 0 ? " && " : "");
        if (is_ufw)
            str_addf(&fix, "ufw route allow in on %s && ufw route allow out on %s", bridge, bridge);
        else
            str_addf(&fix, "nft insert rule %s %s %s iifname %s accept && nft insert rule %s %s %s oifname %s accept",
                     family, table, name, bridge, family, table, name, bridge);
    }
    return str_steal(&fix);
}

void look_at_others(const struct look *look)
{
    auto_free char *out = NULL;
    auto_json struct json *answer = NULL;
    struct runner_error err = ERROR_INIT;
    const struct json *chains;
    bool is_free = true;

    if (RUN(look, NULL, &out, &err, "nft", "-j", "list", "chains") < 0 ||
        json_parse(out, strlen(out), &answer, &err) < 0) {
        finding_say(&look->to, RUNNER_FINDING_SKIP, "firewall", NULL, "the rules of others are not known: %s",
                    err.message);
        return;
    }
    chains = json_get(answer, "nftables") != NULL ? json_get(answer, "nftables")->first : NULL;
    for (const struct json *j = chains; j != NULL; j = j->next) {
        const struct json *chain = json_get(j, "chain");
        const char *family = json_text(chain, "family", "inet"), *table = json_text(chain, "table", "filter");
        const char *name = json_text(chain, "name", "forward");
        auto_free char *fix = NULL;

        if (!firewall_drops(look->b, look->call, chain))
            continue;
        fix = fix_for(look, chains, family, table, name);
        finding_say(&look->to, RUNNER_FINDING_WARN, "firewall", fix,
                    "the chain '%s' of table '%s %s' drops what it does not accept: guests may not reach the outside",
                    name, family, table);
        is_free = false;
    }
    if (is_free)
        finding_say(&look->to, RUNNER_FINDING_OK, "firewall", NULL,
                    "no other chain drops forwarded packets by default");
}
