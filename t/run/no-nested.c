/*
 * Before the C library of a real VMM on a KVM that knows no nested state and calls the question invalid: there is
 * none, then. Only so can Cloud Hypervisor make snapshots there.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stddef.h>

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...);

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int, unsigned long, ...);
    struct kvm_nested_state *state;
    va_list args;
    void *argument;
    int r;

    if (real == NULL)
        real = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    va_start(args, request);
    argument = va_arg(args, void *);
    va_end(args);
    r = real(fd, request, argument);
    if (r == 0 || errno != EINVAL || (request != KVM_GET_NESTED_STATE && request != KVM_SET_NESTED_STATE))
        return r;
    if (request == KVM_GET_NESTED_STATE) {
        state = argument;
        state->flags = 0;
        state->format = 0;
        state->size = sizeof *state;
    }
    errno = 0;
    return 0;
}
