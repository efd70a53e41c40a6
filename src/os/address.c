#include "os/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool address_parse(const char *host, uint16_t port, struct sockaddr_storage *address) {
  memset(address, 0, sizeof(*address));
  struct sockaddr_in *four = (struct sockaddr_in *)(void *)address;
  if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    return true;
  }
  struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)address;
  memset(address, 0, sizeof(*address));
  if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    return true;
  }
  return false;
}

uint16_t address_port(const struct sockaddr *address) {
  if (address->sa_family == AF_INET6) {
    return ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
  }
  return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

void address_text(const struct sockaddr *address, char *text) {
  char host[INET6_ADDRSTRLEN] = "?";
  if (address->sa_family == AF_INET6) {
    inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, host, sizeof(host));
    snprintf(text, ADDRESS_TEXT_BYTES, "[%s]:%u", host, address_port(address));
  } else {
    inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, host, sizeof(host));
    snprintf(text, ADDRESS_TEXT_BYTES, "%s:%u", host, address_port(address));
  }
}

static void bind_why(char *why, const char *host, uint16_t port, const char *option, int error) {
  if (error == EADDRINUSE) {
    snprintf(why, ADDRESS_WHY_BYTES, "%s:%u is in use by another program; stop that one or set another %s", host, port,
             option);
  } else if (error == EADDRNOTAVAIL) {
    snprintf(why, ADDRESS_WHY_BYTES, "%s is not an address of this machine; set listen to one that is", host);
  } else if (error == EACCES) {
    snprintf(why, ADDRESS_WHY_BYTES, "%s:%u needs more rights (ports below 1024 do); set another %s", host, port,
             option);
  } else {
    snprintf(why, ADDRESS_WHY_BYTES, "can not listen on %s:%u: %s", host, port, strerror(error));
  }
}

enum err address_bind(const char *host, uint16_t port, const char *option, int *socket_out, uint16_t *port_out,
                      char *why) {
  struct sockaddr_storage address;
  socklen_t size = sizeof(address);
  if (!address_parse(host, port, &address)) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(host, NULL, &hints, &found);
    if (failed != 0) {
      snprintf(why, ADDRESS_WHY_BYTES, "can not look up %s: %s; set listen to an address of this machine", host,
               gai_strerror(failed));
      return ERR_BADARG;
    }
    memcpy(&address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (address.ss_family == AF_INET6) {
      ((struct sockaddr_in6 *)(void *)&address)->sin6_port = htons(port);
    } else {
      ((struct sockaddr_in *)(void *)&address)->sin_port = htons(port);
    }
  }
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    bind_why(why, host, port, option, errno);
    return ERR_IO;
  }
  int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  size = address.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
  if (bind(fd, (const struct sockaddr *)&address, size) != 0 || listen(fd, ADDRESS_BACKLOG) != 0) {
    bind_why(why, host, port, option, errno);
    close(fd);
    return ERR_IO;
  }
  size = sizeof(address);
  if (getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
    bind_why(why, host, port, option, errno);
    close(fd);
    return ERR_IO;
  }
  *port_out = address_port((const struct sockaddr *)&address);
  *socket_out = fd;
  return ERR_OK;
}

void address_tune(int fd, unsigned seconds, bool user_timeout) {
  const int probes = 3;
  int yes = 1;
  int idle = (int)(seconds / 2);
  int interval = (int)(seconds - seconds / 2) / probes;
  idle = idle > 0 ? idle : 1;
  interval = interval > 0 ? interval : 1;
  /* None of these is needed for correctness, so a kernel that refuses one is let be. */
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
  if (user_timeout) {
    unsigned timeout_ms = seconds * 1000;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
  }
}
