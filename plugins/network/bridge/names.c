#include "plugins/network/bridge/names.h"

#include <netinet/in.h>
#include <pthread.h>
#include <string.h>

#include "core/util/num.h"
#include "core/util/text.h"

#define ID_CHARS 11 /* of the id in a name */
#define VARIANTS 32
#define NUMBERS  10000 /* of four digits */

struct entry {
    struct entry *next;
    char name[IFNAME_SIZE];
    char *id;
    char address[INET_ADDRSTRLEN];
    enum lists lists;
    bool has_rates;
    bool is_leaving;        /* the steps that take its TAP away were planned */
    char kept[IFNAME_SIZE]; /* under which that one stays; "": it does not */
};

enum number { NUMBER_FREE, NUMBER_TAKEN /* by an entry's name, or what it keeps */, NUMBER_IDLE };

struct names {
    pthread_mutex_t lock; /* everything below */
    struct entry *entries;
    char prefix[IFNAME_SIZE]; /* of numbers */
    size_t pool, n_idle;      /* n_idle: or soon to be, as entries keep them */
    uint8_t numbers[NUMBERS]; /* enum number */
    bool is_swept;
};

struct names *names_new(const char *bridge, size_t pool)
{
    struct names *names = mem_alloc(sizeof *names);

    pthread_mutex_init(&names->lock, NULL);
    names->pool = pool < POOL_MAX ? pool : POOL_MAX;
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
    while (names->entries != NULL) {
        struct entry *e = names->entries;
        names->entries = e->next;
        entry_free(e);
    }
    pthread_mutex_destroy(&names->lock);
    free(names);
}

void names_swept(struct names *names)
{
    pthread_mutex_lock(&names->lock);
    names->is_swept = true;
    pthread_mutex_unlock(&names->lock);
}

/* ---- numbers: called with the lock held ------------------------------------------------------------------------- */

static uint8_t *number_of(struct names *names, const char *name)
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

static void set_number(struct names *names, const char *name, enum number to)
{
    uint8_t *number = number_of(names, name);

    if (number == NULL)
        return;
    names->n_idle -= *number == NUMBER_IDLE;
    names->n_idle += to == NUMBER_IDLE;
    *number = (uint8_t)to;
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
    set_number(names, name, NUMBER_TAKEN);
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
    const uint8_t *number = number_of(names, name);

    return find_name(names, name) == NULL && (number == NULL || *number != NUMBER_TAKEN);
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

int names_reserve(struct names *names, const char *id, const char *wanted, bool may_be_idle, char ret_name[IFNAME_SIZE],
                  struct runner_error *err)
{
    struct entry *mine;
    char name[IFNAME_SIZE];
    bool is_found = true;

    pthread_mutex_lock(&names->lock);
    mine = find_id(names, id);
    if (mine != NULL) {
        mine->is_leaving = false;
        memcpy(name, mine->name, sizeof name);
    } else {
        is_found = choose(names, id, wanted, may_be_idle, name);
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

/* One that did not come to leave was undone, as TAP_ADD says it: of a number, its TAP is idle again. Called with the lock
 * held. */
static void settle_numbers(struct names *names, const struct entry *e)
{
    names->n_idle -= e->kept[0] != '\0'; /* counted once more below */
    set_number(names, e->name, e->is_leaving ? NUMBER_FREE : NUMBER_IDLE);
    set_number(names, e->kept, NUMBER_IDLE);
}

void names_release(struct names *names, const char *id)
{
    pthread_mutex_lock(&names->lock);
    for (struct entry **p = &names->entries; *p != NULL; p = &(*p)->next) {
        struct entry *e = *p;
        if (strcmp(e->id, id) != 0)
            continue;
        *p = e->next;
        settle_numbers(names, e);
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

bool names_is_number(struct names *names, const char *name)
{
    bool is_number;

    pthread_mutex_lock(&names->lock);
    is_number = number_of(names, name) != NULL;
    pthread_mutex_unlock(&names->lock);
    return is_number;
}

/* Called with the lock held: what is to be kept of it. One with a name of its own gets a number. */
static void choose_kept(struct names *names, struct entry *e)
{
    if (names->n_idle >= names->pool)
        return;
    if (number_of(names, e->name) != NULL)
        memcpy(e->kept, e->name, sizeof e->kept);
    else if (!find_number(names, NUMBER_FREE, e->kept))
        return;
    set_number(names, e->kept, NUMBER_TAKEN);
    names->n_idle++;
}

bool names_keep(struct names *names, const char *name, bool can_stay, char ret_idle[IFNAME_SIZE])
{
    struct entry *e;
    bool is_kept = false;

    pthread_mutex_lock(&names->lock);
    e = find_name(names, name);
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

bool names_found_idle(struct names *names, const char *name)
{
    const uint8_t *number;
    bool is_kept;

    pthread_mutex_lock(&names->lock);
    number = number_of(names, name);
    is_kept = number != NULL && (*number != NUMBER_FREE || names->n_idle < names->pool);
    if (is_kept && *number == NUMBER_FREE)
        set_number(names, name, NUMBER_IDLE);
    pthread_mutex_unlock(&names->lock);
    return is_kept;
}
