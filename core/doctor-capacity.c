/* What doctor says of a host's capacity: what it is, and whether a sandbox of the default size fits. */
#include <inttypes.h>

#include "core/create-request.h"
#include "core/doctor.h"
#include "core/figures.h"
#include "core/host.h"
#include "core/look.h"
#include "core/util/str.h"

static struct amounts default_sandbox(const struct config_host *config)
{
    return (struct amounts){{[RESOURCE_SANDBOXES] = 1,
                             [RESOURCE_CPUS] = config->cpus,
                             [RESOURCE_MEMORY] = create_request_memory(config, 0),
                             [RESOURCE_DISK] = config->disk_gb << 30}};
}

/* How many fit. */
static int64_t how_many(const struct capacity *capacity, const struct amounts *one)
{
    int64_t n = CAPACITY_UNLIMITED;

    for (int i = 0; i < RESOURCES; i++)
        if (one->of[i] > 0 && capacity_free(capacity, (enum resource)i) / one->of[i] < n)
            n = capacity_free(capacity, (enum resource)i) / one->of[i];
    return n;
}

/* "3434 MiB memory (3946 MiB less ...)": of those that are limited. */
static void add_limits(const struct capacity *capacity, struct str *out)
{
    static const char *const nouns[RESOURCES] = {
        [RESOURCE_CPUS] = " vCPUs", [RESOURCE_MEMORY] = " memory", [RESOURCE_DISK] = " disk"};

    for (int i = RESOURCE_CPUS; i < RESOURCES; i++) {
        int64_t limit = capacity_limit(capacity, (enum resource)i);
        if (limit == CAPACITY_UNLIMITED)
            continue;
        str_add(out, out->len > 0 ? "; " : "");
        capacity_print((enum resource)i, limit, out);
        str_addf(out, "%s (", nouns[i]);
        capacity_explain(capacity, (enum resource)i, out);
        str_add(out, ")");
    }
    if (out->len == 0)
        str_add(out, "not limited");
}

void doctor_capacity(const struct look *look)
{
    auto_free char *root = look_nearest(look->call, look->host->config->root);
    auto_str struct str limits = STR_INIT;
    struct capacity *capacity = &look->host->capacity; /* doctor has its hosts alone, and no index */
    struct runner_error err = ERROR_INIT;
    struct figures figures;
    struct amounts one = default_sandbox(look->host->config);
    int64_t n;

    (void)figures_read(look->call, root, &figures, NULL);
    capacity_learn(capacity, &figures.has);
    add_limits(capacity, &limits);
    n = how_many(capacity, &one);
    if (n == 0 && capacity_take(capacity, &one, &err) < 0)
        finding_say(&look->to, RUNNER_FINDING_WARN, "capacity", NULL, "a sandbox of the default size: %s", err.message);
    else if (n == CAPACITY_UNLIMITED)
        finding_say(&look->to, RUNNER_FINDING_OK, "capacity", NULL, "%s", str_text(&limits));
    else
        finding_say(&look->to, RUNNER_FINDING_OK, "capacity", NULL, "%s: %" PRId64 " sandbox%s of the default size",
                    str_text(&limits), n, n == 1 ? "" : "es");
}
