/* Inside of names: names.c, names-index.c, names-places.c. */
#ifndef NAMES_INNER_H
#define NAMES_INNER_H

#include <netinet/in.h>
#include <pthread.h>

#include "plugins/network/bridge/names.h"

#define NUMBERS 10000 /* of four digits */

#define NAMES_BUCKETS 4096 /* of entries, which are 65 000 at most: places.h */

enum { BY_NAME, BY_ID, BY_ADDRESS, NAMES_KEYS };

struct entry {
    struct entry *next[NAMES_KEYS]; /* in its bucket */
    char name[IFNAME_SIZE];
    char *id;
    char address[INET_ADDRSTRLEN]; /* "": not said yet */
    enum lists lists;
    uint8_t bridge; /* that its TAP is on */
    bool has_rates;
    bool is_leaving;        /* the steps that take its TAP away were planned */
    char kept[IFNAME_SIZE]; /* under which that one stays; "": it does not */
};

enum number { NUMBER_FREE, NUMBER_TAKEN /* by an entry's name, or what it keeps */, NUMBER_IDLE };

struct found {
    char name[IFNAME_SIZE];
    uint8_t bridge;
};

struct names {
    pthread_mutex_t lock; /* everything below */
    struct entry *entries[NAMES_KEYS][NAMES_BUCKETS];
    char prefix[IFNAME_SIZE];        /* of numbers */
    size_t pool, n_idle;             /* n_idle: or soon to be, as entries keep them */
    uint8_t numbers[NUMBERS];        /* enum number */
    uint8_t number_bridges[NUMBERS]; /* of those that are idle */
    struct places places;
    struct found *found; /* on other bridges than the first, before their sandboxes are adopted */
    size_t n_found;
    bool is_swept;
};

/* All with the lock held. */
struct entry *names_find(const struct names *names, const char *name);
struct entry *names_find_id(const struct names *names, const char *id);
struct entry *names_find_address(const struct names *names, const char *address);
void names_insert(struct names *names, struct entry *e); /* by name, id and address; it is not there */
void names_take_out(struct names *names, struct entry *e);
void names_free_all(struct names *names, void (*free_entry)(struct entry *)); /* at the end of names */
uint8_t *names_number(struct names *names, const char *name); /* enum number; NULL: it is no such name */
/* bridge: that it is on. One that is taken is counted by its entry. */
void names_set_number(struct names *names, const char *name, enum number to, unsigned bridge);

#endif
