/* Text of others on a terminal: nothing in it may steer the terminal or hide what stands there. */
#ifndef CMD_PRINTABLE_H
#define CMD_PRINTABLE_H

#include "base/buf.h"

/* Append `text` with everything that is not printable written out: \x1b for bytes, \u{202e} for characters. A line feed
 * stays, with `indent` blanks behind it; with `indent` 0 it is written as \n. */
void put_printable (struct buf *out, struct slice text, unsigned indent);

/* Append JSON text that fits a terminal and means the same: what JSON lets stand in a string and a terminal obeys (DEL,
 * the C1 controls, directions) becomes \u escapes; line ends between values become blanks. */
void put_printable_json (struct buf *out, struct slice json);

/* Append it on one line, otherwise as it is: line ends between values become blanks. */
void put_json_line (struct buf *out, struct slice json);

#endif
