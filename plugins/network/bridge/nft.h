/* One transaction for the bridge table, as netlink messages: built here, carried out by a NETLINK step. Adding what is
 * there already succeeds, when it is the same; so what may be there or not is deleted by adding it before. */
#ifndef NFT_H
#define NFT_H

#include "plugins/network/bridge/bridge.h"
#include "plugins/network/bridge/ranges.h"

#define PORT_KEY  IFNAME_SIZE /* an interface's name, filled up with zeros */
#define IDENT_KEY 28          /* port, MAC address and two zeros, IPv4 address */
#define OMAC_KEY  24          /* port, MAC address and two zeros */

struct nft {
    struct str data;
    char table[32];
    size_t last; /* where the last message begins */
    uint32_t n, n_sets;
};

void nft_begin(struct nft *t, const struct bridge *b);
/* Ends the transaction and adds it to the batch as one step with these RUNNER_S_*; undo: ended here as well, or NULL. Both
 * are done after it. */
int nft_end(struct nft *t, struct nft *undo, uint32_t flags, struct runner_batch *batch, struct runner_error *err);
void nft_done(struct nft *t);

enum nft_change { NFT_ADD = 1, NFT_DELETE = 2, NFT_CLEAR = 3 /* added, so that it can be deleted */ };

void nft_element(struct nft *t, enum nft_change change, const char *set, const void *key, size_t len);
/* Of a map: packets of the port go on in that chain, and come back. */
void nft_jump(struct nft *t, enum nft_change change, const char *map, const char *port, const char *chain);
void nft_port(struct nft *t, enum nft_change change, const char *set, const char *port);

void nft_set(struct nft *t, enum nft_change change, const char *set,
             bool has_timeout); /* else of ranges; of addresses */
void nft_set_flush(struct nft *t, const char *set);
void nft_ranges(struct nft *t, const char *set, const struct ranges *ranges); /* that are tidy */

void nft_chain(struct nft *t, enum nft_change change, const char *chain);
void nft_chain_flush(struct nft *t, const char *chain);

/* A rule behind the others of the chain: what has its source, or else its destination, in the set may pass. */
void nft_accept(struct nft *t, const char *chain, bool is_source, const char *set);
/* A rule that drops what is more than so much a second, once a second's worth is used up. */
void nft_rate(struct nft *t, const char *chain, uint64_t bytes_per_s);

/* ---- what is there ---- */

enum nft_list { NFT_SETS, NFT_CHAINS };
/* Questions: a batch of their own. */
void nft_ask_begin(struct nft *t, const struct bridge *b);
void nft_ask_elements(struct nft *t, const char *set);
void nft_ask_list(struct nft *t, enum nft_list what);
/* With these RUNNER_S_*; the step's index. */
int nft_ask_end(struct nft *t, uint32_t flags, struct runner_batch *batch, struct runner_error *err);

struct nft_found {           /* one thing that is there */
    const char *set, *chain; /* an element's or a set; a chain; the other is NULL */
    const uint8_t *key;      /* of an element; NULL: the set itself */
    size_t len;
    uint64_t packets, bytes; /* that it counted */
};
typedef void nft_found_fn(void *ctx, const struct nft_found *found);
/* Calls fn for each thing of our table in the answer. What is malformed is passed over. */
void nft_each(const struct bridge *b, const struct runner_result *answer, nft_found_fn *fn, void *ctx);

#endif
