/* The operations. */
#ifndef OCI_WORK_H
#define OCI_WORK_H

#include "plugins/storage/oci/program/request.h"

/* ret_members: of the result, as JSON without its braces. */
int work_run(const struct request *request, struct str *ret_members, struct runner_error *err);

#endif
