/* What works of bridges, TAPs and rules on a host: each is tried under a name of its own, and gone again afterwards. */
#include "plugins/network/bridge/diagnose.h"


#include <string.h>

#include "core/util/json.h"
#include "plugins/network/bridge/bridges.h"
#include "plugins/network/bridge/names.h"
#include "plugins/network/bridge/netns.h"
#include "plugins/network/bridge/setup.h"

#define AS_ROOT "systemctl enable --now runner-ch" /* which runs as root; by hand: sudo */

/* ---- single steps ----------------------------------------------------------------------------------------------- */

static const struct runner_result *do_step(const struct look *look, struct runner_batch *batch,
                                           const struct runner_step *step, struct runner_error *err)
{
    if (bridge_host->add(batch, step, err) < 0 || bridge_host->run(look->call, batch, err) < 0)
        return NULL;
    return bridge_host->result(batch, 0);
}

int look_run(const struct look *look, const char *const *argv, const char *input, char **ret_out,
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

static bool is_there(const struct look *look, const char *path)
{
    auto_batch struct runner_batch *batch = bridge_host->batch_new(look->call);
    const struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = path};
    const struct runner_result *result = do_step(look, batch, &step, NULL);

    return result != NULL && result->status == 0;
}

const char *look_fix(const struct runner_error *err, const char *package, const char *module)
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

/* ---- what a runner has made ------------------------------------------------------------------------------------- */

static void say_problem(void *ctx, const char *problem)
{
    const struct look *look = ctx;

    finding_say(&look->to, RUNNER_FINDING_WARN, "network", "systemctl restart runner-ch", "%s", problem);
}

static void find_bridges(const struct look *look)
{
    auto_free char *out = NULL;
    auto_json struct json *links = NULL;

    if (RUN(look, NULL, &out, NULL, "ip", "-j", "link", "show", "type", "bridge") == 0 && out[0] != '\0' &&
        json_parse(out, strlen(out), &links, NULL) == 0)
        bridges_found(look->b, links);
}

static void say_ports(const struct look *look)
{
    auto_str struct str text = STR_INIT;
    unsigned n[BRIDGES_MAX] = {0};
    uint64_t there = names_bridges(look->b->names);
    struct ports ports;

    if (ports_read(look->b, look->call, NULL, &ports, NULL) < 0)
        return;
    for (size_t i = 0; i < ports.n; i++)
        n[ports.list[i].bridge]++;
    ports_done(&ports);
    for (unsigned i = 0; i < BRIDGES_MAX; i++) {
        char name[IFNAME_SIZE];

        bridges_name(look->b, i, name);
        if (places_has(there, i))
            str_addf(&text, "%s%s has %u of %d ports", i > 0 ? ", " : "", name, n[i], BRIDGE_PORTS);
    }
    finding_say(&look->to, RUNNER_FINDING_OK, "bridges", NULL, "%s", str_text(&text));
}

/* A runner that runs puts it right itself, at its next look. */
static void say_made(const struct look *look)
{
    auto_free char *path = mem_printf("/sys/class/net/%s", look->b->name);
    struct runner_error err = ERROR_INIT;

    if (!is_there(look, path)) {
        finding_say(&look->to, RUNNER_FINDING_SKIP, "network", NULL, "the bridge %s is not there yet", look->b->name);
        return;
    }
    say_ports(look);
    if (watch_look(look->b, look->call, say_problem, (void *)look, &err) < 0)
        finding_say(&look->to, RUNNER_FINDING_SKIP, "network", NULL, "%s", err.message);
}

static void say_names(const struct look *look)
{
    if (look->b->dns_program == NULL)
        finding_say(&look->to, RUNNER_FINDING_SKIP, "names", NULL, "dns: false: lists of domains are refused");
    else if (is_there(look, look->b->dns_program))
        finding_say(&look->to, RUNNER_FINDING_OK, "names", NULL, "guests ask %s, by %s", look->b->address,
                    look->b->dns_program);
    else
        finding_say(&look->to, RUNNER_FINDING_WARN, "names", NULL,
                    "there is no %s (dns_program): lists of domains are refused", look->b->dns_program);
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
                    look_fix(&err, "apt-get install -y coreutils", "mount -o remount,rw /proc/sys"),
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

static void say_netns(const struct look *look)
{
    struct runner_error err = ERROR_INIT;

    if (netns_try(look->b, look->call, &err) < 0)
        finding_say(&look->to, RUNNER_FINDING_FAIL, "netns", look_fix(&err, NULL, NULL), "%s", err.message);
    else
        finding_say(&look->to, RUNNER_FINDING_OK, "netns", NULL, "a TAP has a network namespace with rules of its own");
}

int diagnose_run(void *self, struct runner_call *call, void (*say)(void *ctx, const struct runner_finding *), void *ctx,
                 struct runner_error *err)
{
    const struct look look = {self, call, {say, ctx}};
    bool has_ip = say_program(&look);
    int over;

    if (has_ip)
        find_bridges(&look);
    if (say_tun(&look) && has_ip)
        look_at_ports(&look);
    if (look_at_rules(&look))
        look_at_others(&look);
    look_at_limits(&look);
    if (look.b->has_netns)
        say_netns(&look);
    if (has_ip)
        say_uplink(&look);
    say_names(&look);
    if (has_ip)
        say_made(&look);
    over = bridge_host->cancelled(call);
    return over == 0 ? 0 : fail(err, over, 0, "look at the network: interrupted");
}
