/* Inside of names: names.c, names-places.c. */
#ifndef NAMES_INNER_H
#define NAMES_INNER_H

#include <netinet/in.h>
#include <pthread.h>

#include "plugins/network/bridge/names.h"

#define NUMBERS 10000 /* of four digits */

struct entry {
    struct entry *next;
    char name[IFNAME_SIZE];
    char *id;
    char address[INET_ADDRSTRLEN];
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
    struct entry *entries;
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
uint8_t *names_number(struct names *names, const char *name); /* enum number; NULL: it is no such name */
/* bridge: that it is on. One that is taken is counted by its entry. */
void names_set_number(struct names *names, const char *name, enum number to, unsigned bridge);

#endif
