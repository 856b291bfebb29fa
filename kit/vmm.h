/* Machines: the request that all points about VMMs make, and peers that play the VMM. */
#ifndef KIT_VMM_H
#define KIT_VMM_H

#include "kit/op.h"

struct machine { /* a request; its texts live as long as the process, and it does not move */
    struct runner_vm vm;
    struct runner_image disk;
    struct runner_nic nic;
    const struct runner_image *disks[1];
    const struct runner_nic *nics[1];
};

/* ---- vmm-machine.c ---- */

/* Of the point's sandbox; its files are put into the world. */
void machine_init(struct subject *s, struct machine *m);
/* The same without the files, which are there; any thread. */
void machine_fill(const struct subject *s, struct machine *m);
/* In the layout; machine_init and guard_reset come first. */
const struct runner_vm *machine_in(enum layout layout, struct machine *m);

/* ---- vmm.c ---- */

const struct runner_vmm_ops *vmm_ops_of(const struct subject *s);

/* Operations that talk to the VMM. */
extern const struct op vmm_talking_ops[];
extern const size_t vmm_n_talking_ops;

/* ---- vmm-peer.c: who answers at the control socket ---- */

enum peer { PEER_SILENT, PEER_CLOSES, PEER_GARBAGE, PEER_ENDLESS, PEER_LINES, PEER_HTTP, PEER_JSON, PEERS };
/* Listens at path, with a thread, until the process ends. */
void peer_start(enum peer peer, const char *path);
const char *peer_name(enum peer peer);

void vmm_add_peer_points(struct checklist *list, const struct plugin *plugin);

/* ---- vmm-live.c ---- */

void point_live(struct subject *s, const struct point *point);

#endif
