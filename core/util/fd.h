/*
 * Descriptors that stay open as long as a machine runs go to high numbers. A child that is being started gets copies of
 * all those up to the highest that it needs (transport/local, launch.c), and each copy takes time: what is opened for an
 * operation, at low numbers, is what is copied.
 */
#ifndef UTIL_FD_H
#define UTIL_FD_H

#define FD_PARKED_MIN 512

/* The descriptor at its new number, close-on-exec; fd itself where there is none (RLIMIT_NOFILE). Takes -1. */
int fd_park(int fd);

#endif
