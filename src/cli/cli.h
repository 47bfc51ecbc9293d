/* cli.h - the command line: words in, one operation done, an exit code out. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#define CLI_FAILED       1   /* said why on standard error */
#define CLI_USAGE        2   /* the words make no sense */
#define CLI_NOT_STARTED  125 /* `run` and `exec`: the platform failed, not the guest */
#define CLI_DOCTOR_FINDS 1   /* `doctor` found something missing */

/* Do what the words say.  `program` is the absolute path of this program and
 * `libexec` the directory of the others.  Returns the exit code. */
int cli_main(int argc, char **argv, const char *program, const char *libexec);

#endif
