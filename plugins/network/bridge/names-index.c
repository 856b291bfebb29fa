/* Names: who has which, by the name, the sandbox's id, the guest's address. */
#include <string.h>

#include "plugins/network/bridge/names-inner.h"

static const char *key_of(const struct entry *e, int by)
{
    return by == BY_NAME ? e->name : by == BY_ID ? e->id : e->address;
}

static size_t bucket_of(const char *key)
{
    return bridge_hash(key) % NAMES_BUCKETS;
}

static struct entry *find(const struct names *names, int by, const char *key)
{
    struct entry *e = names->entries[by][bucket_of(key)];

    while (e != NULL && strcmp(key_of(e, by), key) != 0)
        e = e->next[by];
    return e;
}

struct entry *names_find(const struct names *names, const char *name)
{
    return find(names, BY_NAME, name);
}

struct entry *names_find_id(const struct names *names, const char *id)
{
    return find(names, BY_ID, id);
}

struct entry *names_find_address(const struct names *names, const char *address)
{
    return find(names, BY_ADDRESS, address);
}

void names_insert(struct names *names, struct entry *e)
{
    for (int by = 0; by < NAMES_KEYS; by++) {
        struct entry **bucket = &names->entries[by][bucket_of(key_of(e, by))];

        e->next[by] = *bucket;
        *bucket = e;
    }
}

void names_take_out(struct names *names, struct entry *e)
{
    for (int by = 0; by < NAMES_KEYS; by++) {
        struct entry **link = &names->entries[by][bucket_of(key_of(e, by))];

        while (*link != e)
            link = &(*link)->next[by];
        *link = e->next[by];
    }
}

void names_free_all(struct names *names, void (*free_entry)(struct entry *))
{
    for (size_t i = 0; i < NAMES_BUCKETS; i++)
        for (struct entry *e = names->entries[BY_NAME][i], *next; e != NULL; e = next) {
            next = e->next[BY_NAME];
            free_entry(e);
        }
}
