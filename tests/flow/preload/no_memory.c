/* Preloaded into the bridge: has the Nth allocation from now on fail, so that a test sees what becomes of the bridge
 * when memory runs out at any one place.
 *
 * Counted and failed are only allocations that the bridge's own code asks for, and those that jansson and OpenSSL make
 * for it: all of them report failure. libzmq, libuv and parts of libwebsockets abort by their own design when malloc
 * fails, which is theirs to decide and nothing that a bridge could survive. Who asks is told by the return address.
 *
 * The test arms and reads a file of three 64-bit numbers that is mapped here (NO_MEMORY_CONTROL names it). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zmq.h>

#define COUNT_OF(array) (sizeof (array) / sizeof ((array)[0]))
#define CALLER          ((uintptr_t) __builtin_return_address (0))

struct control {
    atomic_uint_fast64_t left; /* the Nth allocation from now fails; 0: none does */
    atomic_uint_fast64_t made; /* allocations that were counted, the failed ones too */
    atomic_uint_fast64_t failed;
};

struct range {
    uintptr_t from, to;
};

static struct control *control;
static struct range ranges[16];
static size_t n_ranges;

/* --- whose allocations count --------------------------------------------------------------------------------- */

/* The name of the program itself is empty. */
static bool is_watched (const char *name)
{
    return !name[0] || strstr (name, "/libjansson.so") || strstr (name, "/libcrypto.so");
}

static int note_object (struct dl_phdr_info *info, size_t size, void *arg)
{
    (void) size, (void) arg;
    if (!is_watched (info->dlpi_name))
        return 0;
    for (int i = 0; i < info->dlpi_phnum && n_ranges < COUNT_OF (ranges); i++) {
        const ElfW (Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t from = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X))
            ranges[n_ranges++] = (struct range){from, from + part->p_memsz};
    }
    return 0;
}

static bool counts (uintptr_t caller)
{
    for (size_t i = 0; i < n_ranges; i++)
        if (caller >= ranges[i].from && caller < ranges[i].to)
            return true;
    return false;
}

__attribute__ ((constructor)) static void start (void)
{
    const char *path = getenv ("NO_MEMORY_CONTROL");
    int fd = path ? open (path, O_RDWR | O_CLOEXEC) : -1;
    void *p = fd >= 0 ? mmap (NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (p == MAP_FAILED)
        abort ();
    close (fd);
    dl_iterate_phdr (note_object, NULL);
    control = p;
}

/* Is this the one that fails? */
static bool fails (uintptr_t caller)
{
    if (!control || !counts (caller))
        return false;
    atomic_fetch_add (&control->made, 1);
    uint_fast64_t left = atomic_load (&control->left);
    while (left && !atomic_compare_exchange_weak (&control->left, &left, left - 1))
        ;
    if (left != 1)
        return false;
    atomic_fetch_add (&control->failed, 1);
    errno = ENOMEM;
    return true;
}

/* --- the allocator ------------------------------------------------------------------------------------------- */

/* glibc's own, while the next allocator in line is being looked up. */
extern void *__libc_malloc (size_t n);
extern void *__libc_calloc (size_t n, size_t size);
extern void *__libc_realloc (void *p, size_t n);

static void *(*next_malloc) (size_t n);
static void *(*next_calloc) (size_t n, size_t size);
static void *(*next_realloc) (void *p, size_t n);

/* The next in line is a sanitizer's or glibc's. No constructor can do this: allocations come before all of them. */
static void find_next (void)
{
    static bool begun;
    if (begun)
        return;
    begun = true;
    next_malloc = __libc_malloc;
    next_calloc = __libc_calloc;
    next_realloc = __libc_realloc;
    next_realloc = (void *(*) (void *, size_t)) dlsym (RTLD_NEXT, "realloc");
    next_calloc = (void *(*) (size_t, size_t)) dlsym (RTLD_NEXT, "calloc");
    next_malloc = (void *(*) (size_t)) dlsym (RTLD_NEXT, "malloc");
}

void *malloc (size_t n)
{
    find_next ();
    return fails (CALLER) ? NULL : next_malloc (n);
}

void *calloc (size_t n, size_t size)
{
    find_next ();
    return fails (CALLER) ? NULL : next_calloc (n, size);
}

void *realloc (void *p, size_t n)
{
    find_next ();
    return fails (CALLER) ? NULL : next_realloc (p, n);
}

char *strdup (const char *text)
{
    size_t n = strlen (text) + 1;
    find_next ();
    char *copy = fails (CALLER) ? NULL : next_malloc (n);
    return copy ? memcpy (copy, text, n) : NULL;
}

/* The allocation of libzmq's that reports failure, and whose result the bridge has to look at. */
int zmq_msg_init_size (zmq_msg_t *msg, size_t n)
{
    static int (*next) (zmq_msg_t *, size_t);
    if (!next)
        next = (int (*) (zmq_msg_t *, size_t)) dlsym (RTLD_NEXT, "zmq_msg_init_size");
    return fails (CALLER) ? -1 : next (msg, n);
}
