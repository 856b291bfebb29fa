/* What storage/oci reads of who it speaks with: references, WWW-Authenticate, tokens, refusals, ranges, addresses, the
 * request of its program. */
#include <string.h>

#include "plugins/storage/oci/program/challenge.h"
#include "plugins/storage/oci/program/http.h"
#include "plugins/storage/oci/program/refusal.h"
#include "plugins/storage/oci/program/request.h"
#include "plugins/storage/oci/program/token.h"
#include "plugins/storage/oci/program/upload.h"
#include "plugins/storage/oci/program/url.h"
#include "t/fuzz/fuzz.h"

static void need_line(const char *text)
{
    need(text == NULL || strlen(text) <= 2048);
}

/* It stands in an address: nothing of it may end a part of that, or lead up. */
static void need_plain(const char *text)
{
    need(text[0] != '\0' && text[0] != '/' && strstr(text, "..") == NULL && strstr(text, "//") == NULL);
    need(strpbrk(text, "?#%\\ \r\n\t\"<>") == NULL);
}

static void need_same(const struct ref *ref)
{
    auto_free char *text = mem_printf("%s/%s%s%s%s%s", ref->server, ref->path, ref->tag != NULL ? ":" : "",
                                      ref->tag != NULL ? ref->tag : "", ref->digest != NULL ? "@" : "",
                                      ref->digest != NULL ? ref->digest : "");
    struct runner_error err = ERROR_INIT;
    struct ref again = {.server = NULL};

    need(ref_parse(text, &again, &err) == 0);
    need(strcmp(again.server, ref->server) == 0 && strcmp(again.path, ref->path) == 0);
    need(strcmp(ref_reference(&again), ref_reference(ref)) == 0);
    ref_done(&again);
}

static void read_ref(const char *text, struct runner_error *err)
{
    struct ref ref = {.server = NULL};

    if (ref_parse(text, &ref, err) < 0) {
        need_reason(err);
        return;
    }
    need_plain(ref.path);
    need(strpbrk(ref_reference(&ref), "/?#%\\ \r\n\t\"<>") == NULL && ref_reference(&ref)[0] != '.');
    need(ref.digest == NULL || ref_is_digest(ref.digest));
    need(strpbrk(ref.server, "/@?#%\\ \r\n\t") == NULL);
    (void)ref_is_loopback(ref.server);
    need_same(&ref);
    ref_done(&ref);
}

static void read_challenge(const char *text)
{
    struct challenge c;

    challenge_parse(text, &c);
    need(!c.is_bearer || (c.realm != NULL && c.realm[0] != '\0'));
    need_line(c.realm);
    need_line(c.service);
    need_line(c.scope);
    challenge_done(&c);
}

static void need_object(const struct object *object)
{
    if (object->text == NULL)
        return;
    need(object->ref.server != NULL && object->ref.path != NULL);
    need((object->username == NULL) == (object->password == NULL));
}

static void read_request(const char *text, size_t size, struct runner_error *err)
{
    struct request r = {.tree = NULL};

    if (request_parse(text, size, &r, err) < 0) {
        need_reason(err);
        return;
    }
    need_object(&r.from);
    need_object(&r.to);
    need(r.store[0] == '/' && r.parallel >= 1 && r.parallel <= 16 && r.limits.bytes > 0 && r.limits.blobs > 0);
    need(r.operation != OPERATION_PULL || r.dir[0] == '/');
    (void)request_may_be_plain(&r, "registry:6000");
    request_done(&r);
}

static void read_token(const char *text, size_t size, struct runner_error *err)
{
    char *token = NULL;

    if (token_parse(text, size, &token, err) < 0) {
        need_reason(err);
        need(token == NULL);
        return;
    }
    need(token[0] != '\0' && strpbrk(token, "\r\n \t") == NULL);
    free(token);
}

static void read_refusal(const char *text, size_t size)
{
    static const char *const secrets[] = {"hunter2", NULL};
    auto_str struct str out = STR_INIT;

    refusal_add_text(text, size, secrets, 2, &out);
    need(out.len <= REFUSAL_TEXT_MAX && strstr(str_text(&out), "hunter2") == NULL);
    for (size_t i = 0; i < out.len; i++)
        need(out.ptr[i] >= ' ' && out.ptr[i] <= '~');
}

static void read_range(const char *text)
{
    int64_t next = upload_next(text);

    need(next >= -1 && next != 1);
}

/* Where it sends on to: what is left of an address is one of a server, without a name and password. */
static void read_location(const char *text)
{
    auto_free char *whole = url_resolve("https://registry.example.org/v2/a/blobs/uploads/1?x=y", text);
    auto_free char *origin = whole != NULL ? url_origin(whole) : NULL;

    need(url_shown(text) >= 0 && (size_t)url_shown(text) <= strlen(text));
    need(origin == NULL || strncmp(origin, "https://", 8) == 0 || strncmp(origin, "http://", 7) == 0);
    need(origin == NULL || strchr(origin, '@') == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct runner_error err = ERROR_INIT;
    auto_free char *text = size > 0 ? mem_dup_n((const char *)data + 1, size - 1) : NULL;

    if (size == 0)
        return 0;
    switch (data[0]) {
    case 'r':
        read_ref(text, &err);
        break;
    case 'c':
        read_challenge(text);
        break;
    case 't':
        read_token(text, size - 1, &err);
        break;
    case 'e':
        read_refusal(text, size - 1);
        break;
    case 'g':
        read_range(text);
        break;
    case 'l':
        read_location(text);
        break;
    case 'q':
        read_request(text, size - 1, &err);
        break;
    default:
        break;
    }
    return 0;
}
