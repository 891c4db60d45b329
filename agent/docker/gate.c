/* pylis-gate COMMAND [ARGS…]: waits until this container's sidecar listens, then becomes the command.
 *
 * The agent loads the rules of a network namespace before it starts the sidecar, and the sidecar listens on
 * 127.0.0.1:15001 once it has its configuration. So a command that starts behind the gate never runs without rules,
 * whatever is slow, dead or restarting: it waits, closed. Static, no library: it has to run in any image.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 15001, LOOK_MS = 20, SAY_EVERY_MS = 10000 };

static int is_open(void) {
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return 0;
    int open = connect(fd, (struct sockaddr *)&where, sizeof where) == 0;
    close(fd);
    return open;
}

/* As a container's first process it would ignore what it does not handle, and `docker stop` would take 10 s. */
static void end(int number) { _exit(128 + number); }

int main(int argc, char **argv) {
    if (argc < 2) {
        fputs("usage: pylis-gate COMMAND [ARGS…]\n", stderr);
        return 2;
    }
    signal(SIGTERM, end); /* the command gets its defaults back */
    signal(SIGINT, end);
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    for (long waited = 0; !is_open(); waited += LOOK_MS) {
        if (waited % SAY_EVERY_MS == SAY_EVERY_MS - LOOK_MS)
            fputs("pylis-gate: waiting for this container's sidecar (is the agent running? pylis doctor)\n", stderr);
        nanosleep(&pause, NULL);
    }
    execvp(argv[1], argv + 1);
    fprintf(stderr, "pylis-gate: %s: %s\n", argv[1], strerror(errno));
    return errno == ENOENT ? 127 : 126;
}
