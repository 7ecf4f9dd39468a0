#include "base/process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static double cpu_seconds (void)
{
    struct rusage usage;
    if (getrusage (RUSAGE_SELF, &usage))
        return -1;
    return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double open_fds (void)
{
    struct stat info;
    if (stat ("/proc/self/fd", &info) == 0 && info.st_size > 0)
        return (double) info.st_size; /* since Linux 6.2; to count thousands takes milliseconds */
    DIR *dir = opendir ("/proc/self/fd");
    if (!dir)
        return -1;
    double n = -1; /* the directory itself */
    for (const struct dirent *entry; (entry = readdir (dir));)
        n += entry->d_name[0] != '.';
    closedir (dir);
    return n;
}

static double max_fds (void)
{
    struct rlimit limit;
    if (getrlimit (RLIMIT_NOFILE, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return -1;
    return (double) limit.rlim_cur;
}

/* Field 22 of stat, in clock ticks since boot. The name in field 2 may hold blanks and brackets. */
static double start_ticks (void)
{
    char text[1024];
    unsigned long long ticks;
    FILE *file = fopen ("/proc/self/stat", "re");
    if (!file)
        return -1;
    size_t n = fread (text, 1, sizeof text - 1, file);
    fclose (file);
    text[n] = '\0';
    const char *rest = strrchr (text, ')');
    if (!rest || sscanf (rest, ") %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
                         &ticks) != 1)
        return -1;
    return (double) ticks;
}

static double boot_time (void)
{
    char line[256];
    double seconds = -1;
    FILE *file = fopen ("/proc/stat", "re");
    if (!file)
        return -1;
    while (seconds < 0 && fgets (line, sizeof line, file))
        if (sscanf (line, "btime %lf", &seconds) != 1)
            seconds = -1;
    fclose (file);
    return seconds;
}

static double start_time (void)
{
    static double cached;
    if (cached == 0) {
        double boot = boot_time (), ticks = start_ticks ();
        cached = boot < 0 || ticks < 0 ? -1 : boot + ticks / (double) sysconf (_SC_CLK_TCK);
    }
    return cached;
}

static void read_memory (struct process_info *self)
{
    double size, resident, page = (double) sysconf (_SC_PAGESIZE);
    FILE *file = fopen ("/proc/self/statm", "re");
    if (!file)
        return;
    if (fscanf (file, "%lf %lf", &size, &resident) == 2) {
        self->virtual_bytes = size * page;
        self->resident_bytes = resident * page;
    }
    fclose (file);
}

void process_info_read (struct process_info *self)
{
    *self = (struct process_info){.cpu_s = cpu_seconds (),
                                  .virtual_bytes = -1,
                                  .resident_bytes = -1,
                                  .open_fds = open_fds (),
                                  .max_fds = max_fds (),
                                  .start_s = start_time ()};
    read_memory (self);
}
