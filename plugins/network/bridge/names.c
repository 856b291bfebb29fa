#include "plugins/network/bridge/names-inner.h"

#include <string.h>

#include "core/util/num.h"
#include "core/util/text.h"

#define ID_CHARS 11 /* of the id in a name */
#define VARIANTS 32

struct names *names_new(const char *bridge, size_t pool)
{
    struct names *names = mem_alloc(sizeof *names);

    pthread_mutex_init(&names->lock, NULL);
    names->pool = pool < POOL_MAX ? pool : POOL_MAX;
    names->places.there = 1;
    (void)snprintf(names->prefix, sizeof names->prefix, "tap-%06x-", (unsigned)(bridge_hash(bridge) & 0xffffff));
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
    names_free_all(names, entry_free);
    pthread_mutex_destroy(&names->lock);
    free(names->found);
    free(names);
}

void names_swept(struct names *names)
{
    pthread_mutex_lock(&names->lock);
    names->is_swept = true;
    names->n_found = 0;
    pthread_mutex_unlock(&names->lock);
}

/* ---- numbers: called with the lock held ------------------------------------------------------------------------- */

uint8_t *names_number(struct names *names, const char *name)
{
    const char *rest;
    int64_t number;

    if (!text_starts(name, names->prefix, &rest) || !num_int(rest, 0, NUMBERS - 1, &number) ||
        (rest[0] == '0' && rest[1] != '\0'))
        return NULL;
    return &names->numbers[number];
}

/* The first number that is so. */
static bool find_number(struct names *names, enum number is, char ret_name[IFNAME_SIZE])
{
    const uint8_t *found = memchr(names->numbers, is, sizeof names->numbers);

    return found != NULL &&
           snprintf(ret_name, IFNAME_SIZE, "%s%td", names->prefix, found - names->numbers) < IFNAME_SIZE;
}

void names_set_number(struct names *names, const char *name, enum number to, unsigned bridge)
{
    uint8_t *number = names_number(names, name), *is_on;

    if (number == NULL)
        return;
    is_on = &names->number_bridges[number - names->numbers];
    names->n_idle -= *number == NUMBER_IDLE;
    names->n_idle += to == NUMBER_IDLE;
    names->places.ours[*is_on] -= *number == NUMBER_IDLE;
    names->places.ours[bridge] += to == NUMBER_IDLE;
    *is_on = (uint8_t)bridge;
    *number = (uint8_t)to;
}

/* ---- reserved names: called with the lock held ------------------------------------------------------------------ */

static void add(struct names *names, const char *id, const char *name, unsigned bridge)
{
    struct entry *e = mem_alloc(sizeof *e);

    (void)snprintf(e->name, sizeof e->name, "%s", name);
    e->id = mem_dup(id);
    e->bridge = (uint8_t)bridge;
    names_insert(names, e);
    names_set_number(names, name, NUMBER_TAKEN, bridge);
    names->places.ours[bridge]++;
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

/* An idle TAP's is. */
static bool is_free(struct names *names, const char *name)
{
    const uint8_t *number = names_number(names, name);

    return names_find(names, name) == NULL && (number == NULL || *number != NUMBER_TAKEN);
}

static bool is_tap_name(const char *name)
{
    return text_starts(name, "tap-", NULL) && strlen(name) > 4 && strlen(name) < IFNAME_SIZE && text_is_id(name);
}

static bool choose(struct names *names, const char *id, const char *wanted, bool may_be_idle,
                   char ret_name[IFNAME_SIZE])
{
    if (is_tap_name(wanted) && is_free(names, wanted)) {
        (void)snprintf(ret_name, IFNAME_SIZE, "%s", wanted);
        return true;
    }
    if (may_be_idle && names->is_swept && find_number(names, NUMBER_IDLE, ret_name))
        return true;
    for (int variant = 0; variant < VARIANTS; variant++) {
        make_name(id, variant, ret_name);
        if (is_free(names, ret_name))
            return true;
    }
    return false;
}

/* ---- reserved names --------------------------------------------------------------------------------------------- */

/* Called with the lock held: of a name that is about to be somebody's. */
static unsigned place_of(struct names *names, const char *name)
{
    const uint8_t *number = names_number(names, name);

    if (number != NULL && *number == NUMBER_IDLE)
        return names->number_bridges[number - names->numbers];
    return places_choose(&names->places);
}

int names_reserve(struct names *names, const char *id, const char *wanted, bool may_be_idle, char ret_name[IFNAME_SIZE],
                  struct runner_error *err)
{
    struct entry *mine;
    char name[IFNAME_SIZE];
    bool is_found = true;

    pthread_mutex_lock(&names->lock);
    mine = names_find_id(names, id);
    if (mine != NULL) {
        mine->is_leaving = false;
        memcpy(name, mine->name, sizeof name);
    } else {
        is_found = choose(names, id, wanted, may_be_idle, name);
        if (is_found)
            add(names, id, name, place_of(names, name));
    }
    pthread_mutex_unlock(&names->lock);
    if (!is_found)
        return fail(err, RUNNER_E_BUSY, 0, "no interface name is free for sandbox '%s'", id);
    memcpy(ret_name, name, sizeof name);
    return 0;
}

/* Called with the lock held. */
static unsigned found_on(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->n_found; i++)
        if (strcmp(names->found[i].name, name) == 0)
            return names->found[i].bridge;
    return 0;
}

int names_adopt(struct names *names, const char *id, const char *name, struct runner_error *err)
{
    const struct entry *other;
    auto_free char *other_id = NULL;

    if (!is_tap_name(name))
        return fail(err, RUNNER_E_INVALID, 0, "'%s' is no interface name of ours", name);
    pthread_mutex_lock(&names->lock);
    other = names_find(names, name);
    if (other == NULL)
        add(names, id, name, found_on(names, name));
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

/* One that did not come to leave was undone, as TAP_ADD says it: of a number, its TAP is idle again. Called with the lock
 * held. */
static void settle_numbers(struct names *names, const struct entry *e)
{
    names->n_idle -= e->kept[0] != '\0'; /* counted once more below */
    names_set_number(names, e->name, e->is_leaving ? NUMBER_FREE : NUMBER_IDLE, e->bridge);
    names_set_number(names, e->kept, NUMBER_IDLE, e->bridge);
    names->places.ours[e->bridge]--;
}

void names_release(struct names *names, const char *id)
{
    struct entry *e;

    pthread_mutex_lock(&names->lock);
    e = names_find_id(names, id);
    if (e != NULL) {
        names_take_out(names, e);
        settle_numbers(names, e);
        entry_free(e);
    }
    pthread_mutex_unlock(&names->lock);
}

bool names_is_reserved(struct names *names, const char *name)
{
    bool is_reserved;

    pthread_mutex_lock(&names->lock);
    is_reserved = names_find(names, name) != NULL;
    pthread_mutex_unlock(&names->lock);
    return is_reserved;
}

void names_set_lists(struct names *names, const char *name, enum lists lists)
{
    struct entry *e;

    pthread_mutex_lock(&names->lock);
    e = names_find(names, name);
    if (e != NULL)
        e->lists = lists;
    pthread_mutex_unlock(&names->lock);
}

void names_set_rates(struct names *names, const char *name)
{
    struct entry *e;

    pthread_mutex_lock(&names->lock);
    e = names_find(names, name);
    if (e != NULL)
        e->has_rates = true;
    pthread_mutex_unlock(&names->lock);
}

void names_set_address(struct names *names, const char *name, const char *address)
{
    struct entry *e;

    pthread_mutex_lock(&names->lock);
    e = names_find(names, name);
    if (e != NULL) {
        names_take_out(names, e);
        (void)snprintf(e->address, sizeof e->address, "%s", address);
        names_insert(names, e);
    }
    pthread_mutex_unlock(&names->lock);
}

int names_address(struct names *names, const char *address)
{
    const struct entry *e;
    int bridge;

    pthread_mutex_lock(&names->lock);
    e = names_find_address(names, address);
    bridge = e != NULL ? e->bridge : -1;
    pthread_mutex_unlock(&names->lock);
    return bridge;
}

enum lists names_lists(struct names *names, const char *name)
{
    const struct entry *e;
    enum lists lists;

    pthread_mutex_lock(&names->lock);
    e = names_find(names, name);
    lists = e != NULL ? e->lists : LISTS_UNKNOWN;
    pthread_mutex_unlock(&names->lock);
    return lists;
}

bool names_has_rates(struct names *names, const char *name)
{
    const struct entry *e;
    bool has_rates;

    pthread_mutex_lock(&names->lock);
    e = names_find(names, name);
    has_rates = e == NULL || e->has_rates;
    pthread_mutex_unlock(&names->lock);
    return has_rates;
}

/* ---- idle TAPs -------------------------------------------------------------------------------------------------- */

bool names_is_number(struct names *names, const char *name)
{
    bool is_number;

    pthread_mutex_lock(&names->lock);
    is_number = names_number(names, name) != NULL;
    pthread_mutex_unlock(&names->lock);
    return is_number;
}

/* Called with the lock held: what is to be kept of it. One with a name of its own gets a number. */
static void choose_kept(struct names *names, struct entry *e)
{
    if (names->n_idle >= names->pool)
        return;
    if (names_number(names, e->name) != NULL)
        memcpy(e->kept, e->name, sizeof e->kept);
    else if (!find_number(names, NUMBER_FREE, e->kept))
        return;
    names_set_number(names, e->kept, NUMBER_TAKEN, e->bridge);
    names->n_idle++;
}

bool names_keep(struct names *names, const char *name, bool can_stay, char ret_idle[IFNAME_SIZE])
{
    struct entry *e;
    bool is_kept = false;

    pthread_mutex_lock(&names->lock);
    e = names_find(names, name);
    if (e != NULL) {
        e->is_leaving = true;
        if (e->kept[0] == '\0' && can_stay)
            choose_kept(names, e);
        is_kept = can_stay && e->kept[0] != '\0';
        memcpy(ret_idle, e->kept, IFNAME_SIZE);
    }
    pthread_mutex_unlock(&names->lock);
    return is_kept;
}

bool names_found_idle(struct names *names, const char *name, unsigned bridge)
{
    const uint8_t *number;
    bool is_kept;

    pthread_mutex_lock(&names->lock);
    number = names_number(names, name);
    is_kept = number != NULL && (*number != NUMBER_FREE || names->n_idle < names->pool);
    if (is_kept && *number == NUMBER_FREE)
        names_set_number(names, name, NUMBER_IDLE, bridge);
    pthread_mutex_unlock(&names->lock);
    return is_kept;
}
