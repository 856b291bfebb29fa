#include "plugins/network/bridge/names.h"

#include <netinet/in.h>
#include <pthread.h>
#include <string.h>

#include "core/util/num.h"
#include "core/util/text.h"

#define ID_CHARS 11 /* of the id in a name */
#define VARIANTS 32

struct entry {
    struct entry *next;
    char name[IFNAME_SIZE];
    char *id;
    char address[INET_ADDRSTRLEN];
    enum lists lists;
    bool has_rates;
};

struct names {
    pthread_mutex_t lock; /* everything below */
    struct entry *entries;
    char prefix[IFNAME_SIZE]; /* of idle TAPs */
    size_t pool;
    bool is_full[POOL_MAX];
    bool has_forwarder;
};

struct names *names_new(const char *bridge, size_t pool)
{
    struct names *names = mem_alloc(sizeof *names);

    pthread_mutex_init(&names->lock, NULL);
    names->pool = pool < POOL_MAX ? pool : POOL_MAX;
    (void)snprintf(names->prefix, sizeof names->prefix, "tapi-%04x-", (unsigned)(bridge_hash(bridge) & 0xffff));
    return names;
}

static void entry_free(struct entry *e)
{
    free(e->id);
    free(e);
}

void names_free(struct names *names)
{
    if (names == NULL)
        return;
    while (names->entries != NULL) {
        struct entry *e = names->entries;
        names->entries = e->next;
        entry_free(e);
    }
    pthread_mutex_destroy(&names->lock);
    free(names);
}

void names_set_forwarder(struct names *names, bool is_there)
{
    pthread_mutex_lock(&names->lock);
    names->has_forwarder = is_there;
    pthread_mutex_unlock(&names->lock);
}

bool names_has_forwarder(struct names *names)
{
    bool is_there;

    pthread_mutex_lock(&names->lock);
    is_there = names->has_forwarder;
    pthread_mutex_unlock(&names->lock);
    return is_there;
}

/* ---- reserved names: called with the lock held ------------------------------------------------------------------ */

static struct entry *find_name(const struct names *names, const char *name)
{
    struct entry *e = names->entries;

    while (e != NULL && strcmp(e->name, name) != 0)
        e = e->next;
    return e;
}

static struct entry *find_id(const struct names *names, const char *id)
{
    struct entry *e = names->entries;

    while (e != NULL && strcmp(e->id, id) != 0)
        e = e->next;
    return e;
}

static void add(struct names *names, const char *id, const char *name)
{
    struct entry *e = mem_alloc(sizeof *e);

    (void)snprintf(e->name, sizeof e->name, "%s", name);
    e->id = mem_dup(id);
    e->next = names->entries;
    names->entries = e;
}

/* Variant 0 is the plain name; the others keep the beginning, for people. */
static void make_name(const char *id, int variant, char ret_name[IFNAME_SIZE])
{
    auto_free char *text = mem_printf("%d %s", variant, id);

    if (variant == 0)
        (void)snprintf(ret_name, IFNAME_SIZE, "tap-%.*s", ID_CHARS, id);
    else
        (void)snprintf(ret_name, IFNAME_SIZE, "tap-%.5s-%05x", id, (unsigned)(bridge_hash(text) & 0xfffff));
}

static bool is_tap_name(const char *name)
{
    return text_starts(name, "tap-", NULL) && strlen(name) > 4 && strlen(name) < IFNAME_SIZE && text_is_id(name);
}

static bool choose(const struct names *names, const char *id, const char *wanted, char ret_name[IFNAME_SIZE])
{
    if (is_tap_name(wanted) && find_name(names, wanted) == NULL) {
        (void)snprintf(ret_name, IFNAME_SIZE, "%s", wanted);
        return true;
    }
    for (int variant = 0; variant < VARIANTS; variant++) {
        make_name(id, variant, ret_name);
        if (find_name(names, ret_name) == NULL)
            return true;
    }
    return false;
}

/* ---- reserved names --------------------------------------------------------------------------------------------- */

int names_reserve(struct names *names, const char *id, const char *wanted, char ret_name[IFNAME_SIZE],
                  struct runner_error *err)
{
    const struct entry *mine;
    char name[IFNAME_SIZE];
    bool is_found = true;

    pthread_mutex_lock(&names->lock);
    mine = find_id(names, id);
    if (mine != NULL) {
        memcpy(name, mine->name, sizeof name);
    } else {
        is_found = choose(names, id, wanted, name);
        if (is_found)
            add(names, id, name);
    }
    pthread_mutex_unlock(&names->lock);
    if (!is_found)
        return fail(err, RUNNER_E_BUSY, 0, "no interface name is free for sandbox '%s'", id);
    memcpy(ret_name, name, sizeof name);
    return 0;
}

int names_adopt(struct names *names, const char *id, const char *name, struct runner_error *err)
{
    const struct entry *other;
    auto_free char *other_id = NULL;

    if (!is_tap_name(name))
        return fail(err, RUNNER_E_INVALID, 0, "'%s' is no interface name of ours", name);
    pthread_mutex_lock(&names->lock);
    other = find_name(names, name);
    if (other == NULL)
        add(names, id, name);
    else if (strcmp(other->id, id) != 0)
        other_id = mem_dup(other->id);
    pthread_mutex_unlock(&names->lock);
    if (other_id == NULL) {
        names_set_lists(names, name, LISTS_UNKNOWN);
        names_set_rates(names, name);
    }
    if (other_id != NULL)
        return fail(err, RUNNER_E_EXISTS, 0, "interface '%s' is sandbox %s's", name, other_id);
    return 0;
}

void names_release(struct names *names, const char *id, const char *name)
{
    pthread_mutex_lock(&names->lock);
    for (struct entry **p = &names->entries; *p != NULL; p = &(*p)->next) {
        struct entry *e = *p;
        if (strcmp(e->name, name) != 0 || strcmp(e->id, id) != 0)
            continue;
        *p = e->next;
        entry_free(e);
        break;
    }
    pthread_mutex_unlock(&names->lock);
}

bool names_is_reserved(struct names *names, const char *name)
{
    bool is_reserved;

    pthread_mutex_lock(&names->lock);
    is_reserved = find_name(names, name) != NULL;
    pthread_mutex_unlock(&names->lock);
    return is_reserved;
}

void names_set_lists(struct names *names, const char *name, enum lists lists)
{
    struct entry *e;

    pthread_mutex_lock(&names->lock);
    e = find_name(names, name);
    if (e != NULL)
        e->lists = lists;
    pthread_mutex_unlock(&names->lock);
}

void names_set_rates(struct names *names, const char *name)
{
    struct entry *e;

    pthread_mutex_lock(&names->lock);
    e = find_name(names, name);
    if (e != NULL)
        e->has_rates = true;
    pthread_mutex_unlock(&names->lock);
}

void names_set_address(struct names *names, const char *name, const char *address)
{
    struct entry *e;

    pthread_mutex_lock(&names->lock);
    e = find_name(names, name);
    if (e != NULL)
        (void)snprintf(e->address, sizeof e->address, "%s", address);
    pthread_mutex_unlock(&names->lock);
}

bool names_is_address(struct names *names, const char *address)
{
    bool is_found = false;

    pthread_mutex_lock(&names->lock);
    for (const struct entry *e = names->entries; e != NULL && !is_found; e = e->next)
        is_found = strcmp(e->address, address) == 0;
    pthread_mutex_unlock(&names->lock);
    return is_found;
}

enum lists names_lists(struct names *names, const char *name)
{
    const struct entry *e;
    enum lists lists;

    pthread_mutex_lock(&names->lock);
    e = find_name(names, name);
    lists = e != NULL ? e->lists : LISTS_UNKNOWN;
    pthread_mutex_unlock(&names->lock);
    return lists;
}

bool names_has_rates(struct names *names, const char *name)
{
    const struct entry *e;
    bool has_rates;

    pthread_mutex_lock(&names->lock);
    e = find_name(names, name);
    has_rates = e == NULL || e->has_rates;
    pthread_mutex_unlock(&names->lock);
    return has_rates;
}

/* ---- idle TAPs -------------------------------------------------------------------------------------------------- */

/* Called with the lock held. */
static bool use_slot(struct names *names, size_t slot, char ret_name[IFNAME_SIZE])
{
    names->is_full[slot] = !names->is_full[slot];
    return snprintf(ret_name, IFNAME_SIZE, "%s%zu", names->prefix, slot) < IFNAME_SIZE;
}

/* From the top, while giving goes from the bottom: a slot wrongly believed full does not stand before the others. */
bool names_take_idle(struct names *names, char ret_name[IFNAME_SIZE])
{
    bool is_found = false;

    pthread_mutex_lock(&names->lock);
    for (size_t i = names->pool; i-- > 0 && !is_found;)
        if (names->is_full[i])
            is_found = use_slot(names, i, ret_name);
    pthread_mutex_unlock(&names->lock);
    return is_found;
}

bool names_give_idle(struct names *names, char ret_name[IFNAME_SIZE])
{
    bool is_found = false;

    pthread_mutex_lock(&names->lock);
    for (size_t i = 0; i < names->pool && !is_found; i++)
        if (!names->is_full[i])
            is_found = use_slot(names, i, ret_name);
    pthread_mutex_unlock(&names->lock);
    return is_found;
}

bool names_found_idle(struct names *names, const char *name, bool *ret_is_kept)
{
    const char *rest;
    int64_t slot;

    if (!text_starts(name, names->prefix, &rest) || !num_int(rest, 0, 9999, &slot))
        return false;
    *ret_is_kept = (size_t)slot < names->pool;
    if (*ret_is_kept) {
        pthread_mutex_lock(&names->lock);
        names->is_full[slot] = true;
        pthread_mutex_unlock(&names->lock);
    }
    return true;
}
