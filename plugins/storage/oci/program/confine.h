/* It reads what strangers wrote: it gives up what it does not need. */
#ifndef OCI_CONFINE_H
#define OCI_CONFINE_H

#include "plugins/storage/oci/program/request.h"

/* Capabilities, new ones, a core that would hold passwords. */
int confine_privileges(struct runner_error *err);
/* By landlock, where the kernel has it: of files it may write its own alone, and read only the system's and those that the
 * request names. socket_path: beside it lie files that it removes. */
int confine_files(const struct request *request, const char *socket_path, struct runner_error *err);

#endif
