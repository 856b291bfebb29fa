#include "core/policy.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "core/util/num.h"

#define LIST_MAX   4096 /* bytes of a list as it comes */
#define DOMAIN_MAX 253
#define LABEL_MAX  63

void policy_done(struct policy *policy)
{
    free(policy->cidrs);
    free(policy->domains);
    *policy = (struct policy){.cidrs = NULL};
}

void policy_copy(const struct policy *from, struct policy *ret)
{
    *ret = *from;
    ret->cidrs = mem_dup(from->cidrs);
    ret->domains = mem_dup(from->domains);
}

uint64_t policy_needs(const struct policy *policy)
{
    if (policy->domains != NULL)
        return RUNNER_NETWORK_CAP_POLICY | RUNNER_NETWORK_CAP_DOMAINS;
    return policy->is_blocked || policy->cidrs != NULL ? RUNNER_NETWORK_CAP_POLICY : 0;
}

/* ---- lists -------------------------------------------------------------------------------------------------------- */

struct items { /* of a list: not empty, blanks around them are gone */
    const char *text[POLICY_ITEMS_MAX];
    size_t len[POLICY_ITEMS_MAX], n;
};

static int split(const char *list, struct items *ret, struct runner_error *err)
{
    ret->n = 0;
    if (strlen(list) > LIST_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "is longer than %d bytes", LIST_MAX);
    for (;;) {
        size_t len;

        list += strspn(list, " \t");
        len = strcspn(list, ",");
        while (len > 0 && (list[len - 1] == ' ' || list[len - 1] == '\t'))
            len--;
        if (len > 0 && ret->n == POLICY_ITEMS_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "has more than %d items", POLICY_ITEMS_MAX);
        if (len > 0) {
            ret->text[ret->n] = list;
            ret->len[ret->n++] = len;
        }
        list += strcspn(list, ",");
        if (*list++ == '\0')
            return 0;
    }
}

struct cidr {
    uint32_t address; /* of this machine's byte order */
    int prefix;
};

static uint32_t mask_of(int prefix)
{
    return prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);
}

static int read_cidr(const char *text, size_t len, struct cidr *ret, struct runner_error *err)
{
    auto_free char *copy = mem_dup_n(text, len);
    char *slash = strchr(copy, '/');
    struct in_addr address;
    int64_t prefix;

    if (slash != NULL)
        *slash = '\0';
    if (slash == NULL || !num_int(slash + 1, 0, 32, &prefix) || inet_pton(AF_INET, copy, &address) != 1)
        return fail(err, RUNNER_E_INVALID, 0, "'%.*s' is not an IPv4 network as a.b.c.d/n", len > 60 ? 60 : (int)len,
                    text);
    ret->prefix = (int)prefix;
    ret->address = ntohl(address.s_addr) & mask_of(ret->prefix);
    return 0;
}

/* By address, and of those that begin alike the largest first. */
static int compare_cidrs(const void *a, const void *b)
{
    const struct cidr *x = a, *y = b;

    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return x->prefix - y->prefix;
}

static bool is_within(const struct cidr *inner, const struct cidr *outer)
{
    return inner->prefix >= outer->prefix && (inner->address & mask_of(outer->prefix)) == outer->address;
}

/* *ret is NULL when nothing is in it. */
static int read_cidrs(const char *list, char **ret, struct runner_error *err)
{
    auto_str struct str out = STR_INIT;
    struct cidr cidrs[POLICY_ITEMS_MAX];
    const struct cidr *last = NULL;
    struct items items;

    if (split(list, &items, err) < 0)
        return -1;
    for (size_t i = 0; i < items.n; i++)
        if (read_cidr(items.text[i], items.len[i], &cidrs[i], err) < 0)
            return -1;
    qsort(cidrs, items.n, sizeof cidrs[0], compare_cidrs);
    for (size_t i = 0; i < items.n; i++) {
        struct in_addr address = {.s_addr = htonl(cidrs[i].address)};
        char text[INET_ADDRSTRLEN];

        if (last != NULL && is_within(&cidrs[i], last))
            continue;
        last = &cidrs[i];
        str_addf(&out, "%s%s/%d", out.len > 0 ? "," : "", inet_ntop(AF_INET, &address, text, sizeof text),
                 last->prefix);
    }
    *ret = items.n > 0 ? str_steal(&out) : NULL;
    return 0;
}

static bool is_label(const char *text, size_t len)
{
    if (len == 0 || len > LABEL_MAX || text[0] == '-' || text[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '-' && text[i] != '_')
            return false;
    return true;
}

/* Of ASCII labels; the last is not a number, as that of an address would be. */
static bool is_domain(const char *text)
{
    const char *last = text;

    if (strlen(text) > DOMAIN_MAX)
        return false;
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ".");

        if (!is_label(at, len))
            return false;
        last = at;
        at += len;
        if (*at == '\0')
            break;
    }
    return strspn(last, "0123456789") != strlen(last);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_domain(const char *text, size_t len, char **ret, struct runner_error *err)
{
    auto_free char *name = mem_dup_n(text, len);

    for (char *c = name; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    if (name[len - 1] == '.')
        name[len - 1] = '\0';
    if (!is_domain(strncmp(name, "*.", 2) == 0 ? name + 2 : name))
        return fail(err, RUNNER_E_INVALID, 0, "'%.*s' is not the name of a domain", len > 60 ? 60 : (int)len, text);
    *ret = name;
    name = NULL;
    return 0;
}

static int read_domains(const char *list, char **ret, struct runner_error *err)
{
    auto_str struct str out = STR_INIT;
    char *names[POLICY_ITEMS_MAX] = {NULL};
    struct items items;
    int status = split(list, &items, err);

    for (size_t i = 0; status == 0 && i < items.n; i++)
        status = read_domain(items.text[i], items.len[i], &names[i], err);
    if (status == 0) {
        qsort(names, items.n, sizeof names[0], compare_texts);
        for (size_t i = 0; i < items.n; i++)
            if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
                str_addf(&out, "%s%s", i > 0 ? "," : "", names[i]);
        *ret = items.n > 0 ? str_steal(&out) : NULL;
    }
    for (size_t i = 0; i < POLICY_ITEMS_MAX; i++)
        free(names[i]);
    return status;
}

/* ---- messages ----------------------------------------------------------------------------------------------------- */

void policy_change_done(struct policy_change *change)
{
    policy_done(&change->to);
    *change = (struct policy_change){.has_blocked = false};
}

/* The member, of the type it must have; NULL: it says nothing. */
static int get(const struct json *body, const char *key, enum json_type type, const struct json **ret,
               struct runner_error *err)
{
    const struct json *j = json_get(body, key);

    *ret = j == NULL || j->type == JSON_NULL ? NULL : j;
    if (*ret == NULL || j->type == type)
        return 0;
    return fail(err, RUNNER_E_INVALID, 0, "expected %s, found %s", json_type_name(type), json_type_name(j->type));
}

static int read_flag(const struct json *body, const char *key, bool *ret_has, bool *ret, struct runner_error *err)
{
    const struct json *j;

    if (get(body, key, JSON_BOOL, &j, err) < 0)
        return -1;
    *ret_has = j != NULL;
    *ret = j != NULL && j->number != 0;
    return 0;
}

static int read_list(const struct json *body, const char *key,
                     int (*read)(const char *, char **, struct runner_error *), bool *ret_has, char **ret,
                     struct runner_error *err)
{
    const struct json *j;

    if (get(body, key, JSON_STRING, &j, err) < 0 || (j != NULL && read(j->text, ret, err) < 0))
        return -1;
    *ret_has = j != NULL;
    return 0;
}

static int read_members(const struct json *body, struct policy_change *c, const char **ret_field,
                        struct runner_error *err)
{
    *ret_field = "networkBlockAll";
    if (read_flag(body, *ret_field, &c->has_blocked, &c->to.is_blocked, err) < 0)
        return -1;
    *ret_field = "networkAllowList";
    if (read_list(body, *ret_field, read_cidrs, &c->has_cidrs, &c->to.cidrs, err) < 0)
        return -1;
    *ret_field = "domainAllowList";
    if (read_list(body, *ret_field, read_domains, &c->has_domains, &c->to.domains, err) < 0)
        return -1;
    *ret_field = "networkLimitEgress";
    return read_flag(body, *ret_field, &c->has_restricted, &c->to.is_restricted, err);
}

int policy_change_read(const struct json *body, struct policy_change *ret, const char **ret_field,
                       struct runner_error *err)
{
    struct policy_change change = {.has_blocked = false};

    if (read_members(body, &change, ret_field, err) < 0) {
        policy_change_done(&change);
        return -1;
    }
    if (change.has_blocked) /* the API leaves empty lists out then */
        change.has_cidrs = change.has_domains = true;
    else
        change.has_blocked = change.has_cidrs || change.to.domains != NULL;
    *ret = change;
    return 0;
}

static int read_limit(const struct json *metadata, struct policy_change *ret, struct runner_error *err)
{
    const char *limit = json_text(metadata, "limitNetworkEgress", "");

    ret->to.is_restricted = strcmp(limit, "true") == 0;
    ret->has_restricted = ret->to.is_restricted || strcmp(limit, "false") == 0;
    if (ret->has_restricted || limit[0] == '\0')
        return 0;
    return fail(err, RUNNER_E_INVALID, 0, "metadata: limitNetworkEgress: expected true or false, found '%.20s'", limit);
}

int policy_change_read_metadata(const struct json *metadata, struct policy_change *ret, struct runner_error *err)
{
    *ret = (struct policy_change){.has_blocked = false};
    if (read_limit(metadata, ret, err) < 0)
        return -1;
    if (read_domains(json_text(metadata, "domainAllowList", ""), &ret->to.domains, err) < 0)
        return error_wrap(err, "metadata: domainAllowList");
    ret->has_domains = ret->to.domains != NULL;
    return 0;
}

static void replace(char **text, const char *by)
{
    free(*text);
    *text = mem_dup(by);
}

void policy_change_apply(const struct policy_change *change, struct policy *policy)
{
    if (change->has_blocked)
        policy->is_blocked = change->to.is_blocked;
    if (change->has_restricted)
        policy->is_restricted = change->to.is_restricted;
    if (change->has_cidrs)
        replace(&policy->cidrs, change->to.cidrs);
    if (change->has_domains)
        replace(&policy->domains, change->to.domains);
}

/* ---- the record --------------------------------------------------------------------------------------------------- */

void policy_print(const struct policy *policy, struct str *out)
{
    if (!policy->is_blocked && !policy->is_restricted && policy->cidrs == NULL && policy->domains == NULL)
        return;
    json_open(out, "policy", '{');
    json_add_bool(out, "isBlocked", policy->is_blocked);
    json_add_bool(out, "isRestricted", policy->is_restricted);
    if (policy->cidrs != NULL)
        json_add_text(out, "cidrs", policy->cidrs);
    if (policy->domains != NULL)
        json_add_text(out, "domains", policy->domains);
    json_close(out, '}');
}

static int parse(const struct json *from, struct policy *ret, const char **ret_field, struct runner_error *err)
{
    bool has_blocked, has_restricted, has_list;

    *ret_field = "isBlocked";
    if (read_flag(from, *ret_field, &has_blocked, &ret->is_blocked, err) < 0)
        return -1;
    *ret_field = "isRestricted";
    if (read_flag(from, *ret_field, &has_restricted, &ret->is_restricted, err) < 0)
        return -1;
    if (!has_blocked || !has_restricted)
        return fail(err, RUNNER_E_INVALID, 0, "isBlocked and isRestricted must be there");
    *ret_field = "cidrs";
    if (read_list(from, *ret_field, read_cidrs, &has_list, &ret->cidrs, err) < 0)
        return -1;
    *ret_field = "domains";
    return read_list(from, *ret_field, read_domains, &has_list, &ret->domains, err);
}

int policy_parse(const struct json *from, struct policy *ret, struct runner_error *err)
{
    const char *field = NULL;

    if (from == NULL)
        return 0;
    if (from->type != JSON_OBJECT)
        return fail(err, RUNNER_E_INVALID, 0, "policy: expected an object");
    return parse(from, ret, &field, err) < 0 ? error_wrap(err, "policy: %s", field) : 0;
}

/* ---- for plugins -------------------------------------------------------------------------------------------------- */

static uint32_t point(char *list, const char **ret)
{
    uint32_t n = 0;
    char *rest = list;

    while (rest != NULL && n < POLICY_ITEMS_MAX)
        ret[n++] = strsep(&rest, ",");
    return n;
}

void policy_view_init(struct policy_view *view, const struct policy *policy, uint64_t caps)
{
    *view = (struct policy_view){.policy = {.size = sizeof view->policy}};
    view->cidr_text = mem_dup(policy->cidrs);
    view->policy.n_cidrs = point(view->cidr_text, view->cidrs);
    view->policy.cidrs = view->cidrs;
    view->policy.domains = view->domains;
    if (caps & RUNNER_NETWORK_CAP_DOMAINS) {
        view->domain_text = mem_dup(policy->domains);
        view->policy.n_domains = point(view->domain_text, view->domains);
    }
    view->policy.flags = (policy->is_blocked ? RUNNER_POLICY_BLOCK : 0) |
                         (policy->cidrs != NULL || policy->domains != NULL ? RUNNER_POLICY_LISTED : 0) |
                         (policy->is_restricted ? RUNNER_POLICY_RESTRICTED : 0);
}

void policy_view_done(struct policy_view *view)
{
    free(view->cidr_text);
    free(view->domain_text);
}
