// A stand-in for CANN, the libraries between MindSpore and an Ascend NPU. Nothing is computed:
// device memory is host memory, and every kernel that is launched is written to the file
// $CANN_RECORD, a line each: its name, then type and rank of each tensor in the order of arguments.
// What else the plugin looks for is in generated.inc, which build.py makes from its symbols.
//
// Compiled with the old C++ ABI (_GLIBCXX_USE_CXX11_ABI=0), which CANN and the plugin use.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>

namespace {

std::mutex lock;

// A handle is what the plugin keeps in place of an aclTensor and the like: a number of bytes that
// it never looks into. `described` holds the text that stands in the record for it.
std::unordered_map<const void *, std::string> described;

void *new_handle(const std::string &text = "") {
  void *handle = std::calloc(1, 64);
  if (!text.empty()) {
    std::lock_guard<std::mutex> guard(lock);
    described[handle] = text;
  }
  return handle;
}

std::string text_of(const void *handle) {
  std::lock_guard<std::mutex> guard(lock);
  auto found = described.find(handle);
  return found == described.end() ? "" : found->second;
}

void write_line(const std::string &line) {
  static const char *path = std::getenv("CANN_RECORD");
  static FILE *file = path ? std::fopen(path, "a") : nullptr;
  std::lock_guard<std::mutex> guard(lock);
  if (file) {
    std::fprintf(file, "%s\n", line.c_str());
    std::fflush(file);
  }
}

const char *type_name(int type) {  // aclDataType
  static const std::map<int, const char *> names = {
      {0, "float32"}, {1, "float16"}, {2, "int8"},     {3, "int32"},    {4, "uint8"},
      {6, "int16"},   {7, "uint16"},  {8, "uint32"},   {9, "int64"},    {10, "uint64"},
      {11, "float64"}, {12, "bool"},  {16, "complex64"}, {27, "bfloat16"}};
  auto found = names.find(type);
  return found == names.end() ? "untyped" : found->second;
}

std::string tensor_text(int type, uint64_t rank) {
  return std::string(type_name(type)) + ":" + std::to_string(rank);
}

std::string list_text(void *const *handles, uint64_t count) {
  std::set<std::string> kinds;  // how many of each kind depends on the model, not on the kernel
  for (uint64_t place = 0; place < count; place++) kinds.insert(text_of(handles[place]));
  std::string text;
  for (const auto &kind : kinds) text += (text.empty() ? "[" : ",") + kind;
  return text + "]";
}

void *reserve(size_t size) {
  void *memory = mmap(nullptr, size ? size : 1, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

// An aclnn operator is two functions. The first gets the arguments, then the addresses of two
// local variables of its caller: the size of the workspace, and the executor, empty until then.
// As many words are read as any operator has arguments; numbers in floating point are not among
// them. Where the two addresses stand, the arguments end.
const int kWords = 40;

int prepare(const char *name, const intptr_t *words) {
  const intptr_t here = reinterpret_cast<intptr_t>(__builtin_frame_address(0));
  auto is_local = [here](intptr_t word) {
    return word % 8 == 0 && word > here && word < here + (1 << 20);
  };
  std::string line = name;
  for (int place = 0; place + 1 < kWords; place++) {
    const intptr_t size = words[place], executor = words[place + 1];
    if (is_local(size) && is_local(executor) && size != executor &&
        std::llabs(size - executor) <= 512 && *reinterpret_cast<void **>(executor) == nullptr) {
      *reinterpret_cast<uint64_t *>(size) = 0;
      *reinterpret_cast<void **>(executor) = new_handle(line);
      return 0;
    }
    const std::string text = text_of(reinterpret_cast<void *>(size));
    if (!text.empty()) line += " " + text;
  }
  write_line("unread " + line);  // a record with such a line is refused
  return 1;
}

int launch(void *, uint64_t, void *executor) {
  write_line(text_of(executor));
  return 0;
}

}  // namespace

#define W intptr_t
#define WORDS                                                                                   \
  W a0, W a1, W a2, W a3, W a4, W a5, W a6, W a7, W a8, W a9, W b0, W b1, W b2, W b3, W b4,     \
      W b5, W b6, W b7, W b8, W b9, W c0, W c1, W c2, W c3, W c4, W c5, W c6, W c7, W c8, W c9, \
      W d0, W d1, W d2, W d3, W d4, W d5, W d6, W d7, W d8, W d9
#define OPERATOR(name)                                                                            \
  int name##GetWorkspaceSize(WORDS) {                                                             \
    const intptr_t words[kWords] = {a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b0, b1, b2, b3,       \
                                    b4, b5, b6, b7, b8, b9, c0, c1, c2, c3, c4, c5, c6, c7,       \
                                    c8, c9, d0, d1, d2, d3, d4, d5, d6, d7, d8, d9};              \
    return prepare(#name, words);                                                                 \
  }                                                                                               \
  int name(void *workspace, uint64_t size, void *executor) { return launch(workspace, size, executor); }

extern "C" {

// ------------------------------------------------------------------------------- the device

const char *aclrtGetSocName() {
  const char *name = std::getenv("CANN_SOC");
  return name ? name : "Ascend910B1";
}
const char *aclGetRecentErrMsg() { return ""; }
int aclrtGetDeviceCount(uint32_t *count) { return *count = 8, 0; }
int aclrtGetDevice(int *device) { return *device = 0, 0; }
int aclrtGetRunMode(int *mode) { return *mode = 1, 0; }  // the program runs on the host
int aclrtGetCurrentContext(void **context) {
  static void *only = new_handle();
  return *context = only, 0;
}
int aclrtQueryEventStatus(void *, int *status) { return *status = 1, 0; }  // complete
int aclrtStreamQuery(void *, int *status) { return *status = 1, 0; }
int acltdtReceiveTensor() {  // what graphs print and summarise: nothing
  usleep(10000);
  return 207014;  // ACL_ERROR_RT_QUEUE_EMPTY
}
int aclrtEventElapsedTime(float *milliseconds) { return *milliseconds = 0, 0; }

// ------------------------------------------------------------------------------- memory

int aclrtGetMemInfo(int, size_t *free, size_t *total) {
  *free = size_t{60} << 30;
  *total = size_t{64} << 30;
  return 0;
}
int aclrtMalloc(void **memory, size_t size, int) { return (*memory = reserve(size)) == nullptr; }
int aclrtReserveMemAddress(void **memory, size_t size) {
  return (*memory = reserve(size)) == nullptr;
}
int aclrtMallocPhysical(void **handle) { return *handle = new_handle(), 0; }
int aclrtMallocHost(void **memory, size_t size) { return (*memory = std::malloc(size)) == nullptr; }
int aclrtFreeHost(void *memory) { return std::free(memory), 0; }
int aclrtMemcpy(void *to, size_t, const void *from, size_t size) {
  return std::memcpy(to, from, size), 0;
}
int aclrtMemcpyAsync(void *to, size_t, const void *from, size_t size) {
  return std::memcpy(to, from, size), 0;
}
int aclrtMemset(void *memory, size_t, int value, size_t size) {
  return std::memset(memory, value, size), 0;
}
int aclrtMemsetAsync(void *memory, size_t, int value, size_t size) {
  return std::memset(memory, value, size), 0;
}

// ------------------------------------------------------------------------------- arguments

void *aclCreateTensor(const int64_t *, uint64_t rank, int type) {
  return new_handle(tensor_text(type, rank));
}
void *aclCreateScalar(const void *, int type) {
  return new_handle(std::string(type_name(type)) + ":scalar");
}
void *aclCreateTensorList(void *const *tensors, uint64_t count) {
  return new_handle(list_text(tensors, count));
}
void *aclCreateScalarList(void *const *scalars, uint64_t count) {
  return new_handle(list_text(scalars, count));
}
void *aclCreateTensorDesc(int type, int rank) { return new_handle(tensor_text(type, rank)); }

// ------------------------------------------------------------------------------- legacy kernels

int aclopCompileAndExecuteV2(const char *name, int inputs, void **input, void **, int outputs,
                             void **output) {
  std::string line = std::string("aclop") + name;
  for (int place = 0; place < inputs; place++) line += " " + text_of(input[place]);
  for (int place = 0; place < outputs; place++) line += " " + text_of(output[place]);
  write_line(line);
  return 0;
}
int aclopCompileAndExecute(const char *name, int inputs, void **input, void **buffer, int outputs,
                           void **output) {
  return aclopCompileAndExecuteV2(name, inputs, input, buffer, outputs, output);
}

// ------------------------------------------------------------------------------- several NPUs

static int communicator(void **handle) { return *handle = new_handle(), 0; }
int HcclCommInitClusterInfo(const char *, uint32_t, void **handle) { return communicator(handle); }
int HcclCommInitClusterInfoConfig(const char *, uint32_t, void *, void **handle) {
  return communicator(handle);
}
int HcclCommInitRootInfo(uint32_t, const void *, uint32_t, void **handle) {
  return communicator(handle);
}
int HcclCommInitRootInfoConfig(uint32_t, const void *, uint32_t, void *, void **handle) {
  return communicator(handle);
}
int HcclGetCommName(void *, char *name) { return std::strcpy(name, "stand-in"), 0; }
int HcclAllReduce(void *, void *, uint64_t, int type) {  // HcclDataType
  static const char *names[] = {"int8", "int16", "int32", "float16", "float32"};
  const bool is_known = type >= 0 && type < 5;
  write_line(std::string("HcclAllReduce ") + (is_known ? names[type] : "untyped") + ":1");
  return 0;
}

// A line of the test's own: what was launched before it, and what after.
void cann_mark(const char *text) { write_line(std::string("# ") + text); }

void *cann_handle() { return new_handle(); }
}

// ------------------------------------------------------------------------------- GraphEngine

namespace ge {
class StatusFactory {
 public:
  static StatusFactory *Instance();
  std::map<unsigned int, std::string> errors;
};
StatusFactory *StatusFactory::Instance() {
  static StatusFactory only;
  return &only;
}
}  // namespace ge

#include "generated.inc"
