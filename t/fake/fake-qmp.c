/* The monitor of the fake QEMU: one client at a time, a stream of objects in, lines out. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "t/fake/fake-qemu.h"

#define IN_MAX 65536

static struct {
    int fd; /* -1: nobody */
    bool is_greeted, is_negotiated;
    int64_t greet_at_ms;
    char *in; /* IN_MAX bytes while there is a client */
    size_t len;
} client = {.fd = -1};

static void client_close(void)
{
    close(client.fd);
    free(client.in);
    memset(&client, 0, sizeof client);
    client.fd = -1;
}

static bool is_mute; /* by the wish "lose" */

/* Blocking: the answers are small, or the test wants one that is not. */
static void say(const char *data, size_t len)
{
    if (is_mute)
        return;
    while (len > 0 && client.fd >= 0) {
        ssize_t n = send(client.fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR) {
            client_close();
            return;
        }
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
}

static void sayf(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void sayf(const char *format, ...)
{
    char line[4096];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(line, sizeof line - 2, format, args);
    va_end(args);
    if (len < 0 || len >= (int)sizeof line - 2)
        abort();
    memcpy(line + len, "\r\n", 2);
    say(line, (size_t)len + 2);
}

void qmp_event(const char *event, const char *data)
{
    struct timespec now;

    if (client.fd < 0 || !client.is_negotiated)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    sayf("{\"timestamp\": {\"seconds\": %lld, \"microseconds\": %ld}, \"event\": \"%s\"%s%s}", (long long)now.tv_sec,
         now.tv_nsec / 1000, event, data != NULL ? ", \"data\": " : "", data != NULL ? data : "");
}

/* ---- one command ---- */

struct command {
    char name[64];
    char id[256]; /* as JSON, "" for none */
};

static void answer(const struct command *c, const char *value)
{
    if (c->id[0] != '\0')
        sayf("{\"return\": %s, \"id\": %s}", value, c->id);
    else
        sayf("{\"return\": %s}", value);
}

static void refuse(const struct command *c, const char *class, const char *text)
{
    if (c->id[0] != '\0')
        sayf("{\"id\": %s, \"error\": {\"class\": \"%s\", \"desc\": \"%s\"}}", c->id, class, text);
    else
        sayf("{\"error\": {\"class\": \"%s\", \"desc\": \"%s\"}}", class, text);
}

static void answer_big(const struct command *c)
{
    static const char head[] = "{\"return\": {\"status\": \"running\", \"running\": true, \"filler\": \"";
    static const size_t size = 1 << 20;
    char *filler = malloc(size);

    if (filler == NULL)
        abort();
    memset(filler, 'x', size);
    say(head, sizeof head - 1);
    say(filler, size);
    free(filler);
    sayf("\"}, \"id\": %s}", c->id);
}

static bool is_running(void)
{
    return strcmp(fake.state, "running") == 0;
}

static void powerdown_begin(void)
{
    if (fake_wish("ignore-powerdown") == NULL)
        fake.end_at_ms = fake_now_ms() + fake_wish_ms("powerdown-ms");
}

static void do_status(const struct command *c)
{
    char value[200];

    if (snprintf(value, sizeof value, "{\"status\": \"%s\", \"singlestep\": false, \"running\": %s}", fake.state,
                 is_running() ? "true" : "false") >= (int)sizeof value)
        abort();
    answer(c, value);
}

static void do_stop(const struct command *c)
{
    if (is_running()) {
        fake.state = "paused";
        qmp_event("STOP", NULL);
    }
    answer(c, "{}");
}

static void do_cont(const struct command *c)
{
    if (strcmp(fake.state, "shutdown") == 0) {
        refuse(c, "GenericError", "Resetting the Virtual Machine is required");
        return;
    }
    if (!is_running()) {
        fake.state = "running";
        qmp_event("RESUME", NULL);
        if (fake.is_powerdown_due)
            powerdown_begin();
    }
    answer(c, "{}");
}

static void do_powerdown(const struct command *c)
{
    qmp_event("POWERDOWN", NULL);
    if (is_running())
        powerdown_begin();
    else
        fake.is_powerdown_due = true;
    answer(c, "{}");
}

static void do_quit(const struct command *c)
{
    qmp_event("SHUTDOWN", "{\"guest\": false, \"reason\": \"host-qmp-quit\"}");
    answer(c, "{}");
    fake_end(0);
}

static void do_version(const struct command *c)
{
    answer(c, "{\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, \"package\": \"fake\"}");
}

static const struct {
    const char *name;
    void (*fn)(const struct command *);
} commands[] = {
    {"query-status", do_status},        {"stop", do_stop}, {"cont", do_cont},
    {"system_powerdown", do_powerdown}, {"quit", do_quit}, {"query-version", do_version},
};

/* Whether a wish took this command's place. */
static bool misbehave(const struct command *c)
{
    const char *text;

    if (fake_wish_for("silent", c->name) != NULL)
        return true;
    if (fake_wish_for("cut", c->name) != NULL) {
        say("{\"return\": {\"stat", 18);
        client_close();
        return true;
    }
    if (fake_wish_for("garbage", c->name) != NULL) {
        sayf("\x01 this is {no JSON");
        return true;
    }
    if (fake_wish_for("big", c->name) != NULL) {
        answer_big(c);
        return true;
    }
    if ((text = fake_wish_for("refuse", c->name)) != NULL) {
        refuse(c, "GenericError", text);
        return true;
    }
    return false;
}

static void carry_out(const struct command *c)
{
    bool is_capabilities = strcmp(c->name, "qmp_capabilities") == 0;
    char text[200];

    if (misbehave(c))
        return;
    if (!client.is_negotiated && !is_capabilities) {
        refuse(c, "CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'");
        return;
    }
    if (is_capabilities) {
        if (client.is_negotiated)
            refuse(c, "CommandNotFound", "Capabilities negotiation is already complete, command ignored");
        else
            answer(c, "{}");
        client.is_negotiated = true;
        return;
    }
    if (fake_wish("noise") != NULL)
        qmp_event("NIC_RX_FILTER_CHANGED", "{\"name\": \"nic0\", \"path\": \"/machine/peripheral/nic0\"}");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(c->name, commands[i].name) == 0) {
            commands[i].fn(c);
            return;
        }
    if (snprintf(text, sizeof text, "The command %s has not been found", c->name) >= (int)sizeof text)
        abort();
    refuse(c, "CommandNotFound", text);
}

static void do_command(const struct command *c)
{
    is_mute = fake_wish_for("lose", c->name) != NULL;
    carry_out(c);
    if (is_mute)
        client_close();
    is_mute = false;
}

/* ---- the stream ---- */

/* The text of a member's value, quotes stripped; false when it is absent or too long. Top level only matters here. */
static bool member(const char *object, const char *key, bool is_text, char *ret, size_t size)
{
    const char *p = strstr(object, key), *start;

    if (p == NULL)
        return false;
    for (p += strlen(key); *p == ' ' || *p == ':'; p++)
        ;
    if (is_text && *p++ != '"')
        return false;
    start = p;
    if (is_text || *p == '"')
        p += strcspn(is_text ? p : p + 1, "\"") + !is_text + !is_text;
    else
        p += strcspn(p, ",} \r\n");
    if ((size_t)(p - start) >= size)
        return false;
    memcpy(ret, start, (size_t)(p - start));
    ret[p - start] = '\0';
    return true;
}

static void do_object(const char *object)
{
    struct command c = {"", ""};

    (void)member(object, "\"id\"", false, c.id, sizeof c.id);
    if (!member(object, "\"execute\"", true, c.name, sizeof c.name))
        refuse(&c, "GenericError", "QMP input lacks member 'execute'");
    else
        do_command(&c);
}

/* The length of the object at the start of the text, 0 when it is not all there yet. */
static size_t object_length(const char *text, size_t len)
{
    int depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && text[i] == '{')
            depth++;
        else if (!in_string && text[i] == '}' && --depth == 0)
            return i + 1;
    }
    return 0;
}

static void drop(size_t n)
{
    memmove(client.in, client.in + n, client.len - n);
    client.len -= n;
}

/* An error for what is no object, without id, and on with the next. */
static void drop_garbage(void)
{
    size_t n = 0;

    while (n < client.len && client.in[n] != '{' && client.in[n] != '\n')
        n++;
    drop(n);
    sayf("{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error, invalid keyword\"}}");
}

static void take_objects(void)
{
    while (client.fd >= 0 && client.len > 0) {
        size_t n;
        char *object;

        if (isspace((unsigned char)client.in[0])) {
            drop(1);
            continue;
        }
        if (client.in[0] != '{') {
            drop_garbage();
            continue;
        }
        n = object_length(client.in, client.len);
        if (n == 0)
            return;
        object = strndup(client.in, n);
        drop(n);
        if (object != NULL)
            do_object(object);
        free(object);
    }
}

static void client_read(void)
{
    ssize_t n = recv(client.fd, client.in + client.len, IN_MAX - client.len, MSG_DONTWAIT);

    if (n > 0) {
        client.len += (size_t)n;
        take_objects();
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        client_close();
    }
}

static void greet(void)
{
    const char *exit_wish = fake_wish("late-exit");

    client.is_greeted = true;
    sayf("{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, \"package\": \"fake\"}, "
         "\"capabilities\": [\"oob\"]}}");
    if (exit_wish != NULL) {
        char *text;
        long status = strtol(exit_wish, &text, 10);

        (void)fprintf(stderr, "qemu-system-x86_64:%s\n", text);
        exit((int)status);
    }
}

static void client_accept(void)
{
    client.fd = accept4(fake.qmp_listen, NULL, NULL, SOCK_CLOEXEC);
    if (client.fd < 0)
        return;
    client.in = malloc(IN_MAX);
    if (client.in == NULL)
        abort();
    client.greet_at_ms = fake_now_ms() + fake_wish_ms("greeting-ms");
}

int64_t qmp_wake_at_ms(void)
{
    return client.fd >= 0 && !client.is_greeted && fake_wish("no-greeting") == NULL ? client.greet_at_ms : 0;
}

/* The next client waits in the listening socket, without a greeting, while there is one. What one says before its greeting
 * is heard behind it. */
int qmp_poll_add(struct pollfd *set)
{
    bool is_heard = client.fd < 0 || client.is_greeted;

    *set = (struct pollfd){.fd = client.fd >= 0 ? client.fd : fake.qmp_listen, .events = is_heard ? POLLIN : 0};
    return 1;
}

void qmp_poll_done(const struct pollfd *set, int n)
{
    if (client.fd < 0 && n > 0 && set->revents != 0)
        client_accept();
    else if (client.fd >= 0 && n > 0 && set->revents != 0 && client.is_greeted)
        client_read();
    else if (client.fd >= 0 && n > 0 && set->revents != 0)
        client_close();
    if (qmp_wake_at_ms() != 0 && fake_now_ms() >= qmp_wake_at_ms())
        greet();
}
