// A cuBLAS of plain loops: column-major, work on the handle's stream, a workspace that a stream takes away.
#include "tests/cuda_libraries/fake.hpp"

namespace tenon::cuda::cublas {
struct BlasHandleTag {
  Stream stream = nullptr;
  void* workspace = nullptr;
  std::size_t bytes = 0;
};
}  // namespace tenon::cuda::cublas

namespace {
using namespace tenon::cuda::cublas;
using tenon::fake::Fake;

constexpr Status failed{13}, invalid{7};
Fake& fake() {
  static Fake f;
  return f;
}
void check_handle(Handle h, bool works) {
  if (!fake().live.contains(h))
    fake().fault("cuBLAS: no such handle");
  else if (works && h->stream != fake().stream)
    fake().fault("cuBLAS: work on another stream");
}
}  // namespace

#pragma GCC visibility push(default)
extern "C" {

Fake* tenon_fake() { return &fake(); }

Status cublasGetProperty(Property, int* value) {
  if (fake().enter("cublasGetProperty")) return failed;
  *value = static_cast<int>(fake().version / 10000);
  return Status::success;
}
const char* cublasGetStatusString(Status s) { return s == failed ? "the launch failed" : "another error"; }
Status cublasCreate_v2(Handle* h) {
  if (fake().enter("cublasCreate")) return failed;
  *h = new BlasHandleTag;
  fake().live.insert(*h);
  return Status::success;
}
Status cublasDestroy_v2(Handle h) {
  if (fake().enter("cublasDestroy")) return failed;
  check_handle(h, false);
  if (fake().live.erase(h) != 0) delete h;
  return Status::success;
}
Status cublasSetStream_v2(Handle h, Stream s) {
  if (fake().enter("cublasSetStream")) return failed;
  check_handle(h, false);
  *h = {s, nullptr, 0};
  return Status::success;
}
Status cublasSetWorkspace_v2(Handle h, void* workspace, std::size_t bytes) {
  if (fake().enter("cublasSetWorkspace")) return failed;
  check_handle(h, true);
  if (!tenon::fake::aligned(workspace) || bytes == 0) return invalid;
  h->workspace = workspace;
  h->bytes = bytes;
  return Status::success;
}

Status cublasGemmEx(Handle h, Operation op_a, Operation op_b, int m, int n, int k, const void* alpha, const void* a,
                    DataType type_a, int lda, const void* b, DataType type_b, int ldb, const void* beta, void* c,
                    DataType type_c, int ldc, ComputeType compute, Algorithm) {
  if (fake().enter("cublasGemmEx")) return failed;
  check_handle(h, true);
  fake().calls.back() += compute == ComputeType::f32_pedantic    ? " pedantic"
                         : compute == ComputeType::f32_fast_tf32 ? " tf32"
                                                                 : "?";
  if (h->workspace == nullptr)
    fake().fault("cublasGemmEx: a product without the plan's workspace");
  else
    std::memset(h->workspace, 0xff, h->bytes);
  const bool ta = op_a == Operation::transpose, tb = op_b == Operation::transpose;
  if (m < 1 || n < 1 || k < 1 || lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m) return invalid;
  if (type_a != DataType::f32 || type_b != DataType::f32 || type_c != DataType::f32) return invalid;
  const bool tf32 = compute == ComputeType::f32_fast_tf32;
  const auto at = [tf32](const void* x, std::int64_t i) {
    const float v = static_cast<const float*>(x)[i];
    return static_cast<double>(tf32 ? tenon::fake::to_tf32(v) : v);
  };
  auto* to = static_cast<float*>(c);
  const double factor = static_cast<double>(*static_cast<const float*>(alpha)),
               rest = static_cast<double>(*static_cast<const float*>(beta));
  for (int j = 0; j < n; ++j)
    for (int i = 0; i < m; ++i) {
      double sum = 0;
      for (int l = 0; l < k; ++l)
        sum += at(a, ta ? l + std::int64_t{i} * lda : i + std::int64_t{l} * lda) *
               at(b, tb ? j + std::int64_t{l} * ldb : l + std::int64_t{j} * ldb);
      float& y = to[i + std::int64_t{j} * ldc];
      y = static_cast<float>(factor * sum + (rest == 0 ? 0. : rest * static_cast<double>(y)));
    }
  return Status::success;
}

Status cublasSgeam(Handle h, Operation op_a, Operation op_b, int m, int n, const float* alpha, const float* a, int lda,
                   const float* beta, const float* b, int ldb, float* c, int ldc) {
  if (fake().enter("cublasSgeam")) return failed;
  check_handle(h, true);
  const bool ta = op_a == Operation::transpose, tb = op_b == Operation::transpose;
  if (m < 1 || n < 1 || lda < (ta ? n : m) || ldb < (tb ? n : m) || ldc < m) return invalid;
  if (c == a && (ta || lda != ldc)) fake().fault("cublasSgeam: a transpose onto itself");
  if (c == b && (tb || ldb != ldc)) fake().fault("cublasSgeam: a transpose onto itself");
  for (int j = 0; j < n; ++j)
    for (int i = 0; i < m; ++i) {
      float y = *alpha * a[ta ? j + std::int64_t{i} * lda : i + std::int64_t{j} * lda];
      if (*beta != 0.f) y += *beta * b[tb ? j + std::int64_t{i} * ldb : i + std::int64_t{j} * ldb];
      c[i + std::int64_t{j} * ldc] = y;
    }
  return Status::success;
}

}  // extern "C"
#pragma GCC visibility pop

#define TENON_SAME(name, result, arguments) \
  static_assert(std::is_same_v<decltype(&cublas##name), decltype(Functions{}.name)>);
TENON_CUBLAS_FUNCTIONS(TENON_SAME)
