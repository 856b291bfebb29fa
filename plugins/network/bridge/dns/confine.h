/* What is given up before the first question is read. */
#ifndef DNS_CONFINE_H
#define DNS_CONFINE_H

/* The directory becomes the root and the current one; of all privileges CAP_NET_ADMIN is left; only system calls that
 * are needed work, and files are only read. 0, or -1: what failed was said. */
int confine(const char *directory);

#endif
