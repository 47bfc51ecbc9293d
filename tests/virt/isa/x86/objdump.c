/* objdump.c - runs GNU objdump and reads what it prints. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/virt/isa/x86/objdump.h"

#define LINE_BYTES 1024

bool objdump_is_there(void)
{
    return system("objdump --version >/dev/null 2>&1") == 0;
}

FILE *objdump_file(const char *path)
{
    char command[LINE_BYTES];

    if (access(path, R_OK) != 0) {
        return NULL;
    }
    (void)snprintf(command, sizeof command,
                   "objdump -dw --insn-width=16 -M intel '%s' 2>/dev/null", path);
    return popen(command, "r");
}

FILE *objdump_bytes(const uint8_t *bytes, size_t n, enum x86_code_mode mode)
{
    static const char *const modes[] = {"i8086,addr16,data16", "i386", "x86-64"};
    char path[] = "/tmp/strata-objdump-XXXXXX";
    char command[LINE_BYTES];
    int fd = mkstemp(path);
    bool written;

    if (fd < 0) {
        return NULL;
    }
    written = write(fd, bytes, n) == (ssize_t)n;
    (void)close(fd);
    if (!written) {
        (void)unlink(path);
        return NULL;
    }
    (void)snprintf(
        command, sizeof command,
        "objdump -Dwz --insn-width=16 -b binary -m i386 -M %s,intel %s; rm -f %s",
        modes[mode], path, path);
    return popen(command, "r");
}

void objdump_close(FILE *f)
{
    (void)pclose(f);
}

bool objdump_next(FILE *f, struct objdump_line *ret_line)
{
    char line[LINE_BYTES];

    while (fgets(line, sizeof line, f) != NULL) {
        char *bytes = strchr(line, '\t');
        char *text = bytes == NULL ? NULL : strchr(bytes + 1, '\t');

        if (text == NULL || line[0] != ' ') {
            continue;
        }
        *text++ = '\0';
        *ret_line = (struct objdump_line){.at = strtoull(line, NULL, 16)};
        for (char *end = bytes; ret_line->length <= X86_INSN_BYTES_MAX; bytes = end) {
            unsigned long v = strtoul(bytes, &end, 16);

            if (end == bytes) {
                break;
            }
            ret_line->bytes[ret_line->length++] = (uint8_t)v;
        }
        ret_line->is_bad = strstr(text, "(bad)") != NULL;
        (void)snprintf(ret_line->text, sizeof ret_line->text, "%s", text);
        return true;
    }
    return false;
}

static void cut(char *at, size_t n)
{
    memmove(at, at + n, strlen(at + n) + 1);
}

static void drop_each(char *text, const char *what, size_t n)
{
    char *at;

    while ((at = strstr(text, what)) != NULL) {
        cut(at, n);
    }
}

/* Words in front that are prefixes without effect here. */
static void drop_prefixes(char *text)
{
    static const char *const words[] = {"bnd ",    "notrack ",  "cs ",      "ds ",
                                        "es ",     "ss ",       "fs ",      "gs ",
                                        "rex ",    "data16 ",   "addr32 ",  "addr16 ",
                                        "data32 ", "xacquire ", "xrelease "};

    for (size_t k = 0; k < sizeof words / sizeof words[0]; k++) {
        if (strncmp(text, words[k], strlen(words[k])) == 0) {
            cut(text, strlen(words[k]));
            k = (size_t)-1;
        }
    }
    for (char *rex = strstr(text, "rex."); rex != NULL; rex = strstr(text, "rex.")) {
        char *blank = strchr(rex, ' ');

        cut(rex, blank == NULL ? strlen(rex) : (size_t)(blank + 1 - rex));
    }
}

/* REP before what does not repeat. */
static void drop_repeat(char *text)
{
    size_t n = strncmp(text, "repz ", 5) == 0    ? 5
               : strncmp(text, "repnz ", 6) == 0 ? 6
                                                 : 0;

    if (n > 0 && strncmp(text + n, "cmps", 4) != 0 && strncmp(text + n, "scas", 4) != 0) {
        cut(text, n);
    }
}

void objdump_normalise(char *text)
{
    size_t n = 0;

    for (const char *p = text; *p != '\0' && strchr("<#\n", *p) == NULL; p++) {
        if (*p != ' ' || (n > 0 && text[n - 1] != ' ')) {
            text[n++] = *p;
        }
    }
    while (n > 0 && text[n - 1] == ' ') {
        n--;
    }
    text[n] = '\0';
    drop_prefixes(text);
    drop_repeat(text);
    drop_each(text, "(8087 only)", 11);
    drop_each(text, "(287 only)", 10);
    drop_each(text, "+0x0]", 4);
    drop_each(text, "+riz*1", 6);
    drop_each(text, "+eiz*1", 6);
}
