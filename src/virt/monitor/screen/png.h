/* png.h - a picture as a file of the Portable Network Graphics format. */
#ifndef VIRT_MONITOR_SCREEN_PNG_H
#define VIRT_MONITOR_SCREEN_PNG_H

struct display;
struct err;

/* What `d` shows now, from the begin of the file `fd` on.  Blocks. */
int png_write(struct display *d, int fd, struct err *e);

#endif
