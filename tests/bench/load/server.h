/* What the kernel says of the server's process. */
#ifndef LOAD_SERVER_H
#define LOAD_SERVER_H

#include <stdint.h>

/* CPU time of all threads of the process and its children, in ns (schedstat; threads that have ended are left out). */
int64_t server_cpu_ns (int pid);

/* Resident memory of the process and its children, in bytes. */
int64_t server_rss (int pid);

#endif
