/* References to images, as the Daytona API and people write them. */
#ifndef OCI_REF_H
#define OCI_REF_H

#include <stdbool.h>

#include "core/util/error.h"
#include "core/util/str.h"

#define REF_DOCKER_HUB "docker.io"

struct ref {
    char *server; /* "host" or "host:port", lower case; REF_DOCKER_HUB for what names none */
    char *path;   /* "library/debian" */
    char *tag;    /* NULL with a digest alone */
    char *digest; /* "sha256:<64 hexadecimal digits>", or NULL */
};

/* Takes "debian", "debian:12", "host:5000/a/b@sha256:<hex>", and what the API makes of digests: "a/b:sha256:<hex>". Without
 * tag and digest it is "latest". "host//name" has an empty project, which counts as "daytona". INVALID names the part that
 * is wrong. */
int ref_parse(const char *text, struct ref *ret, struct runner_error *err);
void ref_done(struct ref *ref); /* takes a zeroed one */

/* What stands in a manifest's address: the digest if there is one, else the tag. */
const char *ref_reference(const struct ref *ref);

/* "host[:port]" in its one form: without a scheme and a path, lower case, docker.io for all its names. NULL: it is none.
 * The caller frees. */
char *ref_server(const char *text);
/* The host of "host[:port]" is this machine. */
bool ref_is_loopback(const char *server);

/* Whether it is "sha256:" and 64 digits in lower case. */
bool ref_is_digest(const char *text);
#define REF_HEX(digest) ((digest) + 7)

#endif
