#include "plugins/network/bridge/places.h"

static unsigned used(const struct places *p, unsigned bridge)
{
    return p->ours[bridge] + p->others[bridge];
}

unsigned places_free(const struct places *p)
{
    unsigned n = 0;

    for (unsigned i = 0; i < BRIDGES_MAX; i++)
        if (places_has(p->there, i) && used(p, i) < BRIDGE_PORTS)
            n += BRIDGE_PORTS - used(p, i);
    return n;
}

int places_also(const struct places *p, unsigned bridge)
{
    int least = -1;

    for (unsigned i = 0; i < BRIDGES_MAX; i++) {
        if (i == bridge || !places_has(p->there, i))
            continue;
        if (used(p, i) < BRIDGE_PORTS)
            return (int)i;
        if (least < 0 || used(p, i) < used(p, (unsigned)least))
            least = (int)i;
    }
    return least;
}

unsigned places_choose(const struct places *p)
{
    return (unsigned)places_also(p, BRIDGES_MAX);
}
