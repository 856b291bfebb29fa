#include "core/capacity.h"

#include <inttypes.h>

#include "core/util/error.h"
#include "core/value.h"

#define MIB (INT64_C(1) << 20)

static const struct resource_type {
    const char *name, *what;                  /* in metrics; in sentences */
    const char *overcommit_key, *reserve_key; /* of runner.yaml, below hosts[].capacity; NULL: none */
} types[REFUSALS] = {
    [RESOURCE_SANDBOXES] = {"sandboxes", "sandboxes", NULL, NULL},
    [RESOURCE_CPUS] = {"cpus", "vCPUs", "cpu_overcommit", NULL},
    [RESOURCE_MEMORY] = {"memory", "memory", "memory_overcommit", "memory_reserve"},
    [RESOURCE_DISK] = {"disk", "disk", "disk_overcommit", "disk_reserve"},
    [REFUSED_SPACE] = {"space", NULL, NULL, NULL},
    [REFUSED_ADDRESS] = {"addresses", NULL, NULL, NULL},
};

const char *capacity_refusal_name(int refusal)
{
    return types[refusal].name;
}

static int64_t overcommit(const struct capacity *capacity, enum resource resource)
{
    switch (resource) {
    case RESOURCE_CPUS:
        return capacity->settings->cpu_overcommit;
    case RESOURCE_MEMORY:
        return capacity->settings->memory_overcommit;
    case RESOURCE_DISK:
        return capacity->settings->disk_overcommit;
    default:
        return 0;
    }
}

static int64_t reserve(const struct capacity *capacity, enum resource resource)
{
    return resource == RESOURCE_MEMORY ? capacity->settings->memory_reserve
           : resource == RESOURCE_DISK ? capacity->settings->disk_reserve
                                       : 0;
}

void capacity_learn(struct capacity *capacity, const struct amounts *found)
{
    for (int i = 0; i < RESOURCES; i++)
        if (found->of[i] > 0)
            capacity->has.of[i] = found->of[i];
}

/* amount * thousandths / 1000, at most one less than no limit. */
static int64_t times(int64_t amount, int64_t thousandths)
{
    int64_t whole, part = amount % 1000 * thousandths / 1000; /* thousandths are at most a million */

    if (__builtin_mul_overflow(amount / 1000, thousandths, &whole) || __builtin_add_overflow(whole, part, &whole) ||
        whole == CAPACITY_UNLIMITED)
        return CAPACITY_UNLIMITED - 1;
    return whole;
}

int64_t capacity_limit(const struct capacity *capacity, enum resource resource)
{
    int64_t factor = overcommit(capacity, resource), has = capacity->has.of[resource];

    if (resource == RESOURCE_SANDBOXES)
        return capacity->settings->sandboxes > 0 ? capacity->settings->sandboxes : CAPACITY_UNLIMITED;
    if (factor == 0 || has == 0)
        return CAPACITY_UNLIMITED;
    return has > reserve(capacity, resource) ? times(has - reserve(capacity, resource), factor) : 0;
}

int64_t capacity_free(const struct capacity *capacity, enum resource resource)
{
    int64_t limit = capacity_limit(capacity, resource), allocated = capacity->allocated.of[resource];

    if (limit == CAPACITY_UNLIMITED)
        return limit;
    return allocated < limit ? limit - allocated : 0;
}

/* ---- texts ---- */

void capacity_print(enum resource resource, int64_t amount, struct str *out)
{
    if (resource == RESOURCE_MEMORY)
        str_addf(out, "%" PRId64 " MiB", amount / MIB);
    else if (resource == RESOURCE_DISK)
        str_addf(out, "%" PRId64 ".%" PRId64 " GiB", amount / (MIB << 10), amount % (MIB << 10) * 10 / (MIB << 10));
    else
        str_addf(out, "%" PRId64, amount);
}

void capacity_explain(const struct capacity *capacity, enum resource resource, struct str *out)
{
    const struct resource_type *type = &types[resource];

    capacity_print(resource, capacity->has.of[resource], out);
    if (resource == RESOURCE_CPUS)
        str_add(out, capacity->has.of[resource] == 1 ? " CPU" : " CPUs");
    if (type->reserve_key != NULL) {
        str_addf(out, " less capacity.%s ", type->reserve_key);
        value_format(RUNNER_T_BYTES, reserve(capacity, resource), out);
        str_add(out, ",");
    }
    str_addf(out, " times capacity.%s ", type->overcommit_key);
    value_format(VALUE_T_FACTOR, overcommit(capacity, resource), out);
}

static void add_shortage(const struct capacity *capacity, enum resource resource, int64_t wanted, struct str *out)
{
    if (resource == RESOURCE_SANDBOXES) {
        str_addf(out, "the limit of %" PRId64 " sandboxes is reached (limits.sandboxes)",
                 capacity_limit(capacity, resource));
        return;
    }
    str_addf(out, "not enough %s: ", types[resource].what);
    capacity_print(resource, wanted, out);
    str_add(out, " asked for, ");
    capacity_print(resource, capacity_free(capacity, resource), out);
    str_add(out, " free of ");
    capacity_print(resource, capacity_limit(capacity, resource), out);
    str_add(out, " (");
    capacity_explain(capacity, resource, out);
    str_add(out, ")");
}

/* ---- taking ---- */

int capacity_take(struct capacity *capacity, const struct amounts *wanted, struct runner_error *err)
{
    auto_str struct str text = STR_INIT;

    for (int i = 0; i < RESOURCES; i++)
        if (wanted->of[i] > 0 && wanted->of[i] > capacity_free(capacity, (enum resource)i)) {
            str_add(&text, text.len > 0 ? "; " : "");
            add_shortage(capacity, (enum resource)i, wanted->of[i], &text);
            capacity->refused[i]++;
        }
    if (text.len > 0)
        return fail(err, RUNNER_E_NOSPACE, 0, "no room on host '%s': %s", capacity->host, str_text(&text));
    capacity_add(capacity, wanted);
    return 0;
}

/* Wraps around rather than stops at the end: what is added can be taken away again, whatever records say. */
static void shift(struct capacity *capacity, const struct amounts *amounts, uint64_t sign)
{
    for (int i = 0; i < RESOURCES; i++)
        capacity->allocated.of[i] = (int64_t)((uint64_t)capacity->allocated.of[i] + sign * (uint64_t)amounts->of[i]);
}

void capacity_add(struct capacity *capacity, const struct amounts *amounts)
{
    shift(capacity, amounts, 1);
}

void capacity_give_back(struct capacity *capacity, const struct amounts *amounts)
{
    shift(capacity, amounts, UINT64_MAX);
}

int capacity_check_space(struct capacity *capacity, int64_t free_bytes, struct runner_error *err)
{
    auto_str struct str text = STR_INIT;
    int64_t needed = reserve(capacity, RESOURCE_DISK) + CAPACITY_EMPTY_SANDBOX;

    if (capacity->settings->disk_overcommit == 0 || free_bytes >= needed)
        return 0;
    capacity->refused[REFUSED_SPACE]++;
    str_addf(&text, "%" PRId64 " MiB are free in its file system, %" PRId64 " MiB needed: capacity.disk_reserve ",
             free_bytes / MIB, needed / MIB);
    value_format(RUNNER_T_BYTES, reserve(capacity, RESOURCE_DISK), &text);
    str_addf(&text, " and %" PRId64 " MiB for an empty sandbox", CAPACITY_EMPTY_SANDBOX / MIB);
    return fail(err, RUNNER_E_NOSPACE, 0, "no room on host '%s': %s", capacity->host, str_text(&text));
}
