/* tool.h - what the program `volume` does: serves, makes and looks at disks. */
#ifndef RESOURCE_STORAGE_TOOL_TOOL_H
#define RESOURCE_STORAGE_TOOL_TOOL_H

struct err;

/* Run the operation words[0] with its KEY=VALUE words (`count` in all, the first
 * included).  Answers go to descriptor `answer_fd` as lines `key=value`.  0, or -errno with
 * the reason; -EINVAL also for words that are not known. */
int tool_run(char **words, unsigned count, int answer_fd, struct err *e);

#endif
