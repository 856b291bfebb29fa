#include "t/fake/fake-ch-direct.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/util/num.h"
#include "t/fake/fake-ch.h"

static _Noreturn void fail_direct(const struct cause *c)
{
    (void)fprintf(stderr, "Error: Cloud Hypervisor exited with the following chain of errors:\n  0: %s\n", c->json.ptr);
    exit(1);
}

/* The value of key=... in a comma-separated list, or NULL; the caller frees. */
static char *part(const char *list, const char *key)
{
    size_t len = strlen(key);

    for (const char *p = list; p != NULL && *p != '\0'; p += strcspn(p, ","), p += *p == ',')
        if (strncmp(p, key, len) == 0 && p[len] == '=')
            return mem_dup_n(p + len + 1, strcspn(p + len + 1, ","));
    return NULL;
}

static void add_console(struct str *out, const char *key, const char *value)
{
    if (value == NULL)
        return;
    json_open(out, key, '{');
    if (strncmp(value, "file=", 5) == 0) {
        json_add_text(out, "file", value + 5);
        json_add_text(out, "mode", "File");
    } else {
        json_add_text(out, "mode", strcmp(value, "tty") == 0 ? "Tty" : strcmp(value, "null") == 0 ? "Null" : "Off");
    }
    json_close(out, '}');
}

static void config_write(const struct direct *d, struct str *out)
{
    auto_free char *size = part(d->memory, "size");
    auto_free char *boot = part(d->cpus, "boot");
    int64_t bytes = 512 << 20, vcpus = 1;

    if ((size != NULL && !num_bytes(size, &bytes)) || (boot != NULL && !num_int(boot, 1, 255, &vcpus))) {
        (void)fprintf(stderr, "Error: Cloud Hypervisor exited with the following chain of errors:\n"
                              "  0: Failed to parse configuration\n");
        exit(1);
    }
    json_open(out, NULL, '{');
    json_open(out, "cpus", '{');
    json_add_int(out, "boot_vcpus", vcpus);
    json_add_int(out, "max_vcpus", vcpus);
    json_close(out, '}');
    json_open(out, "memory", '{');
    json_add_int(out, "size", bytes);
    json_close(out, '}');
    json_open(out, "payload", '{');
    if (d->kernel != NULL)
        json_add_text(out, "kernel", d->kernel);
    if (d->firmware != NULL)
        json_add_text(out, "firmware", d->firmware);
    if (d->initramfs != NULL)
        json_add_text(out, "initramfs", d->initramfs);
    if (d->cmdline != NULL)
        json_add_text(out, "cmdline", d->cmdline);
    json_close(out, '}');
    add_console(out, "serial", d->serial);
    add_console(out, "console", d->console);
    json_add_bool(out, "pvpanic", d->has_pvpanic);
    json_close(out, '}');
}

static void boot(const struct direct *d)
{
    struct cause c = {.json = STR_INIT};
    auto_str struct str text = STR_INIT;
    struct json *body = NULL;
    const char *kvm = fake_wish("kvm");

    if (kvm != NULL && strcmp(kvm, "fail") == 0) {
        (void)fprintf(
            stderr,
            "Error: Cloud Hypervisor exited with the following chain of errors:\n  0: Failed to open hypervisor "
            "interface\n  1: Permission denied (os error 13)\n");
        exit(1);
    }
    config_write(d, &text);
    if (json_parse(text.ptr, text.len, &body, NULL) < 0)
        abort();
    vm.config = schema_fill(&object_vm, body);
    json_free(body);
    event_say("vm", "booting", NULL, NULL);
    if (vm_consoles_open(&c) < 0 || vm_start(&c, false) < 0)
        fail_direct(&c);
    event_say("vm", "booted", NULL, NULL);
    if (kvm != NULL && strcmp(kvm, "hang") == 0)
        vm.state = VM_PAUSED; /* a KVM that starts nothing: the process is there and no more happens */
}

static void restore(const char *value)
{
    struct cause c = {.json = STR_INIT};
    auto_free char *url = part(value, "source_url");
    auto_free char *resume = part(value, "resume");
    auto_str struct str text = STR_INIT;
    struct json *request = NULL;
    struct fds none = {.n = 0};

    json_open(&text, NULL, '{');
    json_add_text(&text, "source_url", url != NULL ? url : "");
    json_add_bool(&text, "resume", resume != NULL && strcmp(resume, "true") == 0);
    json_close(&text, '}');
    if (json_parse(text.ptr, text.len, &request, NULL) < 0)
        abort();
    if (snapshot_restore(request, &none, &c) < 0)
        fail_direct(&c);
    json_free(request);
}

void direct_start(const struct direct *d)
{
    if (d->restore != NULL)
        restore(d->restore);
    else if (d->kernel != NULL || d->firmware != NULL)
        boot(d);
    else if (ch.api < 0) {
        (void)fprintf(stderr,
                      "Error: Cloud Hypervisor exited with the following error:\n  No VM config and no API socket\n");
        exit(1);
    }
}
