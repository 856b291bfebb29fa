#include "core/start-request.h"

#include <string.h>

#define VALUES_MAX  64
#define PRINTED_MAX (16 * 1024) /* bytes, as printed */
#define TOKEN_MAX   1024

static int check_values(const struct json *metadata, struct runner_error *err)
{
    size_t n = 0;

    for (const struct json *j = metadata->first; j != NULL; j = j->next) {
        if (j->type != JSON_STRING)
            return fail(err, RUNNER_E_INVALID, 0, "metadata: '%.60s': expected a string, found %s", j->key,
                        json_type_name(j->type));
        if (++n > VALUES_MAX)
            return fail(err, RUNNER_E_INVALID, 0, "metadata: has more than %d values", VALUES_MAX);
    }
    return 0;
}

int start_request_metadata(const struct json *metadata, struct json **ret, struct runner_error *err)
{
    auto_str struct str text = STR_INIT;

    *ret = NULL;
    if (metadata == NULL || metadata->type == JSON_NULL)
        return 0;
    if (metadata->type != JSON_OBJECT)
        return fail(err, RUNNER_E_INVALID, 0, "metadata: expected an object, found %s", json_type_name(metadata->type));
    if (metadata->first == NULL)
        return 0;
    if (check_values(metadata, err) < 0)
        return -1;
    json_add_tree(&text, NULL, metadata);
    if (text.len > PRINTED_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "metadata: is longer than %d bytes", PRINTED_MAX);
    *ret = json_copy(metadata);
    return 0;
}

int start_request_token(const struct json *token, char **ret, struct runner_error *err)
{
    *ret = NULL;
    if (token == NULL || token->type == JSON_NULL)
        return 0;
    if (token->type != JSON_STRING)
        return fail(err, RUNNER_E_INVALID, 0, "authToken: expected a string, found %s", json_type_name(token->type));
    if (strlen(token->text) > TOKEN_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "authToken: is longer than %d bytes", TOKEN_MAX);
    if (token->text[0] != '\0')
        *ret = mem_dup(token->text);
    return 0;
}

void secret_free(char *secret)
{
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}
