#include "plugins/storage/oci/program/challenge.h"

#include <string.h>
#include <strings.h>

#define VALUE_MAX 2048
#define TOKEN     "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

/* token or "quoted"; NULL: neither, or not ended. */
static const char *take_value(const char *p, struct str *ret)
{
    size_t len = strspn(p, TOKEN "/:=");

    if (*p != '"') {
        str_add_mem(ret, p, len);
        return len > 0 ? p + len : NULL;
    }
    for (p++; *p != '"'; p++) {
        if (*p == '\\')
            p++;
        if (*p == '\0' || *p == '\n')
            return NULL;
        str_add_char(ret, *p);
    }
    return p + 1;
}

static void keep(char **member, struct str *value)
{
    if (*member == NULL && value->len > 0 && value->len <= VALUE_MAX)
        *member = str_steal(value);
}

/* name=value[, name=value]...: ends where a name without a value begins, which is the next scheme. */
static const char *take_params(const char *p, struct challenge *c, bool is_bearer)
{
    for (;;) {
        auto_str struct str value = STR_INIT;
        const char *name, *rest;
        size_t len;

        p += strspn(p, " \t,");
        name = p;
        len = strspn(p, TOKEN);
        rest = skip_blanks(p + len);
        if (len == 0 || *rest != '=')
            return p;
        rest = take_value(skip_blanks(rest + 1), &value);
        if (rest == NULL)
            return p + strcspn(p, "\n");
        if (is_bearer && len == 5 && strncasecmp(name, "realm", len) == 0)
            keep(&c->realm, &value);
        else if (is_bearer && len == 7 && strncasecmp(name, "service", len) == 0)
            keep(&c->service, &value);
        else if (is_bearer && len == 5 && strncasecmp(name, "scope", len) == 0)
            keep(&c->scope, &value);
        p = rest;
    }
}

void challenge_parse(const char *text, struct challenge *ret)
{
    struct challenge c = {.realm = NULL};
    const char *p = text;

    while (*(p += strspn(p, " \t\n,")) != '\0') {
        size_t len = strspn(p, TOKEN);
        bool is_bearer = len == 6 && strncasecmp(p, "Bearer", len) == 0;

        if (len == 0) {
            p += strcspn(p, "\n");
            continue;
        }
        c.is_basic = c.is_basic || (len == 5 && strncasecmp(p, "Basic", len) == 0);
        p = take_params(p + len, &c, is_bearer);
    }
    c.is_bearer = c.realm != NULL;
    *ret = c;
}

void challenge_done(struct challenge *c)
{
    free(c->realm);
    free(c->service);
    free(c->scope);
    *c = (struct challenge){.realm = NULL};
}
