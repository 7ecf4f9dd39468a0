/* Ids, clocks, and what text must be. */
#ifndef ABR_TEXT_H
#define ABR_TEXT_H

#include "mp.h"

#define ABR_ID_SIZE 33 /* 32 hexadecimal digits and NUL */

bool abr_utf8 (struct abr_bytes text);

/* 1 to `most` bytes of UTF-8 without control characters. */
bool abr_is_name (struct abr_bytes text, size_t most);
bool abr_is_user (struct abr_bytes text);

/* A close reason: at most 123 bytes of UTF-8; NULL is fine. */
bool abr_is_reason (const char *reason);

/* 128 random bits. */
void abr_new_id (char id[ABR_ID_SIZE]);

double abr_unix_time (void); /* s */

/* An owned copy that ends with NUL; NULL when memory is out. */
char *abr_copy (struct abr_bytes text);

#endif
