// pool2d: the window's first largest element (NaN wins), or the mean of the taps inside. Its gradient walks the windows
// in memory order and adds gy to the winner, or gy / taps to every tap. Threads own samples. Saved: offset of the
// winner in its window.
#include <algorithm>

#include "kernels/common/geometry_of.hpp"
#include "kernels/reference/epilogue.hpp"
#include "kernels/reference/support.hpp"

namespace tenon::reference {
namespace {

/// One window: where it begins in the image, and the taps inside.
struct Window {
  std::int32_t iy, ix;
  TapRange rows, columns;

  Window(const PoolGeometry& g, std::int32_t oy, std::int32_t ox)
      : iy(oy * g.stride_h - g.pad_top),
        ix(ox * g.stride_w - g.pad_left),
        rows(taps_inside(iy, g.window_h, 1, g.h)),
        columns(taps_inside(ix, g.window_w, 1, g.w)) {}

  [[nodiscard]] int taps() const { return (rows.last - rows.first) * (columns.last - columns.first); }

  /// Calls tap(offset in the window, offset in the image), row-major.
  template <class Tap>
  void for_each(const PoolGeometry& g, Tap&& tap) const {
    for (std::int32_t ky = rows.first; ky < rows.last; ++ky)
      for (std::int32_t kx = columns.first; kx < columns.last; ++kx)
        tap(ky * g.window_w + kx, (std::int64_t{iy + ky} * g.w + ix + kx) * g.c);
  }
};

/// Calls window(sample offset in x, offset in y, Window) for every window of sample n.
template <class Body>
void for_each_window(const PoolGeometry& g, std::int64_t n, Body&& body) {
  for (std::int32_t oy = 0; oy < g.oh; ++oy)
    for (std::int32_t ox = 0; ox < g.ow; ++ox)
      body(n * g.h * g.w * g.c, ((n * g.oh + oy) * g.ow + ox) * g.c, Window(g, oy, ox));
}

template <class T>
void max_pool2d(const Call& call) {
  const auto& g = state_of<PoolGeometry>(call);
  const T* x = in<T>(call, 0);
  T* y = out<T>(call, 0);
  auto* winner = out<std::int32_t>(call, 1);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t n = 0; n < g.n; ++n)
    for_each_window(g, n, [&](std::int64_t image, std::int64_t o, const Window& window) {
      std::fill(winner + o, winner + o + g.c, -1);
      window.for_each(g, [&](std::int32_t tap, std::int64_t i) {
        for (std::int32_t c = 0; c < g.c; ++c) {
          const T v = x[image + i + c];
          if (winner[o + c] >= 0 && !wins(v, y[o + c])) continue;
          y[o + c] = v;
          winner[o + c] = tap;
        }
      });
    });
}

template <class T>
void max_pool2d_grad(const Call& call) {
  const auto& g = state_of<PoolGeometry>(call);
  const T* gy = in<T>(call, 0);
  const auto* winner = in<std::int32_t>(call, 1);
  T* gx = out<T>(call, 0);
  std::fill(gx, gx + g.n * g.h * g.w * g.c, T{0});
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t n = 0; n < g.n; ++n)
    for_each_window(g, n, [&](std::int64_t image, std::int64_t o, const Window& window) {
      window.for_each(g, [&](std::int32_t tap, std::int64_t i) {
        for (std::int32_t c = 0; c < g.c; ++c)
          if (winner[o + c] == tap) gx[image + i + c] += gy[o + c];
      });
    });
}

template <class T>
void avg_pool2d(const Call& call) {
  const auto& g = state_of<PoolGeometry>(call);
  const T* x = in<T>(call, 0);
  T* y = out<T>(call, 0);
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t n = 0; n < g.n; ++n)
    for_each_window(g, n, [&](std::int64_t image, std::int64_t o, const Window& window) {
      std::fill(y + o, y + o + g.c, T{0});
      window.for_each(g, [&](std::int32_t, std::int64_t i) {
        for (std::int32_t c = 0; c < g.c; ++c) y[o + c] += x[image + i + c];
      });
      for (std::int32_t c = 0; c < g.c; ++c) y[o + c] /= static_cast<T>(window.taps());
    });
}

template <class T>
void avg_pool2d_grad(const Call& call) {
  const auto& g = state_of<PoolGeometry>(call);
  const T* gy = in<T>(call, 0);
  T* gx = out<T>(call, 0);
  std::fill(gx, gx + g.n * g.h * g.w * g.c, T{0});
#pragma omp parallel for num_threads(call.threads) schedule(static)
  for (std::int64_t n = 0; n < g.n; ++n)
    for_each_window(g, n, [&](std::int64_t image, std::int64_t o, const Window& window) {
      window.for_each(g, [&](std::int32_t, std::int64_t i) {
        for (std::int32_t c = 0; c < g.c; ++c) gx[image + i + c] += gy[o + c] / static_cast<T>(window.taps());
      });
    });
}

Bound bind_pool2d(const Problem& p, const Kernel&) {
  const bool max = p.as<op::Pool2d>().fn == op::PoolFn::max;
  const Binder binder(p, "f", max ? "fi" : "f");
  if (binder.refused()) return binder.refusal();
  return max ? binder.step(max_pool2d<float>, max_pool2d<double>, pool_geometry(p))
             : binder.step(avg_pool2d<float>, avg_pool2d<double>, pool_geometry(p));
}

Bound bind_pool2d_grad(const Problem& p, const Kernel&) {
  const bool max = p.as<op::Pool2dGrad>().forward.fn == op::PoolFn::max;
  const Binder binder(p, max ? "fi" : "f", "f");
  if (binder.refused()) return binder.refusal();
  return max ? binder.step(max_pool2d_grad<float>, max_pool2d_grad<double>, pool_geometry(p))
             : binder.step(avg_pool2d_grad<float>, avg_pool2d_grad<double>, pool_geometry(p));
}

}  // namespace

void append_pool2d_rows(KernelTable& table) {
  table.push_back(row<op::Pool2d>(bind_pool2d));
  table.push_back(row<op::Pool2dGrad>(bind_pool2d_grad));
}

}  // namespace tenon::reference
