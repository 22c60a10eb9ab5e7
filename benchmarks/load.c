/* Load generator for WebSocket fan-out: one room, many subscribers, one publisher. Standard library and Linux only.

   Opens `clients` subscribers and one publisher, lets the publisher send `burst` publications in one write, waits until
   every subscriber has all of them, and repeats. Prints one line of JSON: deliveries, the server's CPU per delivery in
   microseconds (user + system of all its threads, from the schedstat of each of its tasks), its own CPU per delivery, and
   latency percentiles from the write to a subscriber's read, in microseconds.

   usage: load PORT PID PROTOCOL CLIENTS BURST ROUNDS SIZE [RATE]
   PROTOCOL: centrifuge (Centrifuge JSON, channel bench:room), socketio (socket.io's events join and publish), or bare
   (paths /sub and /pub, frames relayed as they are).
   kb_each: how much the server's resident memory has grown with the subscribers, each.
   RATE: rounds a second; 0: the next one as soon as the last has arrived. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, WAIT_MS = 30000 };

struct connection {
    int fd;
    int upgraded;
    size_t length;          /* bytes in the buffer */
    unsigned long skip;     /* payload bytes of the current frame that are still to come */
    int ping;               /* it is a ping */
    char head[2048];        /* a frame header or an HTTP answer that isn't complete */
};

static int epoll_fd, port, protocol_bare, protocol_socketio;
static unsigned long frames, expected;
static struct timespec sent_at;
static double *latencies;
static size_t latency_count, latency_max;
static char buffer[BUFFER];

static void die(const char *what) { fprintf(stderr, "load: %s: %s\n", what, strerror(errno)); exit(1); }

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static double cpu_of(int pid) {
    char path[96];
    double total = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks) die(path);
    for (struct dirent *entry; (entry = readdir(tasks));) {
        if (entry->d_name[0] == '.') continue;
        char file[400];
        snprintf(file, sizeof file, "/proc/%d/task/%s/schedstat", pid, entry->d_name);
        FILE *stat = fopen(file, "r");
        if (!stat) continue;
        unsigned long long ns = 0;
        if (fscanf(stat, "%llu", &ns) == 1) total += ns / 1e3;
        fclose(stat);
    }
    closedir(tasks);
    return total;
}

static double resident_kb(int pid) {
    char path[96];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%*d %ld", &pages) != 1) die(path);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024.0);
}

static double own_cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static void send_all(int fd, const char *data, size_t length) {
    while (length) {
        ssize_t n = send(fd, data, length, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (n < 0) die("send");
        data += n;
        length -= n;
    }
}

/* A masked text frame with a zero mask: the payload is on the wire as it is. */
static size_t text_frame(char *out, const char *payload, size_t length) {
    size_t n = 0;
    out[n++] = (char)0x81;
    if (length < 126) out[n++] = (char)(0x80 | length);
    else {
        if (length > 65535) { fprintf(stderr, "load: SIZE is too large\n"); exit(2); }
        out[n++] = (char)(0x80 | 126);
        out[n++] = (char)(length >> 8);
        out[n++] = (char)length;
    }
    memset(out + n, 0, 4);
    memcpy(out + n + 4, payload, length);
    return n + 4 + length;
}

static void send_text(int fd, const char *payload) {
    char *frame = malloc(strlen(payload) + 16);
    send_all(fd, frame, text_frame(frame, payload, strlen(payload)));
    free(frame);
}

static void take(struct connection *c, const char *data, size_t length, int subscriber);

static void open_connection(struct connection *c, const char *path, int subscriber) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memset(c, 0, sizeof *c);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char request[512];
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", path, port);
    send_all(c->fd, request, n);
    for (;;) {
        ssize_t got = read(c->fd, c->head + c->length, sizeof c->head - 1 - c->length);
        if (got <= 0) die("handshake");
        c->length += got;
        c->head[c->length] = 0;
        char *end = strstr(c->head, "\r\n\r\n");
        if (!end) continue;
        if (strncmp(c->head + 9, "101", 3)) { fprintf(stderr, "load: refused: %.60s\n", c->head); exit(1); }
        char rest[sizeof c->head];
        size_t more = c->length - (end + 4 - c->head);
        memcpy(rest, end + 4, more);
        c->length = 0;
        take(c, rest, more, subscriber); /* frames that came with the answer */
        break;
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
}

/* Counts whole frames in what has come. The payload isn't looked at. */
static void take(struct connection *c, const char *data, size_t length, int subscriber) {
    while (length) {
        if (c->skip) {
            size_t n = c->skip < length ? c->skip : length;
            c->skip -= n;
            data += n;
            length -= n;
            if (c->skip) return;
            if (c->ping) {
                c->ping = 0;
                send_text(c->fd, "{}");
            } else if (subscriber) frames++;
            continue;
        }
        c->head[c->length++] = *data++;
        length--;
        size_t need = 2;
        unsigned char second = c->length > 1 ? (unsigned char)c->head[1] : 0;
        if (c->length >= 2) need = second == 126 ? 4 : second == 127 ? 10 : 2;
        if (c->length < need) continue;
        const unsigned char *h = (const unsigned char *)c->head;
        c->skip = second;
        if (second == 126) c->skip = h[2] << 8 | h[3];
        if (second == 127) for (c->skip = 0, need = 2; need < 10; need++) c->skip = c->skip << 8 | h[need];
        c->length = 0;
        if (c->skip == 2) {
            c->ping = 1; /* {}: a ping, which wants the same back */
        } else if (!c->skip && subscriber) frames++;
    }
}

static struct connection *publisher;

/* Reads until `frames` has reached `expected`. */
static void collect(void) {
    struct epoll_event events[256];
    while (frames < expected) {
        int n = epoll_wait(epoll_fd, events, 256, WAIT_MS);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) { fprintf(stderr, "load: %lu of %lu frames came\n", frames, expected); exit(1); }
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            ssize_t got = read(c->fd, buffer, sizeof buffer);
            if (got == 0) { fprintf(stderr, "load: the server closed a connection\n"); exit(1); }
            if (got < 0) continue;
            unsigned long before = frames;
            take(c, buffer, got, c != publisher);
            if (frames != before && latency_count < latency_max) {
                struct timespec t;
                clock_gettime(CLOCK_MONOTONIC, &t);
                latencies[latency_count++] = (t.tv_sec - sent_at.tv_sec) * 1e6 + (t.tv_nsec - sent_at.tv_nsec) / 1e3;
            }
        }
    }
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc < 8) { fprintf(stderr, "usage: load PORT PID PROTOCOL CLIENTS BURST ROUNDS SIZE [RATE]\n"); return 2; }
    port = atoi(argv[1]);
    int pid = atoi(argv[2]), clients = atoi(argv[4]), burst = atoi(argv[5]), rounds = atoi(argv[6]), size = atoi(argv[7]);
    double rate = argc > 8 ? atof(argv[8]) : 0;
    protocol_bare = !strcmp(argv[3], "bare");
    protocol_socketio = !strcmp(argv[3], "socketio");
    epoll_fd = epoll_create1(0);
    struct connection *all = calloc(clients + 1, sizeof *all);
    if (!all) die("calloc");
    publisher = &all[clients];

    double resident = resident_kb(pid);
    for (int i = 0; i <= clients; i++) {
        int subscriber = i < clients;
        open_connection(&all[i], protocol_socketio ? "/socket.io/?EIO=4&transport=websocket"
                                 : !protocol_bare  ? "/connection/websocket"
                                 : subscriber      ? "/sub" : "/pub", subscriber);
        if (protocol_bare) continue;
        if (protocol_socketio) {
            send_text(all[i].fd, "40");
            if (!subscriber) continue;
            expected += 2; /* the session, and the answer to 40 */
            collect();
            send_text(all[i].fd, "42[\"join\"]");
            continue;
        }
        send_text(all[i].fd, subscriber ? "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"bench:room\"}}"
                                        : "{\"id\":1,\"connect\":{}}");
        if (subscriber) { expected += 2; collect(); }
    }
    usleep(300000);
    resident = resident_kb(pid) - resident;
    while (epoll_wait(epoll_fd, (struct epoll_event[1]){}, 1, 0) > 0) {
        for (int i = 0; i <= clients; i++) {
            ssize_t got = read(all[i].fd, buffer, sizeof buffer);
            if (got > 0) take(&all[i], buffer, got, 0);
        }
    }

    char *payload = malloc(size + 256), *batch = malloc((size_t)burst * (size + 300));
    size_t length = 0;
    for (int k = 0; k < burst; k++) {
        int n = protocol_socketio
                    ? snprintf(payload, size + 256, "42[\"publish\",{\"t\":\"%0*d\"}]", size, k)
                : protocol_bare
                    ? snprintf(payload, size + 256, "{\"push\":{\"channel\":\"bench:room\",\"pub\":{\"data\":{\"t\":\"%0*d\"},\"offset\":%d,\"info\":{\"user\":\"\",\"client\":\"00000000-0000-0000-0000-000000000000\"}}}}", size, k, 1000 + k)
                    : snprintf(payload, size + 256, "{\"id\":%d,\"publish\":{\"channel\":\"bench:room\",\"data\":{\"t\":\"%0*d\"}}}", 10 + k, size, k);
        length += text_frame(batch + length, payload, n);
    }

    latency_max = (size_t)rounds * clients;
    latencies = malloc(latency_max * sizeof *latencies);
    frames = expected = 0;
    double server = 0, own = 0, started = 0;
    for (int round = -rounds / 10 - 2; round < rounds; round++) {
        if (round == 0) {
            latency_count = 0;
            server = cpu_of(pid);
            own = own_cpu();
            started = now_us();
        }
        if (rate > 0 && round >= 0) {
            double wait = started + round * 1e6 / rate - now_us();
            if (wait > 0) usleep((useconds_t)wait);
        }
        expected += (unsigned long)clients * burst;
        clock_gettime(CLOCK_MONOTONIC, &sent_at);
        send_all(publisher->fd, batch, length);
        collect();
    }
    double elapsed = now_us() - started, deliveries = (double)clients * burst * rounds;
    server = cpu_of(pid) - server;
    own = own_cpu() - own;
    qsort(latencies, latency_count, sizeof *latencies, ascending);
    printf("{\"deliveries\": %.0f, \"server_us\": %.3f, \"load_us\": %.3f, \"per_s\": %.0f, \"p50_us\": %.0f, \"p99_us\": %.0f, \"kb_each\": %.1f}\n",
           deliveries, server / deliveries, own / deliveries, deliveries * 1e6 / elapsed,
           latencies[latency_count / 2], latencies[latency_count * 99 / 100],
           resident / clients);
    return 0;
}
