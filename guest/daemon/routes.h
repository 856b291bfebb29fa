/* The toolbox API: its route table, and what several handlers share. */
#ifndef GUEST_ROUTES_H
#define GUEST_ROUTES_H

#include "guest/daemon/server.h"

extern const struct route routes_table[];
extern const size_t routes_count;

/* Query parameter; answers 400 and returns NULL when it is absent or empty. The caller frees. */
char *routes_need_query(struct exchange *x, const char *name);
/* The query parameter as a path: "~" is the home directory, relative paths are below the work directory, as a shell has
 * them. */
char *routes_need_path(struct exchange *x, const char *name);
char *routes_expand(const char *path);

/* Adds raw output as a JSON text; NUL and bytes that are no UTF-8 become U+FFFD. */
void routes_add_output(struct str *json, const char *key, const char *data, size_t len);

/* ---- handlers, one group a file ---- */
void execute_post(struct exchange *x);

void file_list(struct exchange *x);
void file_info(struct exchange *x);
void file_folder(struct exchange *x);
void file_delete(struct exchange *x);
void file_move(struct exchange *x);
void file_permissions(struct exchange *x);

void download_get(struct exchange *x);
void download_bulk(struct exchange *x);
void upload_post(struct exchange *x);
void upload_bulk(struct exchange *x);

void search_names(struct exchange *x);
void search_text(struct exchange *x);
void search_replace(struct exchange *x);

void session_list(struct exchange *x);
void session_create(struct exchange *x);
void session_get(struct exchange *x);
void session_delete(struct exchange *x);
void session_exec(struct exchange *x);
void session_command(struct exchange *x);
void session_input(struct exchange *x);
void session_logs(struct exchange *x);
void session_entrypoint(struct exchange *x);
void session_entrypoint_logs(struct exchange *x);

void port_list(struct exchange *x);
void port_in_use(struct exchange *x);
void proxy_any(struct exchange *x);

#endif
