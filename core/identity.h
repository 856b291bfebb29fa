/* What a sandbox is called in its own network, derived from its id. */
#ifndef CORE_IDENTITY_H
#define CORE_IDENTITY_H

#define IDENTITY_MAC_SIZE      18
#define IDENTITY_HOSTNAME_SIZE 13

/* "02:" and the first five bytes of SHA-256(id): the MAC of its first network card, the same on every host. */
void identity_mac(const char *id, char ret_mac[IDENTITY_MAC_SIZE]);

/* The first 12 characters of the id (text_is_id), less a '-' at their end: the guest's host name. */
void identity_hostname(const char *id, char ret_hostname[IDENTITY_HOSTNAME_SIZE]);

#endif
