/* Connections over one epoll: the handshake, frames in and out, and the first words of each protocol. */

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

#include "load.h"

enum { WAIT_MS = 30000, PING = 9, PONG = 10, CLOSE = 8 };

unsigned long marks, frames, ready;
struct connection *publisher, *overheard;
char heard[8192];
void (*on_frame)(struct connection *);
void (*on_marks)(void);

static size_t heard_length;
static int epoll_fd, port;
static char buffer[BUFFER];

void network_start(int server_port) {
    port = server_port;
    epoll_fd = epoll_create1(0);
    if (epoll_fd < 0) die("epoll_create1");
}

static void fail(const char *what, const struct connection *c) {
    fprintf(stderr, "load: %s: %.80s\n", what, c->head);
    exit(1);
}

void send_raw(struct connection *c, const char *data, size_t length) {
    while (length) {
        ssize_t n = send(c->fd, data, length, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (n < 0) die("send");
        data += n;
        length -= n;
    }
}

/* A masked frame with a zero mask: the payload is on the wire as it is. */
size_t frame_of(char *out, int opcode, const char *payload, size_t length) {
    size_t n = 0;
    out[n++] = (char)(0x80 | opcode);
    if (length < 126) out[n++] = (char)(0x80 | length);
    else {
        if (length > 65535) { fprintf(stderr, "load: a payload is too large\n"); exit(2); }
        out[n++] = (char)(0x80 | 126);
        out[n++] = (char)(length >> 8);
        out[n++] = (char)length;
    }
    memset(out + n, 0, 4);
    memcpy(out + n + 4, payload, length);
    return n + 4 + length;
}

void send_payload(struct connection *c, const char *payload, size_t length) {
    static char out[70000];
    send_raw(c, out, frame_of(out, c->protocol->opcode ? c->protocol->opcode : 1, payload, length));
}

void begin(struct connection *c, const struct protocol *protocol, const char *path, const struct step *steps) {
    memset(c, 0, sizeof *c);
    c->protocol = protocol;
    c->path = path;
    c->steps = steps;
    c->begun = now_us();
    c->state = CONNECTING;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) die("socket");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) die("connect");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
}

/* Reset, not closed: what a cable does that is pulled. */
void cut(struct connection *c) {
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(c->fd);
    if (c->state == READY && c != publisher) ready--;
    c->state = CLOSED;
}

static void connected(struct connection *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) { errno = error; die("connect"); }
    int stream = !c->protocol->opcode && c != publisher;
    char request[512];
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", c->path, port,
                     stream ? "Accept: text/event-stream\r\n"
                            : "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    send_raw(c, request, n);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event) < 0) die("epoll_ctl");
    c->state = UPGRADING;
}

/* Sends what is next, if the frames of the last step are there. */
static void step(struct connection *c) {
    while (c->state == STEPPING && c->awaited <= 0) {
        const struct step *next = c->steps && c->step < STEPS ? &c->steps[c->step++] : NULL;
        if (!next || !next->send) {
            c->state = READY;
            c->ready = now_us();
            if (c != publisher) ready++;
            return;
        }
        c->awaited += next->frames;
        send_payload(c, next->send, next->length ? next->length : strlen(next->send));
    }
}

static void whole_frame(struct connection *c) {
    if (c->opcode == PING) {
        char out[160];
        send_raw(c, out, frame_of(out, PONG, c->start, c->start_length));
        return;
    }
    if (c->opcode == CLOSE) fail("the server closed a connection", c);
    if (c->opcode > CLOSE) return;
    if (c->start_length == 2 && !memcmp(c->start, "{}", 2)) {
        send_payload(c, "{}", 2); /* Centrifuge's ping */
        return;
    }
    const struct protocol *p = c->protocol;
    if (p->before && c != publisher && c->start_length >= p->update_at + 2 && !memcmp(c->start + p->update_at, "\0\2", 2))
        marks++; /* sync, update */
    if (c->state == STEPPING) {
        c->awaited--;
        step(c);
    } else if (c->state == READY) {
        frames++;
        if (on_frame) on_frame(c);
    }
}

static void count_marks(const struct connection *c, const char *data, size_t length) {
    if (c == publisher || c->protocol->before) return;
    for (const char *end = data + length; (data = memchr(data, MARK, end - data)); data++) marks++;
}

static void frames_in(struct connection *c, const char *data, size_t length) {
    while (length) {
        if (c->left) {
            size_t n = c->left < length ? c->left : length;
            size_t room = sizeof c->start - c->start_length, kept = n < room ? n : room;
            memcpy(c->start + c->start_length, data, kept);
            c->start_length += kept;
            count_marks(c, data, n);
            if (c == overheard && heard_length + n < sizeof heard) {
                memcpy(heard + heard_length, data, n);
                heard_length += n;
                heard[heard_length] = 0;
            }
            c->left -= n;
            data += n;
            length -= n;
            if (!c->left) whole_frame(c);
            continue;
        }
        c->head[c->head_length++] = *data++;
        length--;
        const unsigned char *h = (const unsigned char *)c->head;
        if (c->head_length < 2) continue;
        size_t need = h[1] == 126 ? 4 : h[1] == 127 ? 10 : 2;
        if (c->head_length < need) continue;
        c->left = h[1];
        if (h[1] == 126) c->left = h[2] << 8 | h[3];
        if (h[1] == 127) for (c->left = 0, need = 2; need < 10; need++) c->left = c->left << 8 | h[need];
        c->opcode = h[0] & 15;
        c->head_length = c->start_length = 0;
        if (!c->left) whole_frame(c);
    }
}

static void answered(struct connection *c, const char *data, size_t length) {
    size_t room = sizeof c->head - 1 - c->head_length, kept = length < room ? length : room;
    memcpy(c->head + c->head_length, data, kept);
    c->head[c->head_length + kept] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    int stream = !c->protocol->opcode && c != publisher;
    if (!end) {
        if (kept < length) fail("too long an answer", c);
        c->head_length += kept;
        return;
    }
    if (strncmp(c->head + 9, stream ? "200" : "101", 3)) fail("refused", c);
    size_t used = end + 4 - (c->head + c->head_length);
    c->head_length = 0;
    c->state = STEPPING;
    step(c);
    if (stream) count_marks(c, data + used, length - used);
    else frames_in(c, data + used, length - used);
}

void turn(void) {
    struct epoll_event events[256];
    int n = epoll_wait(epoll_fd, events, 256, WAIT_MS);
    if (n < 0 && errno == EINTR) return;
    if (n <= 0) {
        fprintf(stderr, "load: nothing came for 30 s; %lu connections, %lu deliveries, %lu frames\n", ready, marks, frames);
        exit(1);
    }
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->state == CLOSED) continue;
        if (c->state == CONNECTING) {
            connected(c);
            continue;
        }
        ssize_t got = read(c->fd, buffer, sizeof buffer);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (got <= 0) fail("the server closed a connection", c);
        unsigned long before = marks;
        if (c->state == UPGRADING) answered(c, buffer, got);
        else if (!c->protocol->opcode && c != publisher) count_marks(c, buffer, got);
        else frames_in(c, buffer, got);
        if (on_marks && marks != before) on_marks();
    }
}
