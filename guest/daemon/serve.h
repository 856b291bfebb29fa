/* The server process: what runs in the sandbox as its user. */
#ifndef GUEST_SERVE_H
#define GUEST_SERVE_H

#include "guest/daemon/options.h"
#include "guest/daemon/seed.h"

#define SERVE_REFUSED 2 /* the image cannot be what the seed asks for: no such user, or working directory */

/* Becomes the seed's user when this is root and the user exists, sets the environment, listens, and serves until
 * SIGTERM or SIGINT. Returns the exit status: 0, or 1 or SERVE_REFUSED after a line on stderr. */
int serve(const struct options *o, const struct seed *s);

/* Runs another server, the program at path, in place of this process, with the same user, environment and directory. Only
 * returns, -1, when that fails; serve() may follow. */
int serve_other(const char *path, const struct seed *s, struct runner_error *err);

#endif
