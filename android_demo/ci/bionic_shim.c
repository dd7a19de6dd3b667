// What Android's C library has and Linux's has not, as far as TFLite's library asks for it, so that
// the Android library for x86-64 loads into a process on Linux.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HOST(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// === stdio: Android's three streams are an array of structures ===

struct bionic_file {
    char bytes[152];
};
struct bionic_file __sF[3];

static FILE *host_stream(void *stream) {
    if (stream < (void *)&__sF[0] || stream >= (void *)&__sF[3]) return stream;
    FILE *streams[] = {stdin, stdout, stderr};
    return streams[(struct bionic_file *)stream - __sF];
}

int vfprintf(FILE *stream, const char *format, va_list values) {
    return HOST(vfprintf)(host_stream(stream), format, values);
}

int fprintf(FILE *stream, const char *format, ...) {
    va_list values;
    va_start(values, format);
    int count = vfprintf(stream, format, values);
    va_end(values);
    return count;
}

int fputc(int c, FILE *stream) { return HOST(fputc)(c, host_stream(stream)); }
int fflush(FILE *stream) { return HOST(fflush)(host_stream(stream)); }
int fileno(FILE *stream) { return HOST(fileno)(host_stream(stream)); }
size_t fwrite(const void *from, size_t size, size_t count, FILE *stream) {
    return HOST(fwrite)(from, size, count, host_stream(stream));
}

// === Android's own ===

int *__errno(void) { return &errno; }

size_t __strlen_chk(const char *text, size_t size) {
    (void)size;
    return strlen(text);
}

// Below API 30 TFLite leaves XNNPACK aside.
int __system_property_get(const char *name, char *value) {
    strcpy(value, strcmp(name, "ro.build.version.sdk") ? "" : "30");
    return strlen(value);
}

void android_set_abort_message(const char *message) {
    if (message) fprintf(stderr, "abort: %s\n", message);
}

int __android_log_vprint(int priority, const char *tag, const char *format, va_list values) {
    (void)priority;
    fprintf(stderr, "%s: ", tag);
    int count = vfprintf(stderr, format, values);
    fputc('\n', stderr);
    return count;
}

int __android_log_print(int priority, const char *tag, const char *format, ...) {
    va_list values;
    va_start(values, format);
    int count = __android_log_vprint(priority, tag, format, values);
    va_end(values);
    return count;
}

int __android_log_write(int priority, const char *tag, const char *text) {
    return __android_log_print(priority, tag, "%s", text);
}

// === sysconf: Android numbers its questions otherwise ===

static long bionic_sysconf(int name) {
    switch (name) {
        case 0x27:
        case 0x28:
            return HOST(sysconf)(_SC_PAGESIZE);
        case 0x60:
            return HOST(sysconf)(_SC_NPROCESSORS_CONF);
        case 0x61:
            return HOST(sysconf)(_SC_NPROCESSORS_ONLN);
        case 0x62:
            return HOST(sysconf)(_SC_PHYS_PAGES);
    }
    return -1;
}

long sysconf(int name) {
    Dl_info caller;
    int known = dladdr(__builtin_return_address(0), &caller) && caller.dli_fname;
    if (known && strstr(caller.dli_fname, "libtensorflowlite")) return bionic_sysconf(name);
    return HOST(sysconf)(name);
}
