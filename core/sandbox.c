#include "core/sandbox.h"

#include <string.h>

#define BUCKETS_MIN 64

struct index {
    pthread_mutex_t mutex;
    struct sandbox **buckets;
    size_t n_buckets, n;
};

struct index *index_new(void)
{
    struct index *index = mem_alloc(sizeof *index);

    pthread_mutex_init(&index->mutex, NULL);
    index->n_buckets = BUCKETS_MIN;
    index->buckets = mem_array(index->n_buckets, sizeof(struct sandbox *));
    return index;
}

static void sandbox_free(struct sandbox *sandbox)
{
    record_free(sandbox->record);
    free(sandbox);
}

void index_free(struct index *index)
{
    if (index == NULL)
        return;
    for (size_t i = 0; i < index->n_buckets; i++)
        while (index->buckets[i] != NULL) {
            struct sandbox *next = index->buckets[i]->next;
            sandbox_free(index->buckets[i]);
            index->buckets[i] = next;
        }
    pthread_mutex_destroy(&index->mutex);
    free(index->buckets);
    free(index);
}

void index_lock(struct index *index)
{
    pthread_mutex_lock(&index->mutex);
}

void index_unlock(struct index *index)
{
    pthread_mutex_unlock(&index->mutex);
}

static struct sandbox **bucket_of(struct index *index, const char *id)
{
    uint64_t hash = 14695981039346656037u;

    for (; *id != '\0'; id++)
        hash = (hash ^ (unsigned char)*id) * 1099511628211u;
    return &index->buckets[hash % index->n_buckets];
}

static void grow(struct index *index)
{
    struct sandbox **old = index->buckets;
    size_t n_old = index->n_buckets;

    index->n_buckets = n_old * 2;
    index->buckets = mem_array(index->n_buckets, sizeof(struct sandbox *));
    for (size_t i = 0; i < n_old; i++)
        while (old[i] != NULL) {
            struct sandbox *sandbox = old[i], **bucket = bucket_of(index, sandbox->record->id);
            old[i] = sandbox->next;
            sandbox->next = *bucket;
            *bucket = sandbox;
        }
    free(old);
}

struct sandbox *index_get(struct index *index, const char *id)
{
    struct sandbox *sandbox;

    index_lock(index);
    for (sandbox = *bucket_of(index, id); sandbox != NULL && strcmp(sandbox->record->id, id) != 0;)
        sandbox = sandbox->next;
    if (sandbox != NULL)
        sandbox->refs++;
    index_unlock(index);
    return sandbox;
}

void index_put(struct index *index, struct sandbox *sandbox)
{
    bool is_last;

    if (sandbox == NULL)
        return;
    index_lock(index);
    is_last = --sandbox->refs == 0 && sandbox->is_gone;
    index_unlock(index);
    if (is_last)
        sandbox_free(sandbox);
}

/* ---- capacity: under the lock ---- */

static struct amounts machine_of(const struct record *record)
{
    return (struct amounts){{[RESOURCE_CPUS] = record->cpus, [RESOURCE_MEMORY] = record->memory_bytes}};
}

/* All that a sandbox has. The figures of a record change under the lock only, with the sums. */
static struct amounts amounts_of(const struct record *record, bool has_machine)
{
    struct amounts amounts = has_machine ? machine_of(record) : (struct amounts){{0}};

    amounts.of[RESOURCE_SANDBOXES] = 1;
    amounts.of[RESOURCE_DISK] = record->disk_bytes + record->disk_extra_bytes;
    return amounts;
}

/* In a state on the way the VM may be there. */
static bool needs_machine(const struct record *record)
{
    switch (record->state) {
    case SANDBOX_STOPPED:
    case SANDBOX_ERROR:
        return false;
    case SANDBOX_CREATING:
        return !json_bool(record->request, "skipStart", false);
    default:
        return true;
    }
}

void sandbox_release(struct sandbox *sandbox)
{
    const struct amounts machine = machine_of(sandbox->record);

    if (sandbox->has_machine)
        capacity_give_back(&sandbox->host->capacity, &machine);
    sandbox->has_machine = false;
}

void index_replace(struct index *index, struct sandbox *sandbox, struct record *record)
{
    struct amounts amounts;
    struct record other = *record;
    char *id = sandbox->record->id; /* others may be reading it */

    index_lock(index);
    amounts = amounts_of(sandbox->record, sandbox->has_machine);
    capacity_give_back(&sandbox->host->capacity, &amounts);
    *record = *sandbox->record;
    *sandbox->record = other;
    record->id = other.id;
    sandbox->record->id = id;
    sandbox->has_machine = needs_machine(sandbox->record);
    amounts = amounts_of(sandbox->record, sandbox->has_machine);
    capacity_add(&sandbox->host->capacity, &amounts);
    index_unlock(index);
}

static void set_unread(struct sandbox *sandbox, bool is)
{
    if (sandbox->is_unread != is)
        sandbox->host->n_unread += is ? 1 : -(size_t)1;
    sandbox->is_unread = is;
}

void index_set_unread(struct index *index, struct sandbox *sandbox, bool is)
{
    index_lock(index);
    set_unread(sandbox, is);
    index_unlock(index);
}

/* The first that is found. */
static const char *unread_id(const struct index *index, const struct host *host)
{
    for (size_t i = 0; i < index->n_buckets; i++)
        for (const struct sandbox *sandbox = index->buckets[i]; sandbox != NULL; sandbox = sandbox->next)
            if (sandbox->host == host && sandbox->is_unread)
                return sandbox->record->id;
    return "";
}

int index_check_leases(struct index *index, struct host *host, struct runner_error *err)
{
    int status = 0;

    index_lock(index);
    if (host->n_unread > 0)
        status = fail(err, RUNNER_E_BUSY, 0,
                      "host '%s': which addresses and users are free is not known while the records of %zu sandboxes "
                      "cannot be read, among them '%s': put its runner.json right, or destroy it",
                      host->config->name, host->n_unread, unread_id(index, host));
    index_unlock(index);
    return status;
}

int index_allocate(struct index *index, struct sandbox *sandbox, struct runner_error *err)
{
    const struct amounts machine = machine_of(sandbox->record);
    int status = 0;

    index_lock(index);
    if (!sandbox->has_machine)
        status = capacity_take(&sandbox->host->capacity, &machine, err);
    sandbox->has_machine = status == 0;
    index_unlock(index);
    return status;
}

/* ---- sizes ---- */

static struct resize size_of(const struct record *record)
{
    return (struct resize){record->cpus, record->memory_bytes, record->disk_bytes, record->disk_extra_bytes};
}

struct resize index_size(struct index *index, struct sandbox *sandbox)
{
    struct resize size;

    index_lock(index);
    size = size_of(sandbox->record);
    index_unlock(index);
    return size;
}

static void set_disk(struct record *record, int64_t bytes, int64_t extra_bytes)
{
    record->disk_bytes = bytes;
    record->disk_extra_bytes = extra_bytes;
    record->disk.size_bytes = bytes + extra_bytes;
}

static void set_size(struct record *record, const struct resize *to)
{
    record->cpus = to->cpus != 0 ? to->cpus : record->cpus;
    record->memory_bytes = to->memory_bytes != 0 ? to->memory_bytes : record->memory_bytes;
    if (to->disk_bytes != 0 && to->disk_bytes != record->disk_bytes)
        set_disk(record, to->disk_bytes, record->disk_extra_bytes);
    if (to->disk_extra_bytes != 0)
        set_disk(record, record->disk_bytes, to->disk_extra_bytes);
}

static void restore_size(struct record *record, const struct resize *was)
{
    set_size(record, was);
    if (was->disk_extra_bytes != record->disk_extra_bytes)
        set_disk(record, record->disk_bytes, was->disk_extra_bytes);
}

/* Only what there is more of is asked for. */
static int exchange(struct sandbox *sandbox, const struct amounts *was, const struct amounts *now,
                    struct runner_error *err)
{
    struct amounts more = {{0}}, less = {{0}};

    for (int i = 0; i < RESOURCES; i++) {
        int64_t change = now->of[i] - was->of[i];
        *(change > 0 ? &more.of[i] : &less.of[i]) = change > 0 ? change : -change;
    }
    if (capacity_take(&sandbox->host->capacity, &more, err) < 0)
        return -1;
    capacity_give_back(&sandbox->host->capacity, &less);
    return 0;
}

int index_resize(struct index *index, struct sandbox *sandbox, const struct resize *to, struct runner_error *err)
{
    struct record *record = sandbox->record;
    struct amounts was, now;
    struct resize size;
    int status;

    index_lock(index);
    size = size_of(record);
    was = amounts_of(record, sandbox->has_machine);
    set_size(record, to);
    now = amounts_of(record, sandbox->has_machine);
    status = exchange(sandbox, &was, &now, err);
    if (status < 0)
        restore_size(record, &size);
    index_unlock(index);
    return status;
}

void index_restore_size(struct index *index, struct sandbox *sandbox, const struct resize *was)
{
    struct amounts amounts;

    index_lock(index);
    amounts = amounts_of(sandbox->record, sandbox->has_machine);
    capacity_give_back(&sandbox->host->capacity, &amounts);
    restore_size(sandbox->record, was);
    amounts = amounts_of(sandbox->record, sandbox->has_machine);
    capacity_add(&sandbox->host->capacity, &amounts);
    index_unlock(index);
}

/* ---- adding, removing ---- */

static struct sandbox *insert(struct index *index, struct host *host, struct record *record, bool has_machine)
{
    struct sandbox *sandbox = mem_alloc(sizeof *sandbox), **bucket;

    sandbox->host = host;
    sandbox->record = record;
    sandbox->refs = 1;
    sandbox->has_machine = has_machine;
    if (index->n >= index->n_buckets)
        grow(index);
    bucket = bucket_of(index, record->id);
    sandbox->next = *bucket;
    *bucket = sandbox;
    index->n++;
    return sandbox;
}

int index_admit(struct index *index, struct host *host, struct record *record, struct sandbox **ret,
                struct runner_error *err)
{
    bool has_machine = needs_machine(record);
    const struct amounts wanted = amounts_of(record, has_machine);
    int status;

    index_lock(index);
    status = capacity_take(&host->capacity, &wanted, err);
    if (status == 0)
        *ret = insert(index, host, record, has_machine);
    index_unlock(index);
    return status;
}

struct sandbox *index_add(struct index *index, struct host *host, struct record *record)
{
    bool has_machine = needs_machine(record);
    const struct amounts amounts = amounts_of(record, has_machine);
    struct sandbox *sandbox;

    index_lock(index);
    capacity_add(&host->capacity, &amounts);
    sandbox = insert(index, host, record, has_machine);
    index_unlock(index);
    return sandbox;
}

void index_remove(struct index *index, struct sandbox *sandbox)
{
    struct sandbox **link;

    index_lock(index);
    if (!sandbox->is_gone) {
        const struct amounts amounts = amounts_of(sandbox->record, sandbox->has_machine);
        capacity_give_back(&sandbox->host->capacity, &amounts);
        for (link = bucket_of(index, sandbox->record->id); *link != sandbox;)
            link = &(*link)->next;
        *link = sandbox->next;
        sandbox->is_gone = true;
        set_unread(sandbox, false);
        index->n--;
    }
    index_unlock(index);
}

void index_each(struct index *index, void (*fn)(const struct sandbox *, void *), void *ctx)
{
    index_lock(index);
    for (size_t i = 0; i < index->n_buckets; i++)
        for (const struct sandbox *sandbox = index->buckets[i]; sandbox != NULL; sandbox = sandbox->next)
            fn(sandbox, ctx);
    index_unlock(index);
}

void *index_map(struct index *index, size_t size, bool (*fn)(const struct sandbox *, void *element, void *ctx), void *ctx,
                size_t *ret_n)
{
    char *all;

    *ret_n = 0;
    index_lock(index);
    all = mem_array(index->n, size); /* counted before the lock, those that come meanwhile would push others out */
    for (size_t i = 0; i < index->n_buckets; i++)
        for (const struct sandbox *sandbox = index->buckets[i]; sandbox != NULL; sandbox = sandbox->next)
            *ret_n += fn(sandbox, all + *ret_n * size, ctx);
    index_unlock(index);
    return all;
}

size_t index_count(struct index *index)
{
    size_t n;

    index_lock(index);
    n = index->n;
    index_unlock(index);
    return n;
}
