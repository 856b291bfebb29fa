/* Fetching what the runner knows of its sandboxes. */
#ifndef CTL_LIST_H
#define CTL_LIST_H

#include "core/ctl/ctl.h"

/* GET /sandboxes + query. ret_first: the first sandbox of ret_tree, NULL when there is none; each has a text "id". */
int list_fetch(struct ctl *ctl, const char *query, struct client_reply *ret, struct json **ret_tree,
               const struct json **ret_first);

/* GET /sandboxes/{id}; the reply has a text "state" ("destroyed" when there is no such sandbox). */
int list_info(struct ctl *ctl, const char *id, struct client_reply *ret, struct json **ret_tree);

#endif
