#include "plugins/storage/oci/program/url.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

char *url_origin(const char *url)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL, *origin = NULL;

    if (u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
        (strcasecmp(scheme, "https") == 0 || strcasecmp(scheme, "http") == 0))
        origin = mem_printf("%s://%s:%s", scheme, host, port);
    for (char *p = origin; p != NULL && *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return origin;
}

char *url_resolve(const char *base, const char *location)
{
    CURLU *u = curl_url();
    char *text = NULL, *whole = NULL;

    if (u != NULL && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_URL, location, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_USER, NULL, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_PASSWORD, NULL, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK)
        whole = mem_dup(text);
    curl_free(text);
    curl_url_cleanup(u);
    return whole;
}

int url_shown(const char *url)
{
    size_t len = strcspn(url, "?#");

    return len < 100 ? (int)len : 100;
}

void url_add_query(struct str *url, const char *name, const char *value)
{
    char *escaped = curl_easy_escape(NULL, value, 0);

    if (escaped == NULL)
        mem_die();
    str_addf(url, "%c%s=%s", strchr(str_text(url), '?') != NULL ? '&' : '?', name, escaped);
    curl_free(escaped);
}
