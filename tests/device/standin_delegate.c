/* A stand-in for libedgetpu, for tests without an Edge TPU: a TFLite delegate that takes the
 * operator which the Edge TPU compiler writes, and answers as tests ask it to.
 *
 *     cc -shared -fPIC -Wl,-soname,libedgetpu.so.1 -o libedgetpu.so.1 standin_delegate.c
 *
 * What it computes is the network of tflite_tiny.py: each output pixel has the input's channels at
 * that place, and 64 (as a pixel value) in all further channels. The environment changes that:
 *
 *     STANDIN_ANSWERS=FILE     hands out the bytes of FILE instead, one answer after the other,
 *                              and from the front again
 *     STANDIN_CORRUPT=half     inverts the values of the second half of each answer: of the lower
 *                              half of an image
 *     STANDIN_SLEEP_MS=40      takes so long, without using the processor
 *     STANDIN_NO_DEVICE=1      cannot be created, and does not say why, as without an Edge TPU
 *     STANDIN_LOST_AFTER=3     fails from the fourth inference on, as one that was unplugged
 *     STANDIN_OLD_ABI=1        fails to prepare, as a library that is older than the runtime
 *     STANDIN_CRASH=1          takes the process with it at the first inference
 *     STANDIN_TAKES_NOTHING=1  leaves every operator to the runtime
 *     STANDIN_RECORD=FILE      appends what happened: `create device=usb`, `take 1`, `invoke`,
 *                              `destroy`, a line each
 *
 * The declarations are those parts of TFLite's C interface (tensorflow/lite/core/c/common.h) that
 * it needs, as they are in tflite-runtime 2.14 and ai-edge-litert 2.3; no header is needed.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef enum { OK = 0, ERROR = 1 } Status;
typedef struct { int size; int data[]; } IntArray;
typedef struct Context Context;
typedef struct Delegate Delegate;

enum { UINT8 = 3 };

typedef struct {
  int type;
  void *data;
  IntArray *dims;
  struct { float scale; int32_t zero_point; } params;
  int allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  Delegate *delegate;
  int buffer_handle;
  bool data_is_stale, is_variable;
  struct { int type; void *params; } quantization;
  void *sparsity;
  const IntArray *dims_signature;
} Tensor;

typedef struct {
  IntArray *inputs, *outputs, *intermediates, *temporaries;
  /* and more */
} Node;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  Status (*prepare)(Context *, Node *);
  Status (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *later[8]; /* what newer versions add */
} Registration;

struct Context {
  size_t tensors_size;
  Status (*get_execution_plan)(Context *, IntArray **);
  Tensor *tensors;
  void *impl;
  Status (*resize_tensor)(Context *, Tensor *, IntArray *);
  void (*report_error)(Context *, const char *, ...);
  Status (*add_tensors)(Context *, int, int *);
  Status (*get_node)(Context *, int, Node **, Registration **);
  Status (*replace_nodes)(Context *, Registration, const IntArray *, Delegate *);
  /* and more */
};

struct Delegate {
  void *data;
  Status (*prepare)(Context *, Delegate *);
  void *copy_from, *copy_to, *free_handle;
  int64_t flags;
  void *later[8];
};

static int inferences;

static bool asked(const char *name) {
  const char *value = getenv(name);
  return value && *value && strcmp(value, "0");
}

static void record(const char *line) {
  const char *path = getenv("STANDIN_RECORD");
  FILE *file = path && *path ? fopen(path, "a") : NULL;
  if (!file) return;
  fprintf(file, "%s\n", line);
  fclose(file);
}

/* tflite_tiny.py's network, at whatever stride. */
static void compute(const Tensor *image, Tensor *answer) {
  const uint8_t *pixels = image->data;
  uint8_t *values = answer->data, rest = image->type == UINT8 ? 64 : 64 ^ 128;
  const int *in = image->dims->data, *out = answer->dims->data;
  int y, x, c, stride_y = in[1] / out[1], stride_x = in[2] / out[2];
  for (y = 0; y < out[1]; y++)
    for (x = 0; x < out[2]; x++)
      for (c = 0; c < out[3]; c++)
        *values++ =
            c < in[3] ? pixels[((size_t)y * stride_y * in[2] + x * stride_x) * in[3] + c] : rest;
}

static Status replay(Context *context, const char *path, Tensor *answer) {
  FILE *file = fopen(path, "rb");
  bool whole = false;
  if (file) {
    fseek(file, 0, SEEK_END);
    long count = ftell(file) / (long)answer->bytes;
    if (count > 0) {
      fseek(file, (inferences % count) * (long)answer->bytes, SEEK_SET);
      whole = fread(answer->data, 1, answer->bytes, file) == answer->bytes;
    }
    fclose(file);
  }
  if (!whole) context->report_error(context, "no answer of %zu bytes in %s", answer->bytes, path);
  return whole ? OK : ERROR;
}

static Status invoke(Context *context, Node *node) {
  const char *lost = getenv("STANDIN_LOST_AFTER"), *pause = getenv("STANDIN_SLEEP_MS");
  const char *answers = getenv("STANDIN_ANSWERS"), *corrupt = getenv("STANDIN_CORRUPT");
  Tensor *answer = &context->tensors[node->outputs->data[0]];
  if (lost && *lost && inferences >= atoi(lost)) {
    context->report_error(context, "Failed to execute request.");
    return ERROR;
  }
  if (asked("STANDIN_CRASH")) raise(SIGSEGV);
  if (pause && *pause) {
    long ms = atol(pause);
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
  }
  if (answers && *answers) {
    if (replay(context, answers, answer) != OK) return ERROR;
  } else {
    compute(&context->tensors[node->inputs->data[0]], answer);
  }
  if (corrupt && !strcmp(corrupt, "half")) {
    for (size_t i = answer->bytes / 2; i < answer->bytes; i++) ((uint8_t *)answer->data)[i] ^= 255;
  }
  inferences++;
  record("invoke");
  return OK;
}

static Status prepare_node(Context *context, Node *node) {
  (void)node;
  if (!asked("STANDIN_OLD_ABI")) return OK;
  context->report_error(context, "Internal: Unsupported data type in custom op handler: 0");
  return ERROR;
}

static void *init_node(Context *context, const char *buffer, size_t length) {
  (void)context, (void)buffer, (void)length;
  return NULL;
}

static void free_node(Context *context, void *data) { (void)context, (void)data; }

static Status prepare(Context *context, Delegate *delegate) {
  IntArray *plan;
  if (context->get_execution_plan(context, &plan) != OK) return ERROR;
  IntArray *taken = malloc(sizeof *taken + sizeof(int) * plan->size);
  taken->size = 0;
  for (int i = 0; i < plan->size && !asked("STANDIN_TAKES_NOTHING"); i++) {
    Node *node;
    Registration *registration;
    if (context->get_node(context, plan->data[i], &node, &registration) != OK) return ERROR;
    if (registration->custom_name && !strcmp(registration->custom_name, "edgetpu-custom-op"))
      taken->data[taken->size++] = plan->data[i];
  }
  char line[32];
  snprintf(line, sizeof line, "take %d", taken->size);
  record(line);
  Registration registration = {
      .init = init_node,
      .free = free_node,
      .prepare = prepare_node,
      .invoke = invoke,
      .custom_name = "EdgeTpuDelegateForCustomOp",
      .version = 1,
  };
  Status status = OK;
  if (taken->size) status = context->replace_nodes(context, registration, taken, delegate);
  free(taken);
  return status;
}

Delegate *tflite_plugin_create_delegate(const char *const *keys, const char *const *values,
                                        size_t count, void (*report_error)(const char *)) {
  (void)report_error;
  char line[512] = "create";
  for (size_t i = 0; i < count; i++) {
    size_t length = strlen(line);
    snprintf(line + length, sizeof line - length, " %s=%s", keys[i], values[i]);
  }
  record(line);
  if (asked("STANDIN_NO_DEVICE")) return NULL;
  Delegate *delegate = calloc(1, sizeof *delegate);
  delegate->prepare = prepare;
  delegate->flags = 1; /* as libedgetpu: it allows dynamic tensors */
  inferences = 0;
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) {
  record("destroy");
  free(delegate);
}
