/* The routes /snapshots of REST (contract 1.3). */
#ifndef CORE_API_IMAGES_H
#define CORE_API_IMAGES_H

#include "core/api.h"

/* Loop thread; never blocks. false: the route is none of these. */
bool api_images_handle(struct api *api, struct http_request *request);

#endif
