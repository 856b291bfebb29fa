/* Addresses, by libcurl. */
#ifndef OCI_URL_H
#define OCI_URL_H

#include "core/util/str.h"

/* "https://host:port" of a URL, in one form; NULL: it is none of http or https. The caller frees. */
char *url_origin(const char *url);
/* What a location means where it was found; NULL: no URL. The caller frees. */
char *url_resolve(const char *base, const char *location);
/* How many bytes of a URL are shown, with "%.*s": its query may be a signature. */
int url_shown(const char *url);
/* "name=value" escaped, with '?' or '&' before it. */
void url_add_query(struct str *url, const char *name, const char *value);

#endif
