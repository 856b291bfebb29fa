/* Images and what was fetched of them, in /metrics. Worker threads; asks each host once. */
#ifndef CORE_VIEW_IMAGES_H
#define CORE_VIEW_IMAGES_H

#include "core/engine.h"

void view_add_image_metrics(struct engine *engine, struct runner_call *call, struct str *out);

#endif
