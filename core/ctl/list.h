/* Fetching what the runner knows of its sandboxes. */
#ifndef CTL_LIST_H
#define CTL_LIST_H

#include "core/ctl/ctl.h"
#include "core/ctl/table.h"

/* GET /sandboxes + query. ret_first: the first sandbox of ret_tree, NULL when there is none; each has a text "id". */
int list_fetch(struct ctl *ctl, const char *query, struct client_reply *ret, struct json **ret_tree,
               const struct json **ret_first);

/* The cell of a number, whole or not. */
void list_add_number(struct table *t, const struct json *sandbox, const char *key);

/* info.c: GET /sandboxes/{id}; the reply has a text "state" ("destroyed" when there is no such sandbox). */
int list_info(struct ctl *ctl, const char *id, struct client_reply *ret, struct json **ret_tree);

#endif
