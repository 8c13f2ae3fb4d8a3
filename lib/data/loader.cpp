// Minibatches by gathering rows. Two slots: the caller reads one while the background thread, where there is one, fills the
// other; each slot keeps arrays for a full minibatch and for a short last one, so nothing is allocated after construction.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <limits>
#include <mutex>
#include <thread>

#include "kernels/common/permutation.hpp"
#include "tenon/data.hpp"
#include "tenon/error.hpp"

namespace tenon {
namespace {

Batch allocate(const Dataset& data, std::int64_t rows) {
  Batch b;
  b.size = rows;
  for (const auto& [name, column] : data.inputs()) b.inputs.emplace_back(column.batch_spec(rows));
  for (const auto& [name, column] : data.targets()) b.targets.emplace_back(column.batch_spec(rows));
  return b;
}

/// Asks for the memory of a row that comes next: rows are taken in no order, which no hardware guesses. It does guess how
/// a long row goes on.
template <class T>
void prefetch(const T* row, std::int64_t width) {
  constexpr std::int64_t line = 64 / sizeof(T), most = 2048 / sizeof(T);
  for (std::int64_t i = 0; i < std::min(width, most); i += line) __builtin_prefetch(row + i);
}

/// body(row in the data, row in the minibatch) for all rows, by so many threads.
template <class From, class To, class Body>
void for_each_row(const Column& column, Array& out, std::span<const std::int64_t> rows, int threads, const Body& body) {
  const From* source = column.data.values<From>().data();
  To* to = out.values<To>().data();
  const std::int64_t width = column.data.shape().product(1, column.data.shape().rank()),
                     count = static_cast<std::int64_t>(rows.size());
  // Fewer elements are gathered sooner than a second thread is there.
  const int team = count * width < 16384 ? 1 : threads;
#pragma omp parallel for schedule(static) num_threads(team) if (team > 1)
  for (std::int64_t r = 0; r < count; ++r) {
    const auto row = [&](std::int64_t i) { return source + rows[static_cast<std::size_t>(i)] * width; };
    if (r + 1 < count) prefetch(row(r + 1), width);
    body(row(r), to + r * width, width);
  }
}

template <class From, class To>
void gather(const Column& column, Array& out, std::span<const std::int64_t> rows, int threads) {
  const float divisor = column.divisor;
  for_each_row<From, To>(column, out, rows, threads, [&](const From* from, To* to, std::int64_t width) {
    if constexpr (std::is_same_v<From, To>)
      if (divisor == 1.f) {
        std::memcpy(to, from, static_cast<std::size_t>(width) * sizeof(To));
        return;
      }
    if constexpr (std::is_same_v<To, float>)
      for (std::int64_t i = 0; i < width; ++i) to[i] = static_cast<float>(from[i]) / divisor;
    else
      for (std::int64_t i = 0; i < width; ++i) to[i] = static_cast<To>(from[i]);
  });
}

// A byte has 256 quotients: looked up, they are the bits of the division at a fraction of its cost.
using Quotients = std::array<float, 256>;

Quotients quotients_of(const Column& column) {
  Quotients q;
  for (std::size_t v = 0; v < q.size(); ++v) q[v] = static_cast<float>(v) / column.divisor;
  return q;
}

void gather_scaled_bytes(const Column& column, const Quotients& q, Array& out, std::span<const std::int64_t> rows,
                         int threads) {
  for_each_row<std::uint8_t, float>(column, out, rows, threads,
                                    [&](const std::uint8_t* from, float* to, std::int64_t width) {
                                      for (std::int64_t i = 0; i < width; ++i) to[i] = q[from[i]];
                                    });
}

void gather_column(const Column& column, const Quotients& q, Array& out, std::span<const std::int64_t> rows,
                   int threads) {
  const bool integer = out.dtype() == DType::i32;
  switch (column.data.dtype()) {
    case DType::u8:
      return integer ? gather<std::uint8_t, std::int32_t>(column, out, rows, threads)
                     : gather_scaled_bytes(column, q, out, rows, threads);
    case DType::i32:
      return integer ? gather<std::int32_t, std::int32_t>(column, out, rows, threads)
                     : gather<std::int32_t, float>(column, out, rows, threads);
    case DType::f32:
      return gather<float, float>(column, out, rows, threads);
    case DType::f64:
      return gather<double, float>(column, out, rows, threads);
  }
}

struct Slot {
  Batch full, tail;
  std::vector<std::int64_t> rows;
  Batch* filled = nullptr;
};

}  // namespace

struct Loader::State {
  enum class Work { none, wanted, done };

  State(const Dataset& d, const LoaderOptions& o);
  ~State();

  [[nodiscard]] std::int64_t batches() const {
    return options.continuous ? std::numeric_limits<std::int64_t>::max() : per_epoch;
  }
  void start(std::uint32_t new_epoch, std::int64_t first_batch);
  const Batch* next();
  void fill(Slot& slot, std::int64_t batch);
  void request(std::int64_t batch);
  void work();

  const Dataset data;
  const LoaderOptions options;
  std::int64_t per_epoch = 0;
  std::vector<Quotients> quotients;  // of the inputs, then of the targets
  int team = 1;                      // threads that fill a slot
  Slot slots[2];
  bool started = false;
  std::uint32_t epoch = 0;
  std::int64_t position = 0;  // the minibatch that the following next() hands out
  std::exception_ptr error;

  std::mutex mutex;  // guards what follows, and hands slots and error over
  std::condition_variable changed;
  Work work_state = Work::none;
  std::int64_t work_batch = 0;
  bool stop = false;
  std::thread thread;
};

Loader::State::State(const Dataset& d, const LoaderOptions& o) : data(d), options(o) {
  const std::int64_t n = data.size(), b = options.batch_size;
  if (n < 1) throw DataError("[loader] expected at least one sample, found an empty data set");
  if (b < 1) throw UsageError(fmt::format("[loader] expected a batch size of at least 1, found {}", b));
  if (b > std::numeric_limits<std::int32_t>::max())
    throw UsageError(fmt::format("[loader] expected a batch size below 2^31, found {}", b));
  const std::int64_t rest = options.continuous ? 0 : n % b;
  per_epoch = options.drop_last && !options.continuous ? n / b : (n - 1) / b + 1;
  if (per_epoch == 0)
    throw UsageError(fmt::format("[loader] drop_last leaves no minibatch: {} samples, batch size {}", n, b));
  for (const auto& [name, column] : data.inputs()) quotients.push_back(quotients_of(column));
  for (const auto& [name, column] : data.targets()) quotients.push_back(quotients_of(column));
  for (Slot& slot : slots) {
    if (options.continuous || n >= b) slot.full = allocate(data, b);
    if (rest != 0 && !options.drop_last) slot.tail = allocate(data, rest);
    slot.rows.resize(static_cast<std::size_t>(b));
  }
  const int processors = omp_get_num_procs();
  if (options.prefetch && (options.transform || options.busy_threads < processors))
    thread = std::thread([this] { work(); });
  else
    team = std::clamp(options.busy_threads, 1, processors);
}

Loader::State::~State() {
  if (!thread.joinable()) return;
  {
    const std::lock_guard lock(mutex);
    stop = true;
  }
  changed.notify_all();
  thread.join();
}

void Loader::State::fill(Slot& slot, std::int64_t batch) {
  const auto n = static_cast<std::uint64_t>(data.size());
  const auto b = static_cast<std::uint64_t>(options.batch_size);
  const std::uint64_t first = static_cast<std::uint64_t>(batch) * b;
  const bool is_tail = !options.continuous && first + b > n;
  Batch& out = is_tail ? slot.tail : slot.full;
  const std::span<std::int64_t> rows(slot.rows.data(), static_cast<std::size_t>(out.size));
  // Sample i of the stream belongs to sweep i / n; without `continuous` a minibatch stays inside its epoch.
  std::uint64_t sweep = epoch + first / n, inside = first % n;
  permutation::Key key = permutation::make(n, options.seed, static_cast<std::uint32_t>(sweep));
  for (std::int64_t& row : rows) {
    if (inside == n) inside = 0, key = permutation::make(n, options.seed, static_cast<std::uint32_t>(++sweep));
    row = static_cast<std::int64_t>(options.shuffle ? permutation::apply(key, inside) : inside);
    ++inside;
  }
  const Quotients* q = quotients.data();
  for (std::size_t c = 0; c < out.inputs.size(); ++c)
    gather_column(data.inputs()[c].second, *q++, out.inputs[c], rows, team);
  for (std::size_t c = 0; c < out.targets.size(); ++c)
    gather_column(data.targets()[c].second, *q++, out.targets[c], rows, team);
  if (options.transform) options.transform(out);
  slot.filled = &out;
}

// The background thread: one minibatch at a time, into the slot of the minibatch's parity.
void Loader::State::work() {
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait(lock, [this] { return stop || work_state == Work::wanted; });
    if (stop) return;
    const std::int64_t batch = work_batch;
    lock.unlock();
    std::exception_ptr failed;
    try {
      fill(slots[batch % 2], batch);
    } catch (...) {
      failed = std::current_exception();
    }
    lock.lock();
    error = failed;
    work_state = Work::done;
    changed.notify_all();
  }
}

void Loader::State::request(std::int64_t batch) {
  if (!thread.joinable() || batch >= batches()) return;
  {
    const std::lock_guard lock(mutex);
    work_batch = batch;
    work_state = Work::wanted;
  }
  changed.notify_all();
}

void Loader::State::start(std::uint32_t new_epoch, std::int64_t first_batch) {
  if (first_batch < 0 || first_batch > batches())
    throw UsageError(fmt::format("[loader] expected a first minibatch in 0..{}, found {}", batches(), first_batch));
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return work_state != Work::wanted; });
    work_state = Work::none;
    error = nullptr;
  }
  started = true;
  epoch = new_epoch;
  position = first_batch;
  request(position);
}

const Batch* Loader::State::next() {
  if (!started) start(0, 0);
  if (position >= batches()) return nullptr;
  Slot& slot = slots[position % 2];
  if (thread.joinable()) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return work_state == Work::done; });
    if (error)
      std::rethrow_exception(error);  // and again until the next start_epoch: a broken epoch must not look ended
  } else {
    fill(slot, position);
  }
  request(++position);
  return slot.filled;
}

Loader::Loader(const Dataset& data, const LoaderOptions& options) : state_(std::make_unique<State>(data, options)) {}
Loader::~Loader() = default;
Loader::Loader(Loader&&) noexcept = default;
Loader& Loader::operator=(Loader&&) noexcept = default;

void Loader::start_epoch(std::uint32_t epoch, std::int64_t first_batch) { state_->start(epoch, first_batch); }
const Batch* Loader::next() { return state_->next(); }
std::int64_t Loader::batches_per_epoch() const noexcept { return state_->per_epoch; }

}  // namespace tenon
