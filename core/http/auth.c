#include "core/http/auth.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/util/text.h"

/* Two fields of one name are as good as a malformed one: nobody should have to know which of them counts. */
static bool has_two(const struct head *head, enum head_name name)
{
    int n = 0;

    for (size_t i = 0; i < head->n; i++)
        n += head->name[i] == name && head->field[i].value_len > 0;
    return n > 1;
}

static const struct phr_header *auth_field(const struct head *head, enum auth_header *ret_used)
{
    const struct phr_header *field = head_find(head, HEAD_RUNNER_AUTHORIZATION);

    *ret_used = AUTH_RUNNER;
    if (field != NULL && field->value_len > 0)
        return field;
    *ret_used = AUTH_AUTHORIZATION;
    field = head_find(head, HEAD_AUTHORIZATION);
    return field != NULL && field->value_len > 0 ? field : NULL;
}

const char *auth_check(const struct head *head, const char *token, enum auth_header *ret_used)
{
    const struct phr_header *field = auth_field(head, ret_used);
    const size_t prefix = strlen("Bearer ");

    if (field == NULL)
        return "unauthorized: authorization header required";
    if (field->value_len < prefix || memcmp(field->value, "Bearer ", prefix) != 0 ||
        memchr(field->value + prefix, ' ', field->value_len - prefix) != NULL ||
        has_two(head, *ret_used == AUTH_RUNNER ? HEAD_RUNNER_AUTHORIZATION : HEAD_AUTHORIZATION))
        return "unauthorized: invalid authorization header format";
    if (token == NULL || token[0] == '\0' ||
        !text_equal_secret(field->value + prefix, field->value_len - prefix, token, strlen(token)))
        return "unauthorized: invalid token";
    return NULL;
}

const char *auth_check_peer(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || len != sizeof peer ||
        (peer.uid != 0 && peer.uid != geteuid()))
        return "unauthorized: only root and the runner's own user may use this socket";
    return NULL;
}
