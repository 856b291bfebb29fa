/* What a call is, by its arguments: which kind of FAULT_..., and what a trace says of it. */
#ifndef FAULT_KIND_H
#define FAULT_KIND_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "t/fault/fault.h"

#pragma GCC visibility push(hidden)

uint32_t kind_of_open(int flags);
uint32_t kind_of_read(int fd);
uint32_t kind_of_write(int fd, const char *text, size_t len);
/* Of what is said to a VMM or a guest. */
uint32_t kind_of_saying(const char *text, size_t len);
uint32_t kind_of_netlink(const void *message, size_t len);
uint32_t kind_of_ioctl(unsigned long request);

/* p->where is written; of a write by p->kind, too. */
void say_write(struct fault_point *p, int fd, const char *text, size_t len);
void say_netlink(struct fault_point *p, const void *message, size_t len);
void say_address(struct fault_point *p, const struct sockaddr *address);
void say_number(struct fault_point *p, const char *what, long number);
void say_ioctl(struct fault_point *p, unsigned long request, const void *arg);

#pragma GCC visibility pop

#endif
