/* Addresses of unix sockets, also of paths longer than sun_path. */
#ifndef UNIXADDR_H
#define UNIXADDR_H

#include <sys/socket.h>
#include <sys/un.h>

#include "plugins/transport/local/local.h"

/* ret_dir: a descriptor the address may lean on, to be closed after bind() or connect(); -1 when it needs none. */
int unixaddr_make(const char *path, struct sockaddr_un *ret, int *ret_dir, struct runner_error *err);

#endif
