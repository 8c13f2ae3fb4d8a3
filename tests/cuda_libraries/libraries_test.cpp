// The rows of cuDNN and cuBLAS, over fakes of both libraries that compute with plain loops and note every misuse: the same
// descriptors, pointers and layouts as on a GPU, without one.
#include <cuda_runtime.h>

#include <algorithm>

#include "lib/train/row_check.hpp"
#include "tests/cases.hpp"
#include "tests/cuda_libraries/library_device.hpp"
#include "tests/row_test.hpp"
#include "tests/support/catch.hpp"

/// The only call of the runtime that the rows make.
static int selected_device = -1;
cudaError_t cudaSetDevice(int ordinal) {
  selected_device = ordinal;
  return ordinal == tenon::tests::LibraryDevice::ordinal ? cudaSuccess : cudaErrorInvalidDevice;
}

namespace tenon::tests {
namespace {

const std::string cudnn_rows = "cuda.cudnn", cublas_rows = "cuda.cublas";

/// Both fakes as new, before a test and after it; whatever they found fault with fails the test.
struct Fresh {
  Fresh() { reset(); }
  ~Fresh() {
    for (fake::Fake* f : {&dnn(), &blas()}) {
      for (const std::string& fault : f->faults) UNSCOPED_INFO(fault);
      CHECK(f->faults.empty());
      CHECK(f->live.empty());  // every handle and descriptor went once
    }
    reset();
  }
  static void reset() {
    for (fake::Fake* f : {&dnn(), &blas()}) *f = {};
    unsetenv("TENON_CUDNN_NONDETERMINISTIC");
  }
};

bool called(const fake::Fake& f, const std::string& call) {
  return std::find(f.calls.begin(), f.calls.end(), call) != f.calls.end();
}
std::string refusal(const Bound& b) {
  const auto* r = std::get_if<Refusal>(&b);
  return r == nullptr ? "" : r->why;
}
TensorSpec f32(std::initializer_list<std::int64_t> extents) { return {DType::f32, Shape(extents)}; }

op::Conv2d conv(Hw stride = {1, 1}, op::Pad pad = {}, Hw dilation = {1, 1}, std::int32_t groups = 1) {
  return {.stride = stride, .dilation = dilation, .pad = pad, .groups = groups};
}
/// x, filter and y of a convolution.
struct Shapes {
  op::Conv2d o;
  TensorSpec x, filter, y;
};
Shapes shapes(const op::Conv2d& o, const TensorSpec& x, const TensorSpec& filter) {
  const TensorSpec in[] = {x, filter};
  return {o, x, filter, make_problem(o, in).out[0]};
}
/// The convolution and its gradients.
std::vector<Case> three(const Shapes& s) {
  const auto extent = [&](int axis) { return static_cast<std::int32_t>(s.x.shape[axis]); };
  const Hw kernel{static_cast<std::int32_t>(s.filter.shape[0]), static_cast<std::int32_t>(s.filter.shape[1])};
  return {{"forward", s.o, {s.x, s.filter}, {{}, {}}},
          {"input", op::Conv2dGradInput{s.o, extent(1), extent(2)}, {s.y, s.filter}, {{}, {}}},
          {"filter", op::Conv2dGradFilter{s.o, kernel}, {s.y, s.x}, {{}, {}}}};
}

Bound bind_case(const LibraryDevice& d, const Case& c, const std::string& provider,
                Precision precision = Precision::fp32) {
  return d.bind_row(make_problem(c.op, c.in), provider, precision);
}
/// Runs a case and compares it with the reference in double.
void check(LibraryDevice& d, const Case& c, const std::string& provider, Precision precision) {
  INFO(c.name << " " << make_problem(c.op, c.in).str() << " " << provider << " " << name_of(precision));
  const Bound bound = bind_case(d, c, provider, precision);
  REQUIRE(refusal(bound).empty());
  const std::vector<Array> in = make_inputs(c, 7);
  const Control control = make_control(7);
  const RowRun run = run_row(make_problem(c.op, c.in), std::get<Step>(bound), in, control, 1, d);
  CHECK(run.fault.empty());
  CHECK(d.failure().empty());
  const std::vector<Array> wide = widened(in);
  const Arithmetic arithmetic = precision == Precision::fp32 ? Arithmetic::fp32 : Arithmetic::tf32;
  const Comparison comparison =
      compare_bounded(c.op, wide, run.out, run_reference(c.op, wide, control).out, control, arithmetic);
  CHECK(comparison.fault.empty());
}

Case product(bool a, bool b, std::int64_t m = 5, std::int64_t n = 7, std::int64_t k = 3) {
  return {"matmul", op::MatMul{a, b}, {a ? f32({k, m}) : f32({m, k}), b ? f32({n, k}) : f32({k, n})}, {{}, {}}};
}

}  // namespace

TEST_CASE("every row of cuda.cudnn keeps the bounds", "[libraries][rows]") {
  const Fresh fresh;
  LibraryDevice device;
  CHECK(check_rows(cudnn_rows, device) == 20);
  CHECK(device.failure().empty());
}
TEST_CASE("every row of cuda.cublas keeps the bounds", "[libraries][rows]") {
  const Fresh fresh;
  LibraryDevice device;
  CHECK(check_rows(cublas_rows, device) == 6);
  CHECK(device.failure().empty());
}

TEST_CASE("tf32 rows stand before those of fp32", "[libraries]") {
  const Fresh fresh;
  const LibraryDevice device;
  CHECK(device.missing().empty());
  CHECK(device.kernels().size() == 26);
  for (const std::string& provider : {cudnn_rows, cublas_rows}) {
    bool exact = false;
    for (const Kernel& row : device.kernels()) {
      if (row.provider != provider) continue;
      exact = exact || row.precision == Precision::fp32;
      CHECK((row.precision == Precision::fp32) == exact);
    }
  }
}

TEST_CASE("convolutions of every form", "[libraries]") {
  const Fresh fresh;
  LibraryDevice device;
  const Shapes forms[] = {
      shapes(conv(), f32({2, 7, 9, 3}), f32({3, 3, 3, 5})),
      shapes(conv({2, 3}), f32({1, 11, 13, 2}), f32({3, 2, 2, 4})),
      shapes(conv({1, 1}, {1, 1, 2, 2}), f32({3, 5, 6, 4}), f32({3, 5, 4, 3})),
      shapes(conv({2, 2}, {1, 0, 1, 0}), f32({1, 6, 6, 2}), f32({3, 3, 2, 3})),  // what is behind is not reached
      shapes(conv({1, 2}, {2, 2, 0, 0}, {2, 3}), f32({2, 8, 12, 3}), f32({3, 2, 3, 2})),
      shapes(conv({1, 1}, {1, 1, 1, 1}, {1, 1}, 3), f32({2, 5, 5, 6}), f32({3, 3, 2, 9})),
      shapes(conv({1, 1}, {}, {1, 1}, 4), f32({1, 4, 4, 4}), f32({2, 2, 1, 4})),  // depthwise
      shapes(conv(), f32({2, 4, 3, 5}), f32({1, 1, 5, 7})),
      shapes(conv(), f32({2, 4, 3, 1}), f32({1, 1, 1, 7})),  // a filter of one row: it is its own transpose
      shapes(conv(), f32({2, 5, 5, 2}), f32({3, 3, 2, 1})),  // and of one column
      shapes(conv(), f32({128, 28, 28, 1}), f32({3, 3, 1, 8})),
  };
  for (const Shapes& s : forms)
    for (const Case& c : three(s))
      for (const Precision p : {Precision::tf32, Precision::fp32}) check(device, c, cudnn_rows, p);
  CHECK(selected_device == LibraryDevice::ordinal);
  // Of what the heuristics offer the first that is allowed: in tf32 the default, which multiplies in TF32.
  CHECK(called(dnn(), "cudnnConvolutionForward algorithm 1 math 3"));
  CHECK(called(dnn(), "cudnnConvolutionForward algorithm 1 math 0"));
  CHECK(called(dnn(), "cudnnConvolutionBackwardData algorithm 1 math 3"));
  CHECK(called(dnn(), "cudnnConvolutionBackwardFilter algorithm 1 math 3"));
}

TEST_CASE("a filter of one row or column is not turned", "[libraries]") {
  const Fresh fresh;
  LibraryDevice device;
  for (const Case& c : three(shapes(conv(), f32({2, 4, 3, 1}), f32({1, 1, 1, 7}))))
    check(device, c, cudnn_rows, Precision::fp32);
  CHECK_FALSE(called(blas(), "cublasSgeam"));
}

TEST_CASE("products of every form", "[libraries]") {
  const Fresh fresh;
  LibraryDevice device;
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const std::int64_t n : {1, 7, 65}) {
        const Case forward = product(ta, tb, 5, n, 33);
        const auto& m = std::get<op::MatMul>(forward.op);
        const TensorSpec y = f32({5, n});
        const Case cases[] = {forward,
                              {"a", op::MatMulGradA{m}, {y, forward.in[1]}, {{}, {}}},
                              {"b", op::MatMulGradB{m}, {y, forward.in[0]}, {{}, {}}}};
        for (const Case& c : cases)
          for (const std::string& provider : {cudnn_rows, cublas_rows})
            for (const Precision p : {Precision::tf32, Precision::fp32}) check(device, c, provider, p);
      }
  CHECK(called(blas(), "cublasGemmEx pedantic"));
  CHECK(called(blas(), "cublasGemmEx tf32"));
}

TEST_CASE("what the libraries do not compute is refused with the reason", "[libraries]") {
  const Fresh fresh;
  const LibraryDevice device;
  const auto why = [&](const op::AnyOp& o, const std::vector<TensorSpec>& in) {
    return refusal(device.bind_row(make_problem(o, in), cudnn_rows, Precision::fp32));
  };
  op::Conv2d fused = conv();
  fused.epilogue.activation = op::UnaryFn::relu;
  const TensorSpec x = f32({1, 6, 6, 2}), filter = f32({3, 3, 2, 4});
  CHECK(why(fused, {x, filter}) == "takes no epilogue, found one");
  CHECK(why(conv({1, 1}, {0, 1, 0, 1}), {x, filter}) == "pads both sides of an axis alike, found padding that differs");
  op::MatMul dense;
  dense.epilogue.bias = true;
  CHECK(why(dense, {f32({2, 3}), f32({3, 4}), f32({4})}) == "takes no epilogue, found one");
  CHECK(why(op::MatMulGradB{dense}, {f32({2, 4}), f32({2, 3})}) == "takes no epilogue, found one");
  CHECK(why(op::Pool2d{}, {x}) == "keeps no winners of a maximum, which the gradient is made from");
  CHECK(why(op::Pool2d{.fn = op::PoolFn::avg, .stride = {1, 1}, .pad = {0, 1, 0, 1}}, {x}) ==
        "pads both sides of an axis alike, found padding that differs");
  CHECK(why(op::Unary{op::UnaryFn::gelu}, {x}) == "takes relu, sigmoid, tanh and elu, found another function");
  CHECK(why(op::Unary{op::UnaryFn::elu, 0.f}, {x}) == "takes elu with a positive alpha, found 0");
  CHECK(why(op::Softmax{}, {TensorSpec{DType::f64, Shape{2, 3}}}) == "takes f32 only, found another type");
  CHECK(dnn().live.empty());  // none of it needed a handle
  CHECK(blas().live.empty());
}

TEST_CASE("an algorithm has to be deterministic, exact and small", "[libraries]") {
  const Fresh fresh;
  const LibraryDevice device;
  using cuda::cudnn::Determinism, cuda::cudnn::MathType, cuda::cudnn::Status;
  const std::vector<Case> all = three(shapes(conv(), f32({2, 7, 9, 3}), f32({3, 3, 3, 5})));
  const auto why = [&](Precision p) {
    std::string text = refusal(bind_case(device, all[0], cudnn_rows, p));
    CHECK(refusal(bind_case(device, all[1], cudnn_rows, p)) == text);
    CHECK(refusal(bind_case(device, all[2], cudnn_rows, p)) == text);
    return text;
  };
  const std::string none = "cuDNN offers no deterministic algorithm without FFT or Winograd in ";
  const auto offer = [](int algorithm, Determinism d, MathType m, Status s = Status::success) {
    dnn().offers = {{algorithm, s, 1, 9, d, m, {}}};
  };
  offer(1, Determinism::deterministic, MathType::default_math);
  CHECK(why(Precision::fp32) == none + "fp32 that needs at most 1 GiB");
  CHECK(why(Precision::tf32).empty());
  offer(1, Determinism::deterministic, MathType::tensor_op_allow_conversion);
  CHECK(why(Precision::tf32) == none + "tf32 that needs at most 1 GiB");
  offer(1, Determinism::deterministic, MathType::fma, Status{3000});
  CHECK(why(Precision::fp32) == none + "fp32 that needs at most 1 GiB");
  dnn().huge_algorithm = 1;
  offer(1, Determinism::deterministic, MathType::fma);
  CHECK(why(Precision::fp32) == none + "fp32 that needs at most 1 GiB");
  CHECK(why(Precision::tf32) == none + "tf32 that needs at most 1 GiB");
  dnn().huge_algorithm = -1;
  CHECK(why(Precision::fp32).empty());
  offer(0, Determinism::non_deterministic, MathType::fma);
  CHECK(why(Precision::fp32) == none + "fp32 that needs at most 1 GiB");
  setenv("TENON_CUDNN_NONDETERMINISTIC", "1", 1);
  CHECK(why(Precision::fp32).empty());
  offer(6, Determinism::deterministic, MathType::fma);
  CHECK(why(Precision::fp32) == "cuDNN offers no algorithm without FFT or Winograd in fp32 that needs at most 1 GiB");
}

TEST_CASE("a call that fails while a row is bound is its reason, and leaves nothing", "[libraries]") {
  const Fresh fresh;
  const std::vector<Case> all = {three(shapes(conv(), f32({2, 7, 9, 3}), f32({3, 3, 3, 5})))[0],
                                 {"pool", op::Pool2d{.fn = op::PoolFn::avg}, {f32({1, 6, 6, 2})}, {{}}},
                                 {"relu", op::Unary{op::UnaryFn::relu}, {f32({4, 5})}, {{}}},
                                 {"bias", op::BiasAdd{}, {f32({4, 5}), f32({5})}, {{}, {}}},
                                 {"softmax", op::Softmax{}, {f32({4, 5})}, {{}}},
                                 product(false, false)};
  std::size_t failed = 0;
  for (const Case& c : all) {
    dnn().calls.clear();
    blas().calls.clear();
    {
      const LibraryDevice device;
      CHECK(refusal(bind_case(device, c, cudnn_rows)).empty());
    }
    std::vector<std::string> calls = dnn().calls;
    calls.insert(calls.end(), blas().calls.begin(), blas().calls.end());
    for (const std::string& call : calls) {  // every call that binding makes fails once
      if (call.find("Destroy") != std::string::npos || call == "cublasGetProperty") continue;
      INFO(c.name << ": " << call);
      const LibraryDevice device;
      fake::Fake& library = call.starts_with("cudnn") ? dnn() : blas();
      library.failing = call;
      const std::string why = refusal(bind_case(device, c, cudnn_rows));
      library.failing = "";
      // An algorithm whose workspace cannot be asked for is passed over.
      CHECK(why.find(call.ends_with("WorkspaceSize") ? "offers no" : "the launch failed") != std::string::npos);
      CHECK(refusal(bind_case(device, c, cudnn_rows)).empty());
      ++failed;
    }
    CHECK(dnn().live.empty());
    CHECK(blas().live.empty());
  }
  CHECK(failed > 30);
}

TEST_CASE("a call that fails in a run is told at the next synchronisation", "[libraries]") {
  const Fresh fresh;
  LibraryDevice device;
  const auto run = [&](const Case& c) {
    const Bound bound = bind_case(device, c, cudnn_rows);
    REQUIRE(refusal(bound).empty());
    (void)run_row(make_problem(c.op, c.in), std::get<Step>(bound), make_inputs(c, 1), make_control(1), 1, device);
  };
  const std::vector<Case> convolutions = three(shapes(conv(), f32({2, 7, 9, 3}), f32({3, 3, 3, 5})));
  blas().failing = "cublasSgeam";
  run(convolutions[0]);
  CHECK_FALSE(called(dnn(), "cudnnConvolutionForward"));  // nothing goes on after it
  blas().failing = "cublasGemmEx";
  run(product(true, false));
  CHECK(device.failure() == "cublasSgeam: the launch failed");  // the first
  CHECK(device.failure().empty());
  run(product(true, false));
  CHECK(device.failure() == "cublasGemmEx: the launch failed");
  for (const char* call : {"cublasSetStream", "cublasSetWorkspace"}) {
    blas().failing = call;
    run(product(true, false));
    CHECK(device.failure() == std::string(call) + ": the launch failed");
  }
  blas().failing = "";
  const auto fails = [&](const Case& c, const std::string& call) {
    dnn().failing = call;
    run(c);
    CHECK(device.failure() == call + ": the launch failed");
    dnn().failing = "cudnnSetStream";
    run(c);
    CHECK(device.failure() == "cudnnSetStream: the launch failed");
    dnn().failing = "";
    run(c);
    CHECK(device.failure().empty());
  };
  fails(convolutions[0], "cudnnConvolutionForward");
  fails(convolutions[1], "cudnnConvolutionBackwardData");
  fails(convolutions[2], "cudnnConvolutionBackwardFilter");
  const op::Pool2d pool{.fn = op::PoolFn::avg};
  fails({"pool", pool, {f32({1, 6, 6, 2})}, {{}}}, "cudnnPoolingForward");
  fails({"pool", op::Pool2dGrad{pool, 6, 6}, {f32({1, 3, 3, 2})}, {{}}}, "cudnnPoolingBackward");
  fails({"softmax", op::Softmax{}, {f32({3, 4})}, {{}}}, "cudnnSoftmaxForward");
  fails({"relu", op::Unary{op::UnaryFn::relu}, {f32({3, 4})}, {{}}}, "cudnnActivationForward");
  fails({"bias", op::BiasAdd{}, {f32({3, 4}), f32({4})}, {{}, {}}}, "cudnnOpTensor");
  fails({"bias", op::BiasGrad{}, {f32({3, 4})}, {{}}}, "cudnnConvolutionBackwardBias");
}

TEST_CASE("a step may outlive its device", "[libraries]") {
  const Fresh fresh;
  Bound bound = Refusal{};
  {
    LibraryDevice device;
    bound = bind_case(device, three(shapes(conv(), f32({2, 7, 9, 3}), f32({3, 3, 3, 5})))[0], cudnn_rows);
    REQUIRE(refusal(bound).empty());
  }
  CHECK(dnn().live.size() == 4);  // its descriptors; the handle is gone
  bound = Refusal{};
}

TEST_CASE("a library that is missing or does not fit is named", "[libraries]") {
  const Fresh fresh;
  const std::string nowhere = "libtenon_no_such.so";
  {
    const LibraryDevice none(nowhere, nowhere);
    CHECK(none.kernels().empty());
    CHECK(none.missing().starts_with("cuDNN: " + nowhere + ": "));
    CHECK(none.missing().find("; cuBLAS: " + nowhere + ": ") != std::string::npos);
  }
  const auto kinds = [](const LibraryDevice& d) { return d.kernels().size(); };
  const LibraryDevice no_dnn(nowhere, fake_cublas_path);
  CHECK(kinds(no_dnn) == 6);
  CHECK(no_dnn.missing().starts_with("cuDNN: " + nowhere));
  CHECK(no_dnn.missing().find("cuBLAS") == std::string::npos);
  const LibraryDevice no_blas(fake_cudnn_path, nowhere);
  CHECK(kinds(no_blas) == 8);
  CHECK(no_blas.missing().starts_with("cuBLAS: " + nowhere));
  for (const Kernel& row : no_blas.kernels()) CHECK(row.op != op::kind_of<op::Conv2d>);  // they turn filters by cuBLAS

  const LibraryDevice other(fake_cublas_path, fake_cudnn_path);  // neither is what it is said to be
  CHECK(other.kernels().empty());
  CHECK(other.missing() == "cuDNN: the library has no cudnnGetVersion; cuBLAS: the library has no cublasGetProperty");
  dnn().version = 8907;
  blas().version = 110000;
  const LibraryDevice old;
  CHECK(old.kernels().empty());
  CHECK(old.missing() ==
        "cuDNN: expected version 90000 or newer, found 8907; cuBLAS: expected version 12 or newer, found 11");
}

TEST_CASE("the names that are looked for", "[libraries]") {
  const Fresh fresh;
  const LibraryDevice installed("", "");
  const bool dnn_there = installed.missing().find("cuDNN") == std::string::npos;
  const bool blas_there = installed.missing().find("cuBLAS") == std::string::npos;
  CHECK(installed.kernels().size() == (dnn_there && blas_there ? 26U : dnn_there ? 8U : blas_there ? 6U : 0U));
  if (!dnn_there && !blas_there)
    CHECK(installed.missing() == "cuDNN: libcudnn.so.9 is not installed; cuBLAS: libcublas.so.13 is not installed");
}

TEST_CASE("a device that cannot be selected is a reason", "[libraries]") {
  const Fresh fresh;
  cuda::Device wrong{0, nullptr, nullptr};
  const cuda::LibraryRow* rows = nullptr;
  cuda::Text text;
  setenv("TENON_CUDNN_LIBRARY", fake_cudnn_path.c_str(), 1);
  setenv("TENON_CUBLAS_LIBRARY", fake_cublas_path.c_str(), 1);
  REQUIRE(cuda::library_rows(&wrong, &rows, &text) == 26);
  const Case c = product(false, false);
  cuda::LibraryStep step;
  CHECK_FALSE(rows[3].bind(&wrong, make_problem(c.op, c.in), &step, &text));
  CHECK(std::string(text.text) == "device 0 cannot be selected");
  cuda::close_libraries(&wrong);
}

}  // namespace tenon::tests
