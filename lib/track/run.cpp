// What a program says during a run, as lines of the log.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/track/manifest.hpp"
#include "lib/track/places.hpp"
#include "lib/track/png.hpp"
#include "lib/track/run_file.hpp"
#include "lib/track/run_impl.hpp"
#include "lib/track/slug.hpp"
#include "lib/track/text.hpp"
#include "tenon/error.hpp"
#include "tenon/log.hpp"

namespace tenon::track {
namespace {

std::int64_t after(std::int64_t step, std::int64_t steps = 1) {  // unsigned: a caller's step may be the largest one
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(step) + static_cast<std::uint64_t>(steps));
}

/// What is logged beside the log itself (an image, a copied file) obeys the same rule: no failure ends the program.
template <class F>
void attempt(bool strict, F&& write) {
  try {
    write();
  } catch (const IoError& error) {
    if (strict) throw;
    tenon::detail::log(LogLevel::warning, error.what());
  }
}

}  // namespace

void Run::Impl::check_open() const {
  if (!open) throw UsageError(fmt::format("[track] expected a run that is open, run {} has ended", id));
}

Run::Impl::Progress& Run::Impl::progress(std::string_view name) {
  const auto found = metrics.find(name);
  if (found != metrics.end()) return found->second;
  check_name("a metric", name);
  Progress fresh;
  fresh.text = ",\"name\":";
  add_string(fresh.text, name);
  fresh.text += ",\"step\":";
  return metrics.emplace(std::string(name), std::move(fresh)).first->second;
}

void Run::Impl::begin() {
  line.clear();
  block.take(line);
  line += "{\"t\":";
  add_number(line, now_ms());
}

void Run::Impl::end() {
  line += "}\n";
  journal.write(line);
  if (line.capacity() > Journal::most_pending) line = {};
}

void Run::Impl::close(Status status, std::string_view reason) {
  if (!open) return;
  open = false;
  begin();
  line += ",\"status\":";
  add_string(line, name_of(status));
  if (!reason.empty()) {
    line += ",\"reason\":";
    add_string(line, reason);
  }
  end();
  journal.sync();
  attempt(strict, [&] { write_manifest(folder); });
  lock.reset();
}

Run::Run(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Run::Run(Run&&) noexcept = default;

namespace {
void leave(Run& run) {
  try {
    run.fail("the program left the run without complete() or fail()");
  } catch (const std::exception& error) {
    tenon::detail::log(LogLevel::warning, error.what());
  }
}
}  // namespace

Run& Run::operator=(Run&& other) noexcept {
  if (this != &other) {
    if (impl_) leave(*this);
    impl_ = std::move(other.impl_);
  }
  return *this;
}
Run::~Run() {
  if (impl_) leave(*this);
}

const std::string& Run::id() const noexcept { return impl_->id; }
const std::string& Run::folder() const noexcept { return impl_->folder; }
std::string Run::outputs() const { return impl_->folder + "/outputs"; }

void Run::log(std::string_view name, double value, std::optional<std::int64_t> step) {
  Impl& r = *impl_;
  const std::lock_guard guard(r.mutex);
  r.check_open();
  Impl::Progress& progress = r.progress(name);
  const std::int64_t at = step.value_or(progress.values);
  r.begin();
  r.line += progress.text;
  add_number(r.line, at);
  r.line += ",\"value\":";
  add_number(r.line, value);
  ++progress.values;
  progress.next = after(at);
  r.end();
}

void Run::log(std::string_view name, std::span<const double> values) {
  constexpr std::size_t most = 65536;  // in one line, which a reader holds as a whole
  Impl& r = *impl_;
  const std::lock_guard guard(r.mutex);
  r.check_open();
  Impl::Progress& progress = r.progress(name);
  while (!values.empty()) {
    const std::span<const double> some = values.first(std::min(values.size(), most));
    r.begin();
    r.line += progress.text;
    add_number(r.line, progress.next);
    r.line += ",\"values\":[";
    for (const double& value : some) {
      if (&value != some.data()) r.line += ',';
      add_number(r.line, value);
    }
    r.line += ']';
    const auto count = static_cast<std::int64_t>(some.size());
    progress.values += count;
    progress.next = after(progress.next, count);
    r.end();
    values = values.subspan(some.size());
  }
}

void Run::log_steps(std::int64_t step, std::span<const Value> values) {
  Impl& r = *impl_;
  const std::lock_guard guard(r.mutex);
  r.check_open();
  for (const Value& v : values) {
    Impl::Progress& progress = r.progress(v.name);
    ++progress.values;
    progress.next = after(step);
  }
  const auto write_block = [&] {
    r.line.clear();
    r.block.take(r.line);
    if (!r.line.empty()) r.journal.write(r.line);
  };
  if (r.block.fits(step, values)) {
    r.block.add(step, values);
  } else {
    for (const Value& v : values) {  // one by one, for a name may be there twice
      if (!r.block.fits(step, {&v, 1})) write_block();
      r.block.add(step, {&v, 1});
    }
  }
  if (r.block.full()) write_block();
}

void Run::flush() {
  Impl& r = *impl_;
  const std::lock_guard guard(r.mutex);
  r.line.clear();
  r.block.take(r.line);
  if (!r.line.empty()) r.journal.write(r.line);
}

void Run::log_params(const Pairs& params) {
  Impl& r = *impl_;
  const std::lock_guard guard(r.mutex);
  r.check_open();
  r.begin();
  r.line += ",\"params\":";
  add_object(r.line, params);
  r.end();
}

void Run::tag(std::string_view name, std::string_view value) {
  Impl& r = *impl_;
  const std::lock_guard guard(r.mutex);
  r.check_open();
  r.begin();
  r.line += ",\"tags\":";
  add_object(r.line, {{std::string(name), std::string(value)}});
  r.end();
}

void Run::log_image(std::string_view name, std::span<const std::uint8_t> pixels, int height, int width, int channels,
                    std::int64_t step, std::string_view caption) {
  constexpr int largest = 16384;
  check_name("an image", name);
  const bool sizes = height > 0 && width > 0 && height <= largest && width <= largest;
  if (!sizes || (channels != 1 && channels != 3))
    throw UsageError(fmt::format("[track] an image has 1 to {} rows and columns and 1 or 3 channels, found {}x{}x{}",
                                 largest, height, width, channels));
  const std::size_t expected =
      static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * static_cast<std::size_t>(channels);
  if (pixels.size() != expected)
    throw UsageError(fmt::format("[track] an image of {}x{}x{} has {} bytes, found {}", height, width, channels,
                                 expected, pixels.size()));
  Impl& r = *impl_;
  const std::string png = png_of(pixels, height, width, channels);
  const std::lock_guard guard(r.mutex);
  r.check_open();
  const std::string file = fmt::format("images/{}-{}.png", slug_of(name), step);
  attempt(r.strict, [&] {
    put_file(r.folder + "/" + file, png);
    r.begin();
    r.line += ",\"image\":{\"name\":";
    add_string(r.line, name);
    r.line += ",\"file\":";
    add_string(r.line, file);
    r.line += ",\"step\":";
    add_number(r.line, step);
    r.line += ",\"caption\":";
    add_string(r.line, caption);
    r.line += '}';
    r.end();
  });
}

void Run::log_confusion(std::string_view name, std::span<const std::string> labels,
                        std::span<const std::int64_t> counts) {
  check_name("a confusion matrix", name);
  if (labels.empty() || counts.size() != labels.size() * labels.size())
    throw UsageError(fmt::format("[track] {} labels make {} counts, found {}", labels.size(),
                                 labels.size() * labels.size(), counts.size()));
  Impl& r = *impl_;
  const std::lock_guard guard(r.mutex);
  r.check_open();
  r.begin();
  r.line += ",\"confusion\":{\"name\":";
  add_string(r.line, name);
  r.line += ",\"labels\":[";
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (i > 0) r.line += ',';
    add_string(r.line, labels[i]);
  }
  r.line += "],\"counts\":[";
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (i > 0) r.line += ',';
    add_number(r.line, counts[i]);
  }
  r.line += "]}";
  r.end();
}

void Run::add_file(const std::string& path) {
  Impl& r = *impl_;
  const std::lock_guard guard(r.mutex);
  r.check_open();
  if (base_of(path).empty()) throw UsageError(fmt::format("[track] expected the path of a file: '{}'", shown(path)));
  attempt(r.strict, [&] { copy_file(path, outputs() + "/" + file_slug_of(base_of(path))); });
}

void Run::complete() {
  const std::lock_guard guard(impl_->mutex);
  impl_->close(Status::completed, {});
}
void Run::fail(std::string_view reason) {
  const std::lock_guard guard(impl_->mutex);
  impl_->close(Status::failed, reason);
}

std::vector<Metric> Run::get_metrics() const {
  const_cast<Run*>(this)->flush();  // the block is memory, the folder is what is asked for
  return RunView::open(folder()).metrics;
}
std::vector<std::string> Run::get_file_names() const { return names_of_files(folder()); }

ModelVersion Run::register_model(std::string_view name, const std::string& path) {
  flush();
  const RunView view = RunView::open(folder());
  ModelVersion model =
      Registry(root_of_models(impl_->root)).register_model(name, folder() + "/" + file_of_run(view, path), &view);
  Impl& r = *impl_;
  const std::lock_guard guard(r.mutex);
  if (!r.open) return model;  // a run that has ended may register, but its log is closed
  r.begin();
  r.line += ",\"model\":{\"name\":";
  add_string(r.line, name);
  r.line += ",\"version\":";
  add_number(r.line, model.version);
  r.line += '}';
  r.end();
  return model;
}

}  // namespace tenon::track
