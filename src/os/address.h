/* Host and port as text and as socket addresses. */
#ifndef GRAMME_OS_ADDRESS_H
#define GRAMME_OS_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/limits.h"

#define ADDRESS_TEXT_BYTES 56u /* room for "[an IPv6 address]:65535" */
#define ADDRESS_WHY_BYTES 256u
#define ADDRESS_BACKLOG 511

/* A numeric IPv4 or IPv6 address; false when it is a name (which takes a look-up). */
bool address_parse(const char *host, uint16_t port, struct sockaddr_storage *address);
/* "127.0.0.1:40112", "[::1]:40112". */
void address_text(const struct sockaddr *address, char *text);
uint16_t address_port(const struct sockaddr *address);

/* A bound, non-blocking socket on the first address of `host`; port 0 takes a free one. On failure `why`
 * (ADDRESS_WHY_BYTES) names the address and the remedy; `option` is what the operator changes. Blocks while a name is
 * looked up. */
enum err address_bind(const char *host, uint16_t port, const char *option, int *socket_out, uint16_t *port_out,
                      char *why) MUST_CHECK;
/* TCP_NODELAY, and keepalive that finds a dead peer within about `seconds`; with `user_timeout` unacknowledged bytes
 * do too. */
void address_tune(int socket, unsigned seconds, bool user_timeout);

#endif
