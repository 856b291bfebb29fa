/* The kinds' checklists, one file each. */
#ifndef KIT_KIND_H
#define KIT_KIND_H

#include "kit/op.h"

extern const struct kind kind_disk, kind_ipam, kind_network, kind_storage, kind_transport, kind_vmm;

#endif
