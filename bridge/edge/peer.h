/* Who is at the other end of a socket. */
#ifndef EDGE_PEER_H
#define EDGE_PEER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

struct peer {
    char text[INET6_ADDRSTRLEN]; /* the address without port */
    bool loopback;
};

struct peer peer_of (const struct sockaddr_storage *address);

#endif
