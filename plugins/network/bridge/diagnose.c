/* What works of bridges, TAPs and rules on a host: each is tried under a name of its own, and gone again afterwards. */
#include <inttypes.h>
#include <string.h>

#include "core/util/finding.h"
#include "core/util/json.h"
#include "plugins/network/bridge/bridge.h"

#define AS_ROOT "systemctl enable --now runner-ch" /* which runs as root; by hand: sudo */

struct look {
    const struct bridge *b;
    struct runner_call *call;
    struct finding_sink to;
};

CLEANUP_DEFINE(cleanup_batch, struct runner_batch, bridge_host->batch_free)
#define auto_batch CLEANUP(cleanup_batch)

/* ---- single steps ----------------------------------------------------------------------------------------------- */

static const struct runner_result *do_step(const struct look *look, struct runner_batch *batch,
                                           const struct runner_step *step, struct runner_error *err)
{
    if (bridge_host->add(batch, step, err) < 0 || bridge_host->run(look->call, batch, err) < 0)
        return NULL;
    return bridge_host->result(batch, 0);
}

/* 0 and what it printed (the caller frees; ret_out may be NULL), or -1. */
static int run(const struct look *look, const char *const *argv, const char *input, char **ret_out,
               struct runner_error *err)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(look->call);
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_RUN,
                                     .argv = argv,
                                     .data = input,
                                     .len = input != NULL ? strlen(input) : 0};
    const struct runner_result *result = do_step(look, batch, &step, err);

    if (result == NULL)
        return -1;
    if (ret_out != NULL)
        *ret_out = mem_dup_n(result->out != NULL ? result->out : "", result->len);
    return 0;
}
#define RUN(look, input, ret_out, err, ...) run(look, (const char *const[]){__VA_ARGS__, NULL}, input, ret_out, err)

static bool is_there(const struct look *look, const char *path)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(look->call);
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = path};
    const struct runner_result *result = do_step(look, batch, &step, NULL);

    return result != NULL && result->status == 0;
}

/* The command for a failure of a program: it is not there, may not, or the kernel lacks a module. */
static const char *fix_of(const struct runner_error *err, const char *package, const char *module)
{
    if (err->code == RUNNER_E_NOTFOUND)
        return package;
    if (strstr(err->message, "not permitted") != NULL || strstr(err->message, "ermission denied") != NULL)
        return AS_ROOT;
    return module;
}

/* ---- programs, device ------------------------------------------------------------------------------------------- */

static bool say_program(const struct look *look)
{
    struct runner_error err = ERROR_INIT;

    if (RUN(look, NULL, NULL, &err, "ip", "-V") == 0)
        return true;
    finding_say(&look->to, RUNNER_FINDING_FAIL, "iproute2", "apt-get install -y iproute2", "%s", err.message);
    return false;
}

static bool say_tun(const struct look *look)
{
    if (is_there(look, "/dev/net/tun"))
        return true;
    finding_say(&look->to, RUNNER_FINDING_FAIL, "tap", "modprobe tun",
                "no /dev/net/tun; network/user does without, and without privilege");
    return false;
}

/* ---- bridge and TAP --------------------------------------------------------------------------------------------- */

/* A bridge that never comes up, and an isolated TAP on it. */
static int try_tap(const struct look *look, const char *bridge, const char *tap, struct runner_error *err)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(look->call);
    const char *const add[] = {"ip", "link", "add", "name", bridge, "type", "bridge", NULL};
    const char *const drop[] = {"ip", "link", "del", "dev", bridge, NULL};
    const struct runner_step del_bridge = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = drop};
    const struct runner_step del_tap = {.size = RUNNER_STEP_INIT, .kind = RUNNER_TAP_DEL, .path = tap};
    const struct runner_step add_bridge = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = add, .undo = &del_bridge};
    const struct runner_step add_tap = {.size = RUNNER_STEP_INIT,
                                        .kind = RUNNER_TAP_ADD,
                                        .flags = RUNNER_S_ISOLATED,
                                        .path = tap,
                                        .to = bridge,
                                        .undo = &del_tap};

    if (bridge_host->add(batch, &add_bridge, err) < 0 || bridge_host->add(batch, &add_tap, err) < 0 ||
        bridge_host->add(batch, &del_tap, err) < 0 || bridge_host->add(batch, &del_bridge, err) < 0)
        return -1;
    return bridge_host->run(look->call, batch, err);
}

static void say_tap(const struct look *look)
{
    struct runner_error err = ERROR_INIT;
    char bridge[IFNAME_SIZE], tap[IFNAME_SIZE];
    uint32_t number = (uint32_t)((uintptr_t)look ^ (uintptr_t)look->call) ^ (uint32_t)getpid();

    (void)snprintf(bridge, sizeof bridge, "rdoc%08" PRIx32, number);
    (void)snprintf(tap, sizeof tap, "rdot%08" PRIx32, number);
    if (try_tap(look, bridge, tap, &err) == 0)
        finding_say(&look->to, RUNNER_FINDING_OK, "tap", NULL, "a bridge and an isolated TAP on it can be made");
    else
        finding_say(&look->to, RUNNER_FINDING_FAIL, "tap", fix_of(&err, NULL, "modprobe -a bridge tun"), "%s",
                    err.message);
}

/* ---- rules ------------------------------------------------------------------------------------------------------ */

/* The very rules of this bridge, checked by the kernel and not committed. */
static bool say_rules(const struct look *look)
{
    auto_str struct str script = STR_INIT;
    struct runner_error err = ERROR_INIT;
    char mark[32];

    rules_script(look->b, "bridge", &script, mark);
    rules_script(look->b, "inet", &script, mark);
    if (RUN(look, str_text(&script), NULL, &err, "nft", "-c", "-f", "-") == 0) {
        finding_say(&look->to, RUNNER_FINDING_OK, "nftables", NULL, "the kernel takes the rules of bridge %s",
                    look->b->name);
        return true;
    }
    finding_say(&look->to, RUNNER_FINDING_FAIL, "nftables",
                fix_of(&err, "apt-get install -y nftables", "modprobe -a nf_tables nft_ct nft_masq nft_connlimit"),
                "%s", err.message);
    return false;
}

/* A base chain of somebody else's that drops forwarded packets unless one of its rules accepts them. */
static bool is_dropping(const struct look *look, const struct json *chain)
{
    auto_str struct str ours = STR_INIT;

    rules_table(look->b, &ours);
    return strcmp(json_text(chain, "hook", ""), "forward") == 0 &&
           strcmp(json_text(chain, "policy", ""), "drop") == 0 &&
           strcmp(json_text(chain, "table", ""), str_text(&ours)) != 0;
}

/* Whether a rule of the chain speaks of our bridge: then somebody thought of it. */
static bool is_known_there(const struct look *look, const char *family, const char *table, const char *chain)
{
    auto_free char *out = NULL, *word = mem_printf("\"%s\"", look->b->name);

    return RUN(look, NULL, &out, NULL, "nft", "list", "chain", family, table, chain) == 0 && strstr(out, word) != NULL;
}

static void say_firewall(const struct look *look)
{
    auto_free char *out = NULL, *fix = NULL;
    auto_json struct json *answer = NULL;
    struct runner_error err = ERROR_INIT;

    if (RUN(look, NULL, &out, &err, "nft", "-j", "list", "chains") < 0 ||
        json_parse(out, strlen(out), &answer, &err) < 0) {
        finding_say(&look->to, RUNNER_FINDING_SKIP, "firewall", NULL, "the rules of others are not known: %s",
                    err.message);
        return;
    }
    for (const struct json *j = json_get(answer, "nftables") != NULL ? json_get(answer, "nftables")->first : NULL;
         j != NULL; j = j->next) {
        const struct json *chain = json_get(j, "chain");
        const char *family = json_text(chain, "family", "inet"), *table = json_text(chain, "table", "filter");
        const char *name = json_text(chain, "name", "forward");

        if (!is_dropping(look, chain) || is_known_there(look, family, table, name))
            continue;
        fix = mem_printf("nft insert rule %s %s %s iifname %s accept && nft insert rule %s %s %s oifname %s accept",
                         family, table, name, look->b->name, family, table, name, look->b->name);
        finding_say(&look->to, RUNNER_FINDING_WARN, "firewall", fix,
                    "the chain '%s' of table '%s %s' drops what it does not accept: guests may not reach the outside",
                    name, family, table);
        return;
    }
    finding_say(&look->to, RUNNER_FINDING_OK, "firewall", NULL, "no other chain drops forwarded packets by default");
}

/* ---- to the outside --------------------------------------------------------------------------------------------- */

/* Writes what it reads there. */
static void say_forwarding(const struct look *look, const char *uplink)
{
    auto_free char *path = mem_printf("/proc/sys/net/ipv4/conf/%s/forwarding", uplink), *value = NULL;
    struct runner_error err = ERROR_INIT;

    if (RUN(look, NULL, &value, &err, "cat", path) == 0 && RUN(look, value, NULL, &err, "tee", path) == 0)
        finding_say(&look->to, RUNNER_FINDING_OK, "forwarding", NULL,
                    "IPv4 forwarding of %s can be set (it is %.1s now)", uplink, value);
    else
        finding_say(&look->to, RUNNER_FINDING_FAIL, "forwarding",
                    fix_of(&err, "apt-get install -y coreutils", "mount -o remount,rw /proc/sys"),
                    "IPv4 forwarding of %s cannot be set: %s", uplink, err.message);
}

static void say_uplink(const struct look *look)
{
    auto_free char *out = NULL, *path = NULL;
    auto_json struct json *routes = NULL;
    struct runner_error err = ERROR_INIT;
    char uplink[IFNAME_SIZE];

    if (strcmp(look->b->uplink, "none") == 0) {
        finding_say(&look->to, RUNNER_FINDING_SKIP, "uplink", NULL, "none, as configured: guests stay inside");
        return;
    }
    if (RUN(look, NULL, &out, &err, "ip", "-j", "-4", "route", "show", "default") < 0 ||
        (out[0] != '\0' && json_parse(out, strlen(out), &routes, &err) < 0)) {
        finding_say(&look->to, RUNNER_FINDING_FAIL, "uplink", NULL, "%s", err.message);
        return;
    }
    setup_uplink(look->b, routes, uplink);
    if (uplink[0] == '\0') {
        finding_say(&look->to, RUNNER_FINDING_WARN, "uplink", "ip route add default via GATEWAY",
                    "no default route: guests do not reach the outside");
        return;
    }
    path = mem_printf("/proc/sys/net/ipv4/conf/%s", uplink);
    if (is_there(look, path)) {
        finding_say(&look->to, RUNNER_FINDING_OK, "uplink", NULL, "%s", uplink);
        say_forwarding(look, uplink);
    } else {
        finding_say(&look->to, RUNNER_FINDING_FAIL, "uplink", "ip -brief link", "there is no interface %s", uplink);
    }
}

int diagnose_run(void *self, struct runner_call *call, void (*say)(void *ctx, const struct runner_finding *), void *ctx,
                 struct runner_error *err)
{
    const struct look look = {self, call, {say, ctx}};
    bool has_ip = say_program(&look);
    int over;

    if (say_tun(&look) && has_ip)
        say_tap(&look);
    if (say_rules(&look))
        say_firewall(&look);
    if (has_ip)
        say_uplink(&look);
    over = bridge_host->cancelled(call);
    return over == 0 ? 0 : fail(err, over, 0, "look at the network: interrupted");
}
