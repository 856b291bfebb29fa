/* ipam/static-pool: IPv4 addresses out of configured ranges. In memory only: a lease is what a record says. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/finding.h"
#include "core/util/num.h"
#include "include/runner-plugin.h"
#include "plugins/ipam/static-pool/pool.h"

enum { PREFIX_MIN = 8, PREFIX_MAX = 30 };

struct static_pool {
    struct pool *pool;
    uint32_t gateway, prefix_len;
    struct pool_range subnet; /* network address to broadcast address */
    char dns[46];
};

/* ---- values ---- */

/* The text up to len as an address; strict dotted decimal. */
static int address_parse(const char *text, size_t len, uint32_t *ret)
{
    char copy[16];
    struct in_addr in;

    if (len == 0 || len >= sizeof copy)
        return -1;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (inet_pton(AF_INET, copy, &in) != 1)
        return -1;
    *ret = ntohl(in.s_addr);
    return 0;
}

/* "10.0.0.2-10.0.0.254", or one address alone. */
static int range_parse(const struct runner_value *value, struct pool_range *ret, struct runner_error *err)
{
    const char *text = value->text, *dash = strchr(text, '-'), *last = dash != NULL ? dash + 1 : text;
    size_t first_len = dash != NULL ? (size_t)(dash - text) : strlen(text);
    struct pool_range range;

    if (address_parse(text, first_len, &range.first) < 0 || address_parse(last, strlen(last), &range.last) < 0)
        return fail(err, RUNNER_E_INVALID, 0,
                    "%s: '%s' is neither an IPv4 range like 10.0.0.2-10.0.0.254 nor an address", value->name, text);
    if (range.first > range.last)
        return fail(err, RUNNER_E_INVALID, 0, "%s: '%s' ends before it starts", value->name, text);
    *ret = range;
    return 0;
}

static int gateway_set(struct static_pool *self, const struct runner_value *value, struct runner_error *err)
{
    const char *slash = strchr(value->text, '/');
    uint32_t host_bits;
    int64_t prefix;

    if (slash == NULL || address_parse(value->text, (size_t)(slash - value->text), &self->gateway) < 0 ||
        !num_int(slash + 1, PREFIX_MIN, PREFIX_MAX, &prefix))
        return fail(err, RUNNER_E_INVALID, 0, "gateway: '%s' is not an IPv4 address with a prefix of /%d to /%d",
                    value->text, PREFIX_MIN, PREFIX_MAX);
    host_bits = UINT32_MAX >> prefix;
    self->prefix_len = (uint32_t)prefix;
    self->subnet = (struct pool_range){self->gateway & ~host_bits, self->gateway | host_bits};
    if (self->gateway == self->subnet.first || self->gateway == self->subnet.last)
        return fail(err, RUNNER_E_INVALID, 0, "gateway: '%s' is the network's own or its broadcast address",
                    value->text);
    return 0;
}

static int dns_add(struct static_pool *self, const struct runner_value *value, struct runner_error *err)
{
    size_t len = strlen(self->dns);
    uint32_t address;

    if (strcmp(value->text, "none") == 0)
        return 0;
    if (address_parse(value->text, strlen(value->text), &address) < 0)
        return fail(err, RUNNER_E_INVALID, 0, "dns: '%s' is neither an IPv4 address nor 'none'", value->text);
    if (len + 1 + strlen(value->text) >= sizeof self->dns)
        return fail(err, RUNNER_E_INVALID, 0, "dns: more servers than fit: '%s' is one too many", value->text);
    (void)snprintf(self->dns + len, sizeof self->dns - len, "%s%s", len > 0 ? " " : "", value->text);
    return 0;
}

static int range_add(struct static_pool *self, const struct runner_value *value, struct runner_error *err)
{
    char first[16], last[16];
    struct pool_range range;

    if (range_parse(value, &range, err) < 0)
        return -1;
    if (range.first < self->subnet.first || range.last > self->subnet.last)
        return fail(err, RUNNER_E_INVALID, 0, "range: '%s' is not within the gateway's network %s-%s", value->text,
                    pool_text(self->subnet.first, first), pool_text(self->subnet.last, last));
    return pool_add_range(self->pool, range, err) < 0 ? error_wrap(err, "range: '%s'", value->text) : 0;
}

static int exclude_add(struct static_pool *self, const struct runner_value *value, struct runner_error *err)
{
    struct pool_range range;

    if (range_parse(value, &range, err) < 0)
        return -1;
    pool_exclude(self->pool, range);
    return 0;
}

/* Calls set for each value of that name; how many there were, or -1. */
static int for_each(struct static_pool *self, const struct runner_value *values, size_t n, const char *name,
                    int (*set)(struct static_pool *, const struct runner_value *, struct runner_error *),
                    struct runner_error *err)
{
    int found = 0;

    for (size_t i = 0; i < n; i++) {
        if (strcmp(values[i].name, name) != 0)
            continue;
        if (set(self, &values[i], err) < 0)
            return -1;
        found++;
    }
    return found;
}

static int configure(struct static_pool *self, const struct runner_value *values, size_t n, struct runner_error *err)
{
    uint64_t n_free, total;
    int found;

    found = for_each(self, values, n, "gateway", gateway_set, err);
    if (found <= 0)
        return found < 0 ? -1 : fail(err, RUNNER_E_INVALID, 0, "gateway: missing");
    found = for_each(self, values, n, "dns", dns_add, err);
    if (found < 0)
        return -1;
    if (found == 0)
        pool_text(self->gateway, self->dns);
    if (for_each(self, values, n, "range", range_add, err) < 0)
        return -1;
    if (for_each(self, values, n, "exclude", exclude_add, err) < 0)
        return -1;
    pool_exclude(self->pool, (struct pool_range){self->gateway, self->gateway});
    pool_exclude(self->pool, (struct pool_range){self->subnet.first, self->subnet.first});
    pool_exclude(self->pool, (struct pool_range){self->subnet.last, self->subnet.last});
    pool_usage(self->pool, &n_free, &total);
    return total > 0 ? 0 : fail(err, RUNNER_E_INVALID, 0, "range: no address is left to lease");
}

/* ---- instances ---- */

static void static_pool_destroy(void *instance)
{
    struct static_pool *self = instance;

    if (self == NULL)
        return;
    pool_free(self->pool);
    free(self);
}

static int static_pool_create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    struct static_pool *self = calloc(1, sizeof *self);

    if (self == NULL || (self->pool = pool_new()) == NULL) {
        free(self);
        return fail(err, RUNNER_E_NOMEM, 0, "address pool");
    }
    if (configure(self, values, n, err) < 0) {
        static_pool_destroy(self);
        return -1;
    }
    *ret_self = self;
    return 0;
}

/* ---- operations ---- */

static int static_pool_lease(void *instance, struct runner_call *call, const char *owner, struct runner_lease *ret,
                             struct runner_error *err)
{
    struct static_pool *self = instance;
    uint32_t address;

    (void)call; /* memory only: nothing to wait for */
    if (pool_lease(self->pool, owner, &address, err) < 0)
        return -1;
    ret->prefix_len = self->prefix_len;
    pool_text(address, ret->address);
    pool_text(self->gateway, ret->gateway);
    memcpy(ret->dns, self->dns, sizeof ret->dns);
    return 0;
}

static int static_pool_adopt(void *instance, const char *owner, const char *address, struct runner_error *err)
{
    struct static_pool *self = instance;
    uint32_t number;

    if (address_parse(address, strlen(address), &number) < 0)
        return fail(err, RUNNER_E_INVALID, 0, "address '%.60s' of '%s' is not an IPv4 address", address, owner);
    return pool_adopt(self->pool, owner, number, err);
}

static int static_pool_release(void *instance, const char *owner, struct runner_error *err)
{
    struct static_pool *self = instance;

    (void)err;
    (void)pool_release(self->pool, owner); /* not held: fine */
    return 0;
}

static void static_pool_usage(void *instance, uint64_t *ret_free, uint64_t *ret_total)
{
    struct static_pool *self = instance;

    pool_usage(self->pool, ret_free, ret_total);
}

static int static_pool_diagnose(void *instance, struct runner_call *call,
                                void (*say)(void *ctx, const struct runner_finding *), void *ctx,
                                struct runner_error *err)
{
    struct static_pool *self = instance;
    struct finding_sink to = {say, ctx};
    uint64_t n_free, total;
    char gateway[16];

    (void)call; /* memory only */
    (void)err;
    pool_usage(self->pool, &n_free, &total);
    finding_say(&to, RUNNER_FINDING_OK, "addresses", NULL, "%" PRIu64 " to lease, gateway %s/%u", total,
                pool_text(self->gateway, gateway), self->prefix_len);
    return 0;
}

static const struct runner_param params[] = {
    {.name = "range",
     .type = RUNNER_T_STRING,
     .flags = RUNNER_P_REQUIRED | RUNNER_P_REPEAT,
     .doc = "addresses to lease: FIRST-LAST or one address, within the gateway's network"},
    {.name = "gateway",
     .type = RUNNER_T_STRING,
     .flags = RUNNER_P_REQUIRED,
     .doc = "the guests' gateway with the length of the network prefix, e.g. 10.0.0.1/24; never leased"},
    {.name = "exclude",
     .type = RUNNER_T_STRING,
     .flags = RUNNER_P_REPEAT,
     .doc = "addresses of the ranges never to lease: FIRST-LAST or one address"},
    {.name = "dns",
     .type = RUNNER_T_STRING,
     .flags = RUNNER_P_REPEAT,
     .doc = "name servers of the guests, two at most, or none; default: the gateway"},
};

static const struct runner_ipam_ops ops = {
    .lease = static_pool_lease,
    .adopt = static_pool_adopt,
    .release = static_pool_release,
    .usage = static_pool_usage,
};

static const struct runner_plugin plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_IPAM, "static-pool", ops),
    .threads = RUNNER_PARALLEL,
    .n_params = sizeof params / sizeof params[0],
    .params = params,
    .version = "1.0",
    .summary = "leases IPv4 addresses out of configured ranges",
    .create = static_pool_create,
    .destroy = static_pool_destroy,
    .diagnose = static_pool_diagnose,
};
RUNNER_PLUGIN(plugin)
