/* What the system tells about this process. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

/* Negative where the system does not tell. */
struct process_info {
    double cpu_s; /* user and system */
    double virtual_bytes;
    double resident_bytes;
    double open_fds;
    double max_fds; /* unknown when there is no limit */
    double start_s; /* Unix time */
};

void process_info_read (struct process_info *self);

#endif
