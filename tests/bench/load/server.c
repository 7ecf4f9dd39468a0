#include "server.h"
#include "loop.h"

#include <dirent.h>
#include <inttypes.h>
#include <unistd.h>

static FILE *open_proc (const char *format, int pid, int tid)
{
    char path[96];
    snprintf (path, sizeof path, format, pid, tid);
    return fopen (path, "r");
}

static int64_t thread_cpu (int pid, int tid)
{
    int64_t ns = 0;
    FILE *file = open_proc ("/proc/%d/task/%d/schedstat", pid, tid);
    if (!file)
        return 0; /* it has just ended */
    if (fscanf (file, "%" SCNd64, &ns) != 1)
        ns = 0;
    fclose (file);
    return ns;
}

/* The sum of `fn` over the threads. */
static int64_t over_threads (int pid, int64_t (*fn) (int pid, int tid))
{
    char path[64];
    int64_t sum = 0;
    snprintf (path, sizeof path, "/proc/%d/task", pid);
    DIR *dir = opendir (path);
    if (!dir)
        return 0;
    for (struct dirent *entry; (entry = readdir (dir));)
        if (entry->d_name[0] != '.')
            sum += fn (pid, atoi (entry->d_name));
    closedir (dir);
    return sum;
}

static int64_t process_rss (int pid)
{
    int64_t pages = 0;
    FILE *file = open_proc ("/proc/%d/statm", pid, 0);
    if (!file)
        return 0;
    if (fscanf (file, "%*d %" SCNd64, &pages) != 1)
        pages = 0;
    fclose (file);
    return pages * sysconf (_SC_PAGESIZE);
}

static int64_t process_cpu (int pid)
{
    return over_threads (pid, thread_cpu);
}

static int64_t with_children (int pid, int64_t (*fn) (int pid));

/* The sum of `fn` over the children that this thread has started. */
static int64_t over_children (int pid, int64_t (*fn) (int pid), int tid)
{
    int64_t sum = 0;
    int child;
    FILE *file = open_proc ("/proc/%d/task/%d/children", pid, tid);
    while (file && fscanf (file, "%d", &child) == 1)
        sum += with_children (child, fn);
    if (file)
        fclose (file);
    return sum;
}

static int64_t children_cpu (int pid, int tid)
{
    return over_children (pid, process_cpu, tid);
}

static int64_t children_rss (int pid, int tid)
{
    return over_children (pid, process_rss, tid);
}

static int64_t with_children (int pid, int64_t (*fn) (int pid))
{
    return fn (pid) + over_threads (pid, fn == process_cpu ? children_cpu : children_rss);
}

int64_t server_cpu_ns (int pid)
{
    return with_children (pid, process_cpu);
}

int64_t server_rss (int pid)
{
    return with_children (pid, process_rss);
}
