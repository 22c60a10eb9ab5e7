/* The floor: one epoll loop in C. Each frame of /pub is sent as it is to all of /sub, one send() each, or with the
   argument `joined` one for all frames that came in one read; /echo sends back. Handshake and frames only as far as the
   load generator needs them: its masks are zero and its frames small. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { FILES = 20000, BUFFER = 1 << 18, NEW = 0, SUBSCRIBER = 's', PUBLISHER = 'p', ECHO = 'e' };

static char kinds[FILES], in[BUFFER], out[BUFFER];
static int subscribers[FILES], count, joined;

/* Always the same key, so always the same answer. */
static const char accepted[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static void gone(int fd) {
    close(fd);
    kinds[fd] = NEW;
    for (int i = 0; i < count; i++)
        if (subscribers[i] == fd) { subscribers[i] = subscribers[--count]; break; }
}

static void deliver(int fd, const char *data, size_t length) {
    if (kinds[fd] == ECHO) send(fd, data, length, MSG_NOSIGNAL);
    else for (int i = 0; i < count; i++) send(subscribers[i], data, length, MSG_NOSIGNAL);
}

/* Turns each masked frame into a plain one. Whole frames only; returns what is left over. */
static size_t relay(int fd, size_t length) {
    size_t at = 0, written = 0;
    while (length - at >= 6) {
        unsigned char *h = (unsigned char *)in + at;
        size_t payload = h[1] & 127, head = 2;
        if (payload == 126) { payload = h[2] << 8 | h[3]; head = 4; }
        if (length - at < head + 4 + payload) break;
        size_t from = written;
        out[written++] = (char)0x81;
        if (head == 2) out[written++] = (char)payload;
        else { out[written++] = 126; out[written++] = (char)(payload >> 8); out[written++] = (char)payload; }
        memcpy(out + written, in + at + head + 4, payload);
        written += payload;
        at += head + 4 + payload;
        if (!joined) { deliver(fd, out + from, written - from); written = 0; }
    }
    if (written) deliver(fd, out, written);
    memmove(in, in + at, length - at);
    return length - at;
}

int main(int argc, char **argv) {
    joined = argc > 1 && !strcmp(argv[1], "joined");
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), loop = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) return perror("floor"), 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    struct epoll_event events[256];
    size_t kept = 0; /* of the one publisher; callers' frames come whole */
    for (;;) {
        int n = epoll_wait(loop, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int client = accept(listener, NULL, NULL);
                if (client < 0 || client >= FILES) continue;
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                epoll_ctl(loop, EPOLL_CTL_ADD, client, &(struct epoll_event){.events = EPOLLIN, .data.fd = client});
                continue;
            }
            size_t before = kinds[fd] == PUBLISHER ? kept : 0;
            ssize_t got = read(fd, in + before, sizeof in - before);
            if (got <= 0) { gone(fd); continue; }
            if (kinds[fd] == NEW) {
                kinds[fd] = in[5] == 'p' ? PUBLISHER : in[5] == 'e' ? ECHO : SUBSCRIBER;
                if (kinds[fd] == SUBSCRIBER) subscribers[count++] = fd;
                send(fd, accepted, sizeof accepted - 1, MSG_NOSIGNAL);
                continue;
            }
            size_t left = relay(fd, before + got);
            if (kinds[fd] == PUBLISHER) kept = left;
        }
    }
}
