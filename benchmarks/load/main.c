/* Load generator: one room, many subscribers, one publisher; or callers; or a storm of returning members.

   usage: load port=N pid=N protocol=NAME [mode=fanout] [clients=1000] [burst=1] [rounds=100] [size=200] [rate=0] [rooms=0] [updates=FILE]

   fanout: the publisher sends `burst` publications in one write and waits until every subscriber has all of them, and
   repeats; with `rate` so many times a second. rooms: so many other rooms have one member, who also is one, before it
   begins (centrifuge only). updates: for documents, what is published: Yjs updates, each after its length (4 bytes,
   big-endian).
   echo: each of `clients` calls, and calls again when the answer is there, `rounds` times.
   storm: all subscribers are cut at once, `burst` publications follow, and all come back at once; with centrifuge they
   recover what they missed, and it is counted that they did.

   Prints one line of JSON: server_us is the CPU, user and system, of the server's process for each delivery, call or
   returning member, load_us our own; latencies run from the write to a subscriber's read; kb_each and kb_room are what
   the server's anonymous memory grew by; connect_us from connect() until the member is in its room. */

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

enum { AT_ONCE = 64, ROOMS_A_FRAME = 500, WARM = 10 };

static int clients = 1000, burst = 1, rounds = 100, size = 200, rooms, pid;
static double rate;
static const struct protocol *protocol;
static struct connection *all;
static double *latencies, sent_at;
static size_t latency_count, latency_max;

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double *values, size_t count, int of_hundred) {
    if (!count) return 0;
    qsort(values, count, sizeof *values, ascending);
    return values[count * of_hundred / 100];
}

static void until(const unsigned long *counter, unsigned long value) {
    while (*counter < value) turn();
}

static void until_ready(const struct connection *c) {
    while (c->state != READY) turn();
}

/* Opens all subscribers, at most `at_once` at a time. */
static void open_all(const char *path, const struct step *steps, int at_once) {
    for (int i = 0; i < clients; i++) {
        if (i == 1 && protocol->before) { /* a server is known that loses members who open a new document at once */
            until(&ready, 1);
            usleep(300000);
        }
        while (i - (int)ready >= at_once) turn();
        begin(&all[i], protocol, path, steps);
    }
    until(&ready, clients);
}

static void open_publisher(void) {
    publisher = &all[clients];
    begin(publisher, protocol, protocol->publisher, protocol->connect);
    until_ready(publisher);
}

static size_t formatted(char *out, size_t room, const char *format, int number, const char *text) {
    int n = protocol->numbered ? snprintf(out, room, format, protocol->numbered == 2 ? size + 1 : number, text)
                               : snprintf(out, room, format, text);
    return n;
}

static char *text_of(int length) {
    char *text = malloc(length + 1);
    memset(text, '0', length);
    text[length] = 0;
    return text;
}

static FILE *updates;

/* The next `burst` updates as frames. */
static size_t next_updates(char *batch) {
    static char payload[65536];
    size_t length = 0, head = protocol->before_length;
    memcpy(payload, protocol->before, head);
    for (int k = 0; k < burst; k++) {
        unsigned char n[4];
        if (fread(n, 1, 4, updates) != 4) { fprintf(stderr, "load: there are not enough updates\n"); exit(2); }
        size_t size = (size_t)n[2] << 8 | n[3];
        char *at = payload + head;
        if (size > 127) { *at++ = (char)(size | 128); *at++ = (char)(size >> 7); } else *at++ = (char)size;
        if (fread(at, 1, size, updates) != size) die("updates");
        length += frame_of(batch + length, protocol->opcode, payload, at - payload + size);
    }
    return length;
}

static char *room_for_batch(void) {
    char *batch = malloc((size_t)burst * (updates ? 66000 : size + 600));
    if (!batch) die("malloc");
    return batch;
}

/* `burst` publications as frames; returns their length. */
static size_t batch_of(char *batch) {
    char *text = text_of(size), *payload = malloc(size + 512);
    size_t length = 0;
    for (int k = 0; k < burst; k++) {
        size_t n = formatted(payload, size + 512, protocol->publish, 10 + k, text);
        length += frame_of(batch + length, protocol->opcode ? protocol->opcode : 1, payload, n);
    }
    free(text);
    free(payload);
    return length;
}

static double settled_kb(void) {
    usleep(300000);
    return resident_kb(pid);
}

static double connect_times(double *p99) {
    double *times = malloc(clients * sizeof *times);
    for (int i = 0; i < clients; i++) times[i] = all[i].ready - all[i].begun;
    *p99 = percentile(times, clients, 99);
    double p50 = percentile(times, clients, 50);
    free(times);
    return p50;
}

/* One more connection, alone in `rooms` rooms. */
static double open_rooms(void) {
    static struct connection lodger;
    char *commands = malloc(ROOMS_A_FRAME * 96);
    begin(&lodger, protocol, protocol->subscriber, protocol->connect);
    until_ready(&lodger);
    double before = settled_kb();
    for (int first = 0; first < rooms; first += ROOMS_A_FRAME) {
        int last = first + ROOMS_A_FRAME < rooms ? first + ROOMS_A_FRAME : rooms;
        size_t length = 0;
        for (int i = first; i < last; i++)
            length += sprintf(commands + length, "%s{\"id\":%d,\"subscribe\":{\"channel\":\"bench:%d\"}}", i > first ? "\n" : "", i + 2, i);
        unsigned long wanted = frames + (last - first);
        send_payload(&lodger, commands, length);
        until(&frames, wanted);
    }
    free(commands);
    return (settled_kb() - before) / rooms;
}

static void note_latency(void) {
    if (latency_count < latency_max) latencies[latency_count++] = now_us() - sent_at;
}

static void fanout(void) {
    double connect_p99, empty = settled_kb();
    open_all(protocol->subscriber, protocol->subscribe, AT_ONCE);
    double kb_each = (settled_kb() - empty) / clients, connect_p50 = connect_times(&connect_p99);
    open_publisher();
    double kb_room = rooms ? open_rooms() : 0;
    char *batch = room_for_batch();
    size_t length = updates ? 0 : batch_of(batch);

    latency_max = (size_t)rounds * clients;
    latencies = malloc(latency_max * sizeof *latencies);
    marks = 0;
    unsigned long expected = 0;
    double server = 0, own = 0, started = 0;
    for (int round = -rounds / WARM - 2; round < rounds; round++) {
        if (round == 0) {
            server = cpu_us(pid);
            own = own_cpu_us();
            started = now_us();
            on_marks = note_latency;
        }
        if (rate > 0 && round >= 0) {
            double wait = started + round * 1e6 / rate - now_us();
            if (wait > 0) usleep((useconds_t)wait);
        }
        expected += (unsigned long)clients * burst;
        if (updates) length = next_updates(batch);
        sent_at = now_us();
        send_raw(publisher, batch, length);
        until(&marks, expected);
    }
    double elapsed = now_us() - started, deliveries = (double)clients * burst * rounds;
    server = cpu_us(pid) - server;
    own = own_cpu_us() - own;
    printf("{\"server_us\": %.3f, \"load_us\": %.3f, \"per_s\": %.0f, \"p50_us\": %.0f, \"p99_us\": %.0f, \"kb_each\": %.2f, "
           "\"kb_room\": %.2f, \"connect_p50_us\": %.0f, \"connect_p99_us\": %.0f}\n",
           server / deliveries, own / deliveries, deliveries * 1e6 / elapsed, percentile(latencies, latency_count, 50),
           percentile(latencies, latency_count, 99), kb_each, kb_room, connect_p50, connect_p99);
}

static char call[70000];

static void call_again(struct connection *c) {
    if (latency_count < latency_max) latencies[latency_count++] = now_us() - c->begun;
    c->begun = now_us();
    send_payload(c, call, strlen(call));
}

static void echo(void) {
    char *text = text_of(size);
    formatted(call, sizeof call, protocol->call, 3, text);
    open_all(protocol->echo, protocol->connect, AT_ONCE);
    unsigned long calls = (unsigned long)clients * rounds, warm = calls / WARM + clients;
    latencies = malloc(calls * sizeof *latencies);
    on_frame = call_again;
    frames = 0;
    for (int i = 0; i < clients; i++) call_again(&all[i]);
    until(&frames, warm);
    double server = cpu_us(pid), own = own_cpu_us(), started = now_us();
    latency_max = calls;
    latency_count = 0;
    unsigned long from = frames;
    until(&frames, from + calls);
    double elapsed = now_us() - started, done = frames - from;
    server = cpu_us(pid) - server;
    own = own_cpu_us() - own;
    printf("{\"server_us\": %.3f, \"load_us\": %.3f, \"per_s\": %.0f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", server / done,
           own / done, done * 1e6 / elapsed, percentile(latencies, latency_count, 50), percentile(latencies, latency_count, 99));
    free(text);
}

/* The value of "key": in what was heard; empty if it isn't there. */
static void value_of(const char *key, char *out, size_t room) {
    out[0] = 0;
    const char *at = strstr(heard, key);
    if (!at) return;
    at += strlen(key);
    if (*at == '"') at++;
    size_t n = strcspn(at, "\",}");
    if (n < room) {
        memcpy(out, at, n);
        out[n] = 0;
    }
}

static void storm(void) {
    int recovers = !strcmp(protocol->name, "centrifuge");
    static char subscribe[512];
    struct step back[STEPS] = {{subscribe, 2, 0}, {NULL, 0, 0}};
    overheard = &all[0];
    open_all(protocol->subscriber, protocol->subscribe, AT_ONCE);
    overheard = NULL;
    open_publisher();
    if (recovers) {
        char epoch[64], offset[32];
        value_of("\"epoch\":", epoch, sizeof epoch);
        value_of("\"offset\":", offset, sizeof offset);
        snprintf(subscribe, sizeof subscribe,
                 "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"bench:room\",\"recover\":true,\"epoch\":\"%s\","
                 "\"offset\":%s}}", epoch, *offset ? offset : "0");
    }
    usleep(300000);
    double server = cpu_us(pid), own = own_cpu_us(), started = now_us(), p99;
    for (int i = 0; i < clients; i++) cut(&all[i]);
    if (recovers) {
        char *batch = room_for_batch();
        size_t length = batch_of(batch);
        frames = 0;
        send_raw(publisher, batch, length);
        until(&frames, burst);
    }
    marks = 0;
    open_all(protocol->subscriber, recovers ? back : protocol->subscribe, 1000);
    if (recovers && marks != (unsigned long)clients * burst) {
        fprintf(stderr, "load: %lu of %lu missed messages recovered\n", marks, (unsigned long)clients * burst);
        exit(1);
    }
    double elapsed = now_us() - started;
    server = cpu_us(pid) - server;
    own = own_cpu_us() - own;
    double p50 = connect_times(&p99);
    printf("{\"server_us\": %.3f, \"load_us\": %.3f, \"per_s\": %.0f, \"p50_us\": %.0f, \"p99_us\": %.0f}\n", server / clients,
           own / clients, clients * 1e6 / elapsed, p50, p99);
}

int main(int argc, char **argv) {
    int port = 0;
    char name[32] = "", mode[16] = "fanout", file[4096] = "";
    for (int i = 1; i < argc; i++) {
        if (sscanf(argv[i], "port=%d", &port) || sscanf(argv[i], "pid=%d", &pid) || sscanf(argv[i], "clients=%d", &clients) ||
            sscanf(argv[i], "burst=%d", &burst) || sscanf(argv[i], "rounds=%d", &rounds) || sscanf(argv[i], "size=%d", &size) ||
            sscanf(argv[i], "rate=%lf", &rate) || sscanf(argv[i], "rooms=%d", &rooms) ||
            sscanf(argv[i], "protocol=%31s", name) || sscanf(argv[i], "mode=%15s", mode) ||
            sscanf(argv[i], "updates=%4095s", file)) continue;
        fprintf(stderr, "load: what is %s? See the head of main.c\n", argv[i]);
        return 2;
    }
    protocol = protocol_of(name);
    if (*file && !(updates = fopen(file, "rb"))) die(file);
    all = calloc(clients + 1, sizeof *all);
    if (!all) die("calloc");
    network_start(port);
    if (!strcmp(mode, "fanout")) fanout();
    else if (!strcmp(mode, "echo")) echo();
    else if (!strcmp(mode, "storm")) storm();
    else { fprintf(stderr, "load: no mode %s\n", mode); return 2; }
    return 0;
}
