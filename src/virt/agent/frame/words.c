/* words.c - a command as one word of a kernel's command line. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "virt/agent/frame/frame.h"

#define PLAIN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-"

int frame_put_words(const char *const *words, char *out, size_t room)
{
    size_t at = 0;

    for (unsigned i = 0; words[i] != NULL; i++) {
        if (i > 0 && at + 1 < room) {
            out[at++] = ':';
        }
        for (const char *p = words[i]; *p != '\0'; p++) {
            if (at + 4 > room) {
                return -E2BIG;
            }
            if (strchr(PLAIN, *p) != NULL) {
                out[at++] = *p;
            } else {
                (void)snprintf(out + at, 4, "%%%02X", (unsigned char)*p);
                at += 3;
            }
        }
    }
    if (at >= room) {
        return -E2BIG;
    }
    out[at] = '\0';
    return 0;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void unescape(char *text)
{
    char *to = text;

    for (const char *p = text; *p != '\0'; p++) {
        if (p[0] == '%' && digit(p[1]) >= 0 && digit(p[2]) >= 0) {
            *to++ = (char)(digit(p[1]) << 4 | digit(p[2]));
            p += 2;
        } else {
            *to++ = *p;
        }
    }
    *to = '\0';
}

int frame_get_words(char *text, char **list, unsigned most)
{
    unsigned n = 0;
    char *word;

    while ((word = strsep(&text, ":")) != NULL) {
        if (n == most) {
            return -E2BIG;
        }
        unescape(word);
        list[n++] = word;
    }
    list[n] = NULL;
    return (int)n;
}
