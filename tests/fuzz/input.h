/* Takes an input apart. Pieces are copied to memory of exactly their size, so that a read beyond the end shows. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include "base/check.h"
#include "base/slice.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* 0 when there is none left. */
UNUSED static uint8_t input_byte (struct slice *rest)
{
    if (rest->n == 0)
        return 0;
    rest->n--;
    return (uint8_t) *rest->p++;
}

/* A copy that the caller gives to piece_free(). */
UNUSED static struct slice piece_of (struct slice bytes)
{
    char *copy = malloc (bytes.n ? bytes.n : 1);
    CHECK (copy);
    slice_copy (copy, bytes);
    return slice_of (copy, bytes.n);
}

UNUSED static void piece_free (struct slice piece)
{
    free ((char *) piece.p);
}

/* Two bytes say how long it is; what is left when there is less. The caller frees it with piece_free(). */
UNUSED static struct slice input_piece (struct slice *rest)
{
    size_t n = (size_t) input_byte (rest) << 8;
    n |= input_byte (rest);
    if (n > rest->n)
        n = rest->n;
    struct slice piece = piece_of (slice_of (rest->p, n));
    *rest = slice_of (rest->p + n, rest->n - n);
    return piece;
}

/* A NUL-terminated copy that the caller frees. */
UNUSED static char *text_of (struct slice bytes)
{
    char *copy = malloc (bytes.n + 1);
    CHECK (copy);
    slice_copy (copy, bytes);
    copy[bytes.n] = '\0';
    return copy;
}

#endif
