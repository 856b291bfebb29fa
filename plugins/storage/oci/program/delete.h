/* A name goes. */
#ifndef OCI_DELETE_H
#define OCI_DELETE_H

#include "plugins/storage/oci/program/registry.h"

/* Of the registry's object. Absent: fine. NOTSUP: the registry removes nothing, or only the image whole, which other names
 * stand for too. */
int delete_name(struct registry *registry, struct runner_error *err);

#endif
