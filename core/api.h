/* What the REST routes mean: requests become operations or views of the index, results become replies. */
#ifndef CORE_API_H
#define CORE_API_H

#include "core/engine.h"
#include "core/http/http.h"

struct api {
    struct engine *engine;
    struct http_server *server; /* set once it runs */
};

/* The callbacks for http_start(); api must outlive the server. */
void api_backend(struct api *api, struct http_backend *ret);

#endif
