/* vm.resize, vm.resize-zone, vm.resize-disk. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "t/fake/fake-ch.h"

static int resize_vcpus(struct json *cpus, int64_t wanted, struct cause *c)
{
    if (wanted != vm.present_vcpus) {
        if (wanted < 1)
            return cause_set(c, "Error from CPU manager", "Requested zero vCPUs", NULL);
        if (vm.removing_vcpus) {
            cause_set(c, "Error from CPU manager", "Still pending removed vCPU", NULL);
            c->status = 429;
            return -1;
        }
        if (wanted > json_int(cpus, "max_vcpus", 1))
            return cause_set(c, "Error from CPU manager", "Requested vCPUs exceed maximum", NULL);
        if (wanted > vm.present_vcpus)
            vm.present_vcpus = (int)wanted;
        else
            fguest_remove_vcpus((int)wanted);
    }
    tree_set_int(cpus, "boot_vcpus", wanted);
    return 0;
}

static int __attribute__((format(printf, 3, 4)))
no_virtio_mem(struct cause *c, int64_t extra, const char *format, ...)
{
    char text[64] = "";
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cause_setf(c, NULL, "Failed to update virtio configuration: ResizeError(new size 0x%llx %s)", (long long)extra, text);
    cause_wrap(c, "Memory manager error", "Failed to virtio-mem resize", "Resize invalid argument", NULL);
    return -1;
}

static int resize_virtio_mem(struct json *memory, int64_t wanted, struct cause *c)
{
    int64_t boot = json_int(memory, "size", 0), extra = wanted - boot, ceiling = json_int(memory, "hotplug_size", 0);

    if (wanted < boot)
        return cause_setf(c, "Memory manager error",
                          "Invalid resize request: desired_size = %lld below boot size = %lld", (long long)wanted,
                          (long long)boot);
    if (ceiling == 0)
        return cause_set(c, "Memory manager error", "No virtio-mem resizing handler found", NULL);
    if (extra == vm.wanted_plugged)
        return no_virtio_mem(c, extra, "and requested_size are identical");
    if (extra > ceiling)
        return no_virtio_mem(c, extra, "is bigger than region_size 0x%llx", (long long)ceiling);
    if (extra % (2 << 20) != 0)
        return no_virtio_mem(c, extra, "is not aligned on block_size 0x200000");
    vm.wanted_plugged = extra;
    fguest_plug_memory(extra);
    tree_set_text(memory, "hotplugged_size", NULL);
    if (extra > 0)
        tree_set_int(memory, "hotplugged_size", extra);
    return 0;
}

static int resize_ram(struct json *memory, int64_t wanted, struct cause *c)
{
    if (tree_member(memory, "zones") != NULL)
        return cause_set(c, "Memory manager error",
                         "Impossible to resize guest memory if it is backed by user defined memory regions", NULL);
    if (strcmp(json_text(memory, "hotplug_method", ""), "VirtioMem") == 0)
        return resize_virtio_mem(memory, wanted, c);
    if (wanted > vm.ram) {
        if (vm.dimms >= 8)
            return cause_set(c, "Memory manager error", "No ACPI slot available", NULL);
        if ((wanted - vm.ram) % (128 << 20) != 0)
            return cause_set(c, "Memory manager error", "The requested hotplug memory addition is not a valid size",
                             NULL);
        if (wanted > vm.ram_max)
            return cause_set(c, "Memory manager error", "Not enough space in the hotplug RAM region", NULL);
        vm.dimms++;
        vm.ram = wanted;
    }
    tree_set_int(memory, "size", wanted);
    return 0;
}

static int resize_balloon(struct json *balloon, int64_t wanted, struct cause *c)
{
    if (balloon == NULL)
        return cause_set(c, "Error from device manager", "Missing virtio-balloon, can't proceed as expected", NULL);
    fguest_balloon(wanted);
    tree_set_int(balloon, "size", wanted); /* too much is accepted too: it shows at the next boot */
    return 0;
}

static void set_if(struct json *object, const char *key, const struct json *from)
{
    if (object != NULL && from != NULL && from->type == JSON_INT)
        tree_set_int(object, key, from->number);
}

static const struct json *wanted(const struct json *body, const char *key)
{
    const struct json *j = json_get(body, key);

    return j == NULL || j->type == JSON_NULL ? NULL : j;
}

int size_machine(const struct json *body, struct cause *c)
{
    const struct json *vcpus = wanted(body, "desired_vcpus"), *ram = wanted(body, "desired_ram"),
                      *balloon = wanted(body, "desired_balloon");

    if (!vm.exists) {
        set_if(tree_member(vm.config, "cpus"), "boot_vcpus", vcpus);
        set_if(tree_member(vm.config, "memory"), "size", ram);
        set_if(tree_member(vm.config, "balloon"), "size", balloon);
        return 0;
    }
    event_say("vm", "resizing", NULL, NULL);
    if (vcpus != NULL && resize_vcpus(tree_member(vm.config, "cpus"), vcpus->number, c) < 0)
        return -1;
    if (ram != NULL && resize_ram(tree_member(vm.config, "memory"), ram->number, c) < 0)
        return -1;
    if (balloon != NULL && resize_balloon(tree_member(vm.config, "balloon"), balloon->number, c) < 0)
        return -1;
    event_say("vm", "resized", NULL, NULL);
    return 0;
}

int size_zone(const struct json *body, struct cause *c)
{
    struct json *zones = tree_member(tree_member(vm.config, "memory"), "zones");
    int64_t wanted = json_int(body, "desired_ram", 0);

    for (struct json *zone = zones != NULL ? zones->first : NULL; zone != NULL; zone = zone->next) {
        if (strcmp(json_text(zone, "id", ""), json_text(body, "id", "")) != 0)
            continue;
        if (!vm.exists)
            tree_set_int(zone, "size", wanted);
        else if (wanted < json_int(zone, "size", 0))
            return cause_setf(c, "Memory manager error",
                              "Invalid resize request: desired_size = %lld below boot size = %lld", (long long)wanted,
                              (long long)json_int(zone, "size", 0));
        else
            return cause_set(c, "Memory manager error", "No virtio-mem resizing handler found", NULL);
        return 0;
    }
    return cause_set(c, "Failed resizing a memory zone", NULL);
}

int size_disk(const struct json *body, struct cause *c)
{
    if (!vm.exists)
        return cause_set(c, "Failed resizing a disk image", NULL);
    return device_resize(json_text(body, "id", ""), json_int(body, "desired_size", 0), c);
}
