/* Points about parameters. */
#ifndef KIT_PARAM_H
#define KIT_PARAM_H

#include "kit/point.h"

void point_docs(struct subject *s, const struct point *point);
void point_dump(struct subject *s, const struct point *point);
void point_defaults(struct subject *s, const struct point *point);
void point_order(struct subject *s, const struct point *point);
void point_values(struct subject *s, const struct point *point);

#endif
