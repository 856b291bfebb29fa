/* A registry as one image in it is seen: where it is, who asks, and what becomes of an exchange: tried again, told. */
#ifndef OCI_REGISTRY_H
#define OCI_REGISTRY_H

#include "plugins/storage/oci/program/http.h"
#include "plugins/storage/oci/program/manifest.h"
#include "plugins/storage/oci/program/request.h"

struct registry {
    struct http *http;
    const struct request *request;
    const struct object *object;
    bool is_mirror;      /* it stands in for the server that the reference names: nobody's credentials */
    const char *actions; /* "pull" or "pull,push,delete" */
    char *also_pull;     /* another path of this registry, which a token is to be for too; or NULL */
    char *server, *base; /* "host:port", "https://host:port" */
    char *origin;        /* of base, as url_origin() has it */
    char *authorization; /* what it wants to be sent, or NULL */
};

/* Finds out how it is spoken to, and lets it know who asks. -1: UNREACHABLE, DENIED, INVALID (no registry), ... */
int registry_open(struct http *http, const struct request *request, const struct object *object, bool is_push,
                  const char *also_pull, struct registry *ret, struct runner_error *err);
void registry_done(struct registry *registry);

/* An exchange that is tried again. */
struct
try {
    struct exchange x;
    char *url;       /* where it begins */
    char *elsewhere; /* where it was sent to */
    int redirects, failures, denials;
    int64_t not_before_ms; /* by num_now_ms() */
};
void try_done(struct registry *registry, struct try *t);

enum { TRY_OVER, TRY_AGAIN };
/* Makes t ready to begin: its address, and who asks where it may be told. */
void registry_prepare(struct registry *registry, struct try *t);
/* It is done: TRY_OVER, with a status that is for the caller to judge; or TRY_AGAIN at not_before_ms; or -1: what failed is
 * final. */
int registry_judge(struct registry *registry, struct try *t, struct runner_error *err);
/* All of it, until it is over. */
int registry_run(struct registry *registry, struct try *t, struct runner_error *err);
/* "<base>/v2/<path>/<rest>"; the caller frees. */
char *registry_url(const struct registry *registry, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether the registry may send us there: to https, or from http to http where that is allowed. */
bool registry_may_go(const struct registry *registry, const char *url);

/* The manifest of a reference (a tag or digest), checked against its digest when it is one. An index stays one. */
int registry_manifest(struct registry *registry, const char *reference, struct manifest *ret, struct runner_error *err);
/* A small blob, whole; checked. The caller frees. */
int registry_small_blob(struct registry *registry, const struct descriptor *d, char **ret, struct runner_error *err);

#endif
