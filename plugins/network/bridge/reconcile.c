/* Removal of what the bridge table has of sandboxes that no record names, and of the host's memory of their addresses. */
#include <arpa/inet.h>
#include <string.h>

#include "core/util/json.h"
#include "core/util/text.h"
#include "plugins/network/bridge/bridges.h"
#include "plugins/network/bridge/names.h"
#include "plugins/network/bridge/nft.h"

static const char *const port_sets[] = {"refused", "open",  "open_too", "limited", "limited_too",
                                        "plain",   "lists", "lists_in", "rates",   "rates_in"};

#define CHANGE_BYTES (256 * 1024)

struct search {
    const struct bridge *b;
    struct guest *owned; /* sorted by port */
    size_t n_owned;
    struct nft change; /* that is being written; those before it are in the batch */
    struct runner_batch *batch;
    struct listed { /* ports that have lists to be removed */
        char (*list)[IFNAME_SIZE];
        size_t n;
    } listed;
    size_t n_found;
    int status;
    struct runner_error *err;
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct guest *)a)->port, ((const struct guest *)b)->port);
}

static const struct guest *owner_of(const struct search *s, const char *port)
{
    struct guest wanted = {.port = ""};

    (void)snprintf(wanted.port, sizeof wanted.port, "%s", port);
    return bsearch(&wanted, s->owned, s->n_owned, sizeof wanted, compare);
}

/* Somebody's by a record, or by an operation that goes on. */
static bool is_kept(const struct search *s, const char *port)
{
    return owner_of(s, port) != NULL || names_is_reserved(s->b->names, port);
}

/* A name is some port's, in the name that something is another's. */
static bool has_right_identity(const struct search *s, const struct nft_found *found, const char *port)
{
    const struct guest *owner = owner_of(s, port);

    return owner == NULL || found->len < OMAC_KEY ||
           (memcmp(found->key + PORT_KEY, owner->mac, sizeof owner->mac) == 0 &&
            (found->len < IDENT_KEY || memcmp(found->key + OMAC_KEY, &owner->address, sizeof owner->address) == 0));
}

static void add_port(struct search *s, const char *port)
{
    for (size_t i = 0; i < s->listed.n; i++)
        if (strcmp(s->listed.list[i], port) == 0)
            return;
    s->listed.list = mem_grow(s->listed.list, s->listed.n + 1, sizeof *s->listed.list);
    (void)snprintf(s->listed.list[s->listed.n++], IFNAME_SIZE, "%s", port);
}

/* A step of NETLINK has at most 1 MiB. What is left over hangs together in nothing. */
static int split(struct search *s, struct runner_error *err)
{
    if (s->change.data.len < CHANGE_BYTES)
        return 0;
    if (nft_end(&s->change, NULL, 0, s->batch, err) < 0)
        return -1;
    nft_begin(&s->change, s->b);
    return 0;
}

static void look_at(void *ctx, const struct nft_found *found)
{
    struct search *s = ctx;
    char port[IFNAME_SIZE + 1] = "";
    const char *name = found->set != NULL ? found->set : found->chain;

    if (found->key == NULL) { /* a set or a chain: of a sandbox when its name says so */
        if (strlen(name) > 2 && name[1] == '_' && strchr("cisdrw", name[0]) != NULL &&
            text_starts(name + 2, "tap-", NULL) && strlen(name + 2) < IFNAME_SIZE && !is_kept(s, name + 2))
            add_port(s, name + 2);
        return;
    }
    if (found->len < PORT_KEY)
        return;
    memcpy(port, found->key, PORT_KEY);
    if (strncmp(name, "lists", 5) == 0 || strncmp(name, "rates", 5) == 0) {
        if (!is_kept(s, port))
            add_port(s, port);
    } else if (!is_kept(s, port) || !has_right_identity(s, found, port)) {
        s->status = split(s, s->err) < 0 ? -1 : s->status;
        nft_element(&s->change, NFT_CLEAR, name, found->key, found->len);
        s->n_found++;
    }
}

static int ask(struct search *s, struct runner_call *call, struct runner_error *err)
{
    struct runner_batch *batch = bridge_host->batch_new(call);
    struct nft t;
    int index, r = -1;

    nft_ask_begin(&t, s->b);
    nft_ask_elements(&t, "ident");
    nft_ask_elements(&t, "omac");
    for (size_t i = 0; i < ARRAY_LEN(port_sets); i++)
        nft_ask_elements(&t, port_sets[i]);
    nft_ask_list(&t, NFT_SETS);
    nft_ask_list(&t, NFT_CHAINS);
    index = nft_ask_end(&t, 0, batch, err);
    if (index >= 0 && bridge_host->run(call, batch, err) == 0) {
        nft_each(s->b, bridge_host->result(batch, index), look_at, s);
        r = s->status;
    }
    bridge_host->batch_free(batch);
    return r;
}

static int change(struct search *s, struct runner_call *call, struct runner_error *err)
{
    auto_free char *number = mem_printf("%zu", s->n_found + s->listed.n);
    struct runner_field fields[] = {{"bridge", s->b->name}, {"number", number}};
    int r = 0;

    bridge_host->log(call, RUNNER_LOG_WARN, "network.orphaned_rules_removed", fields, ARRAY_LEN(fields));
    for (size_t i = 0; i < s->listed.n && r == 0; i++) {
        r = split(s, err);
        plan_forget(&s->change, s->listed.list[i]);
    }
    return r < 0 || nft_end(&s->change, NULL, 0, s->batch, err) < 0 ? -1 : bridge_host->run(call, s->batch, err);
}

int reconcile_rules(const struct bridge *b, struct runner_call *call, const struct runner_nic *const *owned, size_t n,
                    struct runner_error *err)
{
    struct search s = {
        .b = b, .owned = mem_array(n + 1, sizeof *s.owned), .batch = bridge_host->batch_new(call), .err = err};
    int r;

    for (size_t i = 0; i < n; i++)
        if (owned[i]->kind == RUNNER_NIC_TAP && plan_guest(owned[i], owned[i]->name, &s.owned[s.n_owned], NULL) == 0)
            s.n_owned++;
    qsort(s.owned, s.n_owned, sizeof *s.owned, compare);
    nft_begin(&s.change, b);
    r = ask(&s, call, err);
    if (r == 0 && s.n_found + s.listed.n > 0)
        r = change(&s, call, err);
    nft_done(&s.change);
    bridge_host->batch_free(s.batch);
    free(s.listed.list);
    free(s.owned);
    return r < 0 ? error_wrap(err, "removal of orphaned rules") : 0;
}

/* ---- neighbours ------------------------------------------------------------------------------------------------- */

static bool is_owned_address(const struct runner_nic *const *owned, size_t n, const char *address)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(owned[i]->address, address) == 0)
            return true;
    return false;
}

static int run(struct runner_call *call, const char *const *argv, const char *input, struct json **ret,
               struct runner_error *err)
{
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_RUN,
                                     .flags = input != NULL ? RUNNER_S_ANY_STATUS : 0,
                                     .argv = argv,
                                     .data = input,
                                     .len = input != NULL ? strlen(input) : 0};
    struct runner_batch *batch = bridge_host->batch_new(call);
    int index = bridge_host->add(batch, &step, err), r = -1;

    if (index >= 0 && bridge_host->run(call, batch, err) == 0) {
        const struct runner_result *result = bridge_host->result(batch, index);

        r = ret != NULL && result->len > 0 ? json_parse(result->out, result->len, ret, err) : 0;
    }
    bridge_host->batch_free(batch);
    return r;
}

struct place {
    unsigned bridge;
    const char *name;
};

/* Of those that `ip` listed, each of that bridge: nobody there has them. */
static void forget(const struct bridge *b, const struct runner_nic *const *owned, size_t n, const struct json *found,
                   const char *what, const struct place *at, struct str *script)
{
    for (const struct json *entry = found != NULL ? found->first : NULL; entry != NULL; entry = entry->next) {
        const char *address = json_text(entry, "dst", "");
        int is_on = names_address(b->names, address);
        struct in_addr ignored;

        if (inet_pton(AF_INET, address, &ignored) == 1 &&
            (is_on >= 0 ? is_on != (int)at->bridge : !is_owned_address(owned, n, address)))
            str_addf(script, "%s del %s dev %s\n", what, address, at->name);
    }
}

static int look_for_addresses(const struct bridge *b, struct runner_call *call, const struct runner_nic *const *owned,
                              size_t n, const struct place *at, struct str *script, struct runner_error *err)
{
    auto_free char *protocol = mem_printf("%d", RUNNER_ROUTE_PROTOCOL);
    const char *const neighbours[] = {"ip", "-j", "-4", "neigh", "show", "dev", at->name, "nud", "permanent", NULL};
    const char *const routes[] = {"ip", "-j", "-4", "route", "show", "dev", at->name, "proto", protocol, NULL};
    auto_json struct json *found = NULL, *ways = NULL;

    if (run(call, neighbours, NULL, &found, err) < 0 || run(call, routes, NULL, &ways, err) < 0)
        return error_wrap(err, "list of neighbours");
    forget(b, owned, n, found, "neigh", at, script);
    forget(b, owned, n, ways, "route", at, script);
    return 0;
}

int reconcile_addresses(const struct bridge *b, struct runner_call *call, const struct runner_nic *const *owned,
                        size_t n, struct runner_error *err)
{
    const char *const change[] = {"ip", "-force", "-batch", "-", NULL};
    auto_str struct str script = STR_INIT;
    uint64_t there = names_bridges(b->names);

    for (unsigned i = 0; i < BRIDGES_MAX; i++) {
        char name[IFNAME_SIZE];
        const struct place at = {i, name};

        bridges_name(b, i, name);
        if (places_has(there, i) && look_for_addresses(b, call, owned, n, &at, &script, err) < 0)
            return -1;
    }
    return script.len > 0 ? run(call, change, str_text(&script), NULL, err) : 0;
}
