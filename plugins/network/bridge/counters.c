/* What ports counted: in the elements by which their packets pass, so since they were attached. */
#include <string.h>

#include "plugins/network/bridge/nft.h"

struct named {
    const char *port;
    struct runner_nic_counters *to;
};

struct search { /* sorted by port */
    struct named *list;
    size_t n;
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->port, ((const struct named *)b)->port);
}

static void count(void *ctx, const struct nft_found *found)
{
    const struct search *s = ctx;
    char port[IFNAME_SIZE + 1] = "";
    struct named wanted = {.port = port}, *named;

    if (found->key == NULL || found->len < PORT_KEY)
        return;
    memcpy(port, found->key, PORT_KEY);
    named = bsearch(&wanted, s->list, s->n, sizeof wanted, compare);
    if (named == NULL)
        return;
    if (strcmp(found->set, "ident") == 0) {
        named->to->tx_packets += found->packets;
        named->to->tx_bytes += found->bytes;
    } else if (strcmp(found->set, "omac") == 0) {
        named->to->rx_packets += found->packets;
        named->to->rx_bytes += found->bytes;
    } else if (strcmp(found->set, "refused") == 0) {
        named->to->refused_packets += found->packets;
    }
}

static int ask(const struct bridge *b, struct runner_call *call, struct search *s, struct runner_error *err)
{
    struct runner_batch *batch = bridge_host->batch_new(call);
    struct nft t;
    int index, r = -1;

    nft_ask_begin(&t, b);
    nft_ask_elements(&t, "ident");
    nft_ask_elements(&t, "omac");
    nft_ask_elements(&t, "refused");
    index = nft_ask_end(&t, 0, batch, err);
    if (index >= 0 && bridge_host->run(call, batch, err) == 0) {
        nft_each(b, bridge_host->result(batch, index), count, s);
        r = 0;
    }
    bridge_host->batch_free(batch);
    return r;
}

int counters_read(const struct bridge *b, struct runner_call *call, const struct runner_nic *const *nics, size_t n,
                  struct runner_nic_counters *ret, struct runner_error *err)
{
    struct search s = {mem_array(n + 1, sizeof *s.list), 0};
    int r;

    for (size_t i = 0; i < n; i++) {
        ret[i] = (struct runner_nic_counters){.size = sizeof ret[i]};
        if (nics[i]->kind == RUNNER_NIC_TAP && nics[i]->name[0] != '\0')
            s.list[s.n++] = (struct named){nics[i]->name, &ret[i]};
    }
    qsort(s.list, s.n, sizeof *s.list, compare);
    r = s.n > 0 ? ask(b, call, &s, err) : 0;
    free(s.list);
    return r < 0 ? error_wrap(err, "network/bridge: counters") : 0;
}
