/* Names: on which bridge each TAP is. */
#include <string.h>

#include "plugins/network/bridge/names-inner.h"

#define SPARE 64 /* ports: one more bridge is made before none is left, since many may be attached at once */

uint64_t names_bridges(struct names *names)
{
    uint64_t there;

    pthread_mutex_lock(&names->lock);
    there = names->places.there;
    pthread_mutex_unlock(&names->lock);
    return there;
}

void names_add_bridge(struct names *names, unsigned bridge)
{
    pthread_mutex_lock(&names->lock);
    names->places.there |= UINT64_C(1) << bridge;
    pthread_mutex_unlock(&names->lock);
}

unsigned names_bridge(struct names *names, const char *name, int *ret_also)
{
    const struct entry *e;
    unsigned bridge;

    pthread_mutex_lock(&names->lock);
    e = names_find(names, name);
    bridge = e != NULL ? e->bridge : 0;
    if (ret_also != NULL)
        *ret_also = places_also(&names->places, bridge);
    pthread_mutex_unlock(&names->lock);
    return bridge;
}

/* Called with the lock held. */
static void move_entry(struct names *names, struct entry *e, unsigned bridge)
{
    names->places.ours[e->bridge]--;
    names->places.ours[bridge]++;
    e->bridge = (uint8_t)bridge;
}

/* Called with the lock held. */
static void remember(struct names *names, const char *name, unsigned bridge)
{
    struct found *found;

    names->found = mem_grow(names->found, names->n_found + 1, sizeof *names->found);
    found = &names->found[names->n_found++];
    found->bridge = (uint8_t)bridge;
    (void)snprintf(found->name, sizeof found->name, "%s", name);
}

void names_found_on(struct names *names, const char *name, unsigned bridge)
{
    struct entry *e;
    const uint8_t *number;

    pthread_mutex_lock(&names->lock);
    e = names_find(names, name);
    number = names_number(names, name);
    if (e != NULL)
        move_entry(names, e, bridge);
    else if (number != NULL && *number == NUMBER_IDLE)
        names_set_number(names, name, NUMBER_IDLE, bridge);
    else if (bridge > 0 && !names->is_swept)
        remember(names, name, bridge);
    pthread_mutex_unlock(&names->lock);
}

void names_set_others(struct names *names, const unsigned others[BRIDGES_MAX])
{
    pthread_mutex_lock(&names->lock);
    memcpy(names->places.others, others, sizeof names->places.others);
    pthread_mutex_unlock(&names->lock);
}

unsigned names_place_again(struct names *names, const char *name)
{
    struct entry *e;
    unsigned bridge = 0;

    pthread_mutex_lock(&names->lock);
    e = names_find(names, name);
    if (e != NULL) {
        if (names->places.ours[e->bridge] + names->places.others[e->bridge] > BRIDGE_PORTS)
            move_entry(names, e, places_choose(&names->places));
        bridge = e->bridge;
    }
    pthread_mutex_unlock(&names->lock);
    return bridge;
}

bool names_is_short(struct names *names, unsigned bridges_max)
{
    bool is_short;

    pthread_mutex_lock(&names->lock);
    is_short = places_free(&names->places) < SPARE && (unsigned)__builtin_popcountll(names->places.there) < bridges_max;
    pthread_mutex_unlock(&names->lock);
    return is_short;
}

bool names_has_room(struct names *names)
{
    bool has_room;

    pthread_mutex_lock(&names->lock);
    has_room = places_free(&names->places) > 0;
    pthread_mutex_unlock(&names->lock);
    return has_room;
}
