/* Programmer's errors abort with file and line; input from outside never gets here (it returns a code).
 * Functions whose failure must not be overlooked are marked NODISCARD. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define NODISCARD         __attribute__ ((warn_unused_result))
#define UNUSED            __attribute__ ((unused))
#define PRINTF_LIKE(f, a) __attribute__ ((format (printf, f, a)))

#define CHECK(cond)                                                                                                    \
    do {                                                                                                               \
        if (__builtin_expect (!(cond), 0)) {                                                                           \
            fprintf (stderr, "%s:%d: %s: broken assumption: %s\n", __FILE__, __LINE__, __func__, #cond);               \
            abort ();                                                                                                  \
        }                                                                                                              \
    } while (0)

#define COUNT_OF(array) (sizeof (array) / sizeof ((array)[0]))

/* From a pointer to an embedded member back to the structure that holds it. */
#define CONTAINER_OF(ptr, type, member) ((type *) ((char *) (ptr) -offsetof (type, member)))

#endif
