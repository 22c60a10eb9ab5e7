/* Clocks, CPU and memory of the server and of ourselves. */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* User and system, of all threads, from the schedstat of each: it counts nanoseconds, where stat counts ticks. */
double cpu_us(int pid) {
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

double own_cpu_us(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

/* Anonymous memory: what the process allocated, without pages of files that it has only touched. */
double resident_kb(int pid) {
    char path[96], line[256];
    double kb = -1;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "RssAnon: %lf", &kb) == 1) break;
    fclose(file);
    if (kb < 0) die("RssAnon");
    return kb;
}
