#include "plugins/network/bridge/dns/guests.h"

#include <stddef.h>
#include <stdlib.h>

#define RATE        100 /* questions a second */
#define BURST       200
#define IN_WORK     32
#define CONNECTIONS 4

struct guest {
    int64_t seen_us;
    uint32_t credit_us; /* a question takes its share of a second */
    uint16_t in_work, connections;
};

struct guests {
    uint32_t network;
    size_t n;
    struct guest list[];
};

struct guests *guests_new(uint32_t network, unsigned prefix)
{
    size_t n = prefix >= 32 ? 1 : (size_t)1 << (32 - prefix);
    struct guests *guests = calloc(1, sizeof *guests + n * sizeof guests->list[0]);

    if (guests == NULL)
        return NULL;
    guests->network = network;
    guests->n = n;
    return guests;
}

void guests_free(struct guests *guests)
{
    free(guests);
}

/* NULL: it is none of the network's. */
static struct guest *find(struct guests *guests, uint32_t address)
{
    uint32_t i = address - guests->network;

    return address >= guests->network && i < guests->n ? &guests->list[i] : NULL;
}

bool guests_begin(struct guests *guests, uint32_t address, int64_t now_us)
{
    struct guest *guest = find(guests, address);
    int64_t credit;

    if (guest == NULL || guest->in_work >= IN_WORK)
        return false;
    credit = guest->credit_us + (guest->seen_us == 0 ? INT64_C(1000000) * BURST / RATE : now_us - guest->seen_us);
    guest->seen_us = now_us;
    if (credit > INT64_C(1000000) * BURST / RATE)
        credit = INT64_C(1000000) * BURST / RATE;
    guest->credit_us = (uint32_t)credit;
    if (credit < 1000000 / RATE)
        return false;
    guest->credit_us -= 1000000 / RATE;
    guest->in_work++;
    return true;
}

void guests_end(struct guests *guests, uint32_t address)
{
    struct guest *guest = find(guests, address);

    if (guest != NULL && guest->in_work > 0)
        guest->in_work--;
}

bool guests_connect(struct guests *guests, uint32_t address)
{
    struct guest *guest = find(guests, address);

    if (guest == NULL || guest->connections >= CONNECTIONS)
        return false;
    guest->connections++;
    return true;
}

void guests_disconnect(struct guests *guests, uint32_t address)
{
    struct guest *guest = find(guests, address);

    if (guest != NULL && guest->connections > 0)
        guest->connections--;
}
