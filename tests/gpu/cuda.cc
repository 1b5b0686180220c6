// A stand-in for CUDA: the libraries between MindSpore and a GPU, and MindSpore's own CUDA kernels.
// Nothing is computed: device memory is host memory, and each kernel that is asked for is written to
// the file $CUDA_RECORD, a line each. What else the plugin is linked against is in generated.inc,
// which build.py makes from its symbols.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace {

void *handle() { return std::calloc(1, 64); }

}  // namespace

extern "C" {

static int cuda_note(const char *name) {
  static std::mutex lock;
  static const char *path = std::getenv("CUDA_RECORD");
  static FILE *file = path ? std::fopen(path, "a") : nullptr;
  std::lock_guard<std::mutex> guard(lock);
  if (file) {
    std::fprintf(file, "%s\n", name);
    std::fflush(file);
  }
  return 0;
}

// A kernel of MindSpore, by its mangled name, which tells its types.
#define KERNEL(number, name)                  \
  int kernel_##number() __asm__(name);        \
  int kernel_##number() { return cuda_note(name); }
// A function of NVIDIA's libraries that computes; one that makes a handle; any other.
#define COMPUTES(name) \
  int name() { return cuda_note(#name); }
#define MAKES(name) \
  int name(void **made) { return *made = handle(), 0; }
#define AGREES(name) \
  int name() { return 0; }

// ------------------------------------------------------------------------------- the device

int cudaGetDeviceCount(int *count) { return *count = 1, 0; }
int cudaGetDeviceProperties(void *properties, int) {  // of CUDA 11, by the places of its fields
  char *start = static_cast<char *>(properties);
  auto number = [start](int place, int value) { std::memcpy(start + place, &value, sizeof value); };
  auto size = [start](int place, size_t value) { std::memcpy(start + place, &value, sizeof value); };
  std::memset(start, 0, 640);
  std::strcpy(start, "stand-in");
  size(288, size_t{64} << 30);  // totalGlobalMem
  size(296, 49152);             // sharedMemPerBlock
  number(304, 65536);           // regsPerBlock
  number(308, 32);              // warpSize
  number(320, 1024);            // maxThreadsPerBlock
  for (int axis = 0; axis < 3; axis++) {
    number(324 + 4 * axis, 1024);   // maxThreadsDim
    number(336 + 4 * axis, 65535);  // maxGridSize
  }
  number(360, 8);    // major
  number(388, 108);  // multiProcessorCount
  return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int) {
  return *value = attribute == 75 ? 8 : attribute == 76 ? 0 : 1024, 0;  // of them the capability
}
int nvrtcVersion(int *major, int *minor) { return *major = 11, *minor = 6, 0; }
const char *cudaGetErrorString(int) { return "no error"; }
const char *cudaGetErrorName(int) { return "no error"; }
const char *cudnnGetErrorString(int) { return "no error"; }
int cuGetErrorName(int, const char **name) { return *name = "no error", 0; }
int cudaEventElapsedTime(float *milliseconds) { return *milliseconds = 0, 0; }
int cublasGetMathMode(void *, int *mode) { return *mode = 0, 0; }

// ------------------------------------------------------------------------------- sizes

int cudnnGetReductionWorkspaceSize(void *, void *, void *, void *, size_t *size) {
  return *size = 0, 0;
}
int cudnnGetReductionIndicesSize(void *, void *, void *, void *, size_t *size) {
  return *size = 0, 0;
}
int cudnnGetRNNWorkspaceSize(void *, void *, int, void *, size_t *size) { return *size = 64, 0; }
int cudnnGetRNNTrainingReserveSize(void *, void *, int, void *, size_t *size) {
  return *size = 64, 0;
}
int cudnnGetRNNParamsSize(void *, void *, void *, size_t *size) { return *size = 64, 0; }
int cudnnDropoutGetStatesSize(void *, size_t *size) { return *size = 64, 0; }
int cudnnGetTensorSizeInBytes(void *, size_t *size) { return *size = 64, 0; }

// ------------------------------------------------------------------------------- products

static int product(const char *name, int type) {  // cudaDataType of the first matrix
  const char *types[] = {"float", "double", "half"};
  const char *told = type == 14 ? "bfloat16" : type >= 0 && type < 3 ? types[type] : "other";
  char line[80];
  std::snprintf(line, sizeof line, "%s<%s>", name, told);
  return cuda_note(line);
}
int cublasGemmEx(void *, int, int, int, int, int, const void *, const void *, int type) {
  return product("cublasGemmEx", type);
}
int cublasGemmStridedBatchedEx(void *, int, int, int, int, int, const void *, const void *,
                               int type) {
  return product("cublasGemmStridedBatchedEx", type);
}

// ------------------------------------------------------------------------------- memory

int cudaMalloc(void **memory, size_t size) { return (*memory = std::calloc(1, size)) == nullptr; }
int cudaFree(void *memory) { return std::free(memory), 0; }
int cudaHostAlloc(void **memory, size_t size) { return (*memory = std::calloc(1, size)) == nullptr; }
int cudaFreeHost(void *memory) { return std::free(memory), 0; }
int cudaMemGetInfo(size_t *free, size_t *total) {
  return *free = size_t{60} << 30, *total = size_t{64} << 30, 0;
}
int cudaMemcpy(void *to, const void *from, size_t size) { return std::memcpy(to, from, size), 0; }
int cudaMemcpyAsync(void *to, const void *from, size_t size) {
  return std::memcpy(to, from, size), 0;
}
int cudaMemset(void *memory, int value, size_t size) {
  return std::memset(memory, value, size), 0;
}
int cudaMemsetAsync(void *memory, int value, size_t size) {
  return std::memset(memory, value, size), 0;
}

#include "generated.inc"
}

// ------------------------------------------------------------------------------- a range

// The one kernel whose answer the host reads before it goes on: how long a range is.
enum cudaError { cudaSuccess };
enum class DynamicRangeErrorCode { kOk };
struct CUstream_st;

template <typename T>
cudaError CudaValidateInputAndInferShape(const T *start, const T *end, const T *step, long *length,
                                         DynamicRangeErrorCode *error, long, CUstream_st *) {
  cuda_note("CudaValidateInputAndInferShape");
  *error = DynamicRangeErrorCode::kOk;
  *length = *step == 0 ? 0 : static_cast<long>(std::ceil((double(*end) - *start) / *step));
  return cudaSuccess;
}

#define RANGE(T)                                                                       \
  template cudaError CudaValidateInputAndInferShape<T>(const T *, const T *, const T *, \
                                                       long *, DynamicRangeErrorCode *, \
                                                       long, CUstream_st *);
RANGE(int)
RANGE(long)
RANGE(float)
RANGE(double)
