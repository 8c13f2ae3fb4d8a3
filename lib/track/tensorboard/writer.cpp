// Follows a run into an event file.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "lib/track/tensorboard/event.hpp"
#include "lib/track/tensorboard/markdown.hpp"
#include "lib/track/tensorboard/place.hpp"
#include "lib/track/tensorboard/record.hpp"
#include "tenon/error.hpp"
#include "tenon/track_tensorboard.hpp"

namespace tenon::track {
namespace {

using namespace tensorboard;

constexpr std::size_t most_gathered = 1 << 20;  // bytes

/// What of a run is in the file.
struct Progress {
  std::vector<std::size_t> points;  // by metric
  std::size_t images = 0;           // of the run's list
  std::size_t confusions = 0;       // likewise
  std::set<std::string> kinds;      // tags of which the file says that they are images or texts
  Pairs tags;                       // of the run, as they were last
  std::int64_t versions = 0;        // of those
  bool started = false;             // the earlier files are superseded
  bool params = false, end = false;
};

/// The PNG file, empty where it is none: only files that lie in the run's own folder of images are opened.
std::string read_image(const RunView& run, const std::string& file) {
  const std::string name = file.starts_with("images/") ? file.substr(7) : "";
  if (name.empty() || name[0] == '.' || name.find('/') != std::string::npos) return {};
  const std::string path = run.folder + "/images/" + name;
  struct stat about {};
  if (::lstat(path.c_str(), &about) != 0 || !S_ISREG(about.st_mode)) return {};
  try {
    std::string bytes = read_text(path);
    return is_png(bytes) ? bytes : std::string();
  } catch (const IoError&) {
    return {};
  }
}

/// A tag is of one kind. Metrics have theirs before images, and those before texts.
std::string image_tag(const RunView& run, const std::string& name) {
  return run.metric(name) != nullptr ? name + "/image" : name;
}
std::string text_tag(const RunView& run, const std::string& name) {
  const bool is_image = std::ranges::find(run.images, name, &ImageEntry::name) != run.images.end();
  return is_image || run.metric(name) != nullptr ? name + "/text" : name;
}

std::int64_t lowest_step(const RunView& run) {
  std::int64_t lowest = 0;
  for (const Metric& metric : run.metrics)
    for (const Point& point : metric.points) lowest = std::min(lowest, point.step);
  for (const ImageEntry& image : run.images) lowest = std::min(lowest, image.step);
  return lowest;
}

}  // namespace

struct TensorboardWriter::Impl {
  explicit Impl(const RunView& run);
  ~Impl() {
    if (!done_.started) ::unlink(path_.c_str());
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  std::size_t write(const RunView& run);

  Place place_;
  std::string path_;

 private:
  std::size_t add_metrics(const RunView& run, Progress& progress);
  std::size_t add_images(const RunView& run, Progress& progress);
  void add_text(const RunView& run, Progress& progress, Moment moment, const std::string& name,
                const std::string& markdown);
  void add_texts(const RunView& run, Progress& progress);
  void add_params(const RunView& run, Progress& progress);
  void add(const std::string& event);
  void put();

  UniqueFd fd_;
  Progress done_;
  std::string gathered_;
  std::int64_t size_ = 0;  // of the file, without what a failed write may have left
};

TensorboardWriter::Impl::Impl(const RunView& run)
    : place_(Place::take(run.folder)),
      path_(place_.folder + "/" + place_.next),
      fd_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666)) {
  if (!fd_) fail_io("open", path_, errno);
  try {
    add(version_event(run.started));
    put();
  } catch (...) {
    ::unlink(path_.c_str());
    throw;
  }
  size_ = ::lseek(fd_.get(), 0, SEEK_END);
}

void TensorboardWriter::Impl::put() {
  const int error = write_all(fd_.get(), std::as_bytes(std::span(gathered_)));
  gathered_.clear();
  if (error != 0) fail_io("write", path_, error);
}

void TensorboardWriter::Impl::add(const std::string& event) {
  add_record(gathered_, event);
  if (gathered_.size() >= most_gathered) put();
}

std::size_t TensorboardWriter::Impl::add_metrics(const RunView& run, Progress& progress) {
  std::size_t count = 0;
  progress.points.resize(std::max(progress.points.size(), run.metrics.size()));
  for (std::size_t i = 0; i < run.metrics.size(); ++i) {
    const Metric& metric = run.metrics[i];
    for (std::size_t& next = progress.points[i]; next < metric.points.size(); ++next, ++count) {
      const Point& point = metric.points[next];
      add(scalar_event({point.time, point.step}, metric.name, point.value, next == 0));
    }
  }
  return count;
}

std::size_t TensorboardWriter::Impl::add_images(const RunView& run, Progress& progress) {
  std::size_t count = 0;
  while (progress.images < run.images.size()) {
    const ImageEntry& first = run.images[progress.images];
    std::int64_t time = run.started;
    std::vector<std::string> pngs;
    Pairs captions;
    // Neighbours of one name and step would take one another's place in TensorBoard: they share an event.
    for (; progress.images < run.images.size(); ++progress.images) {
      const ImageEntry& image = run.images[progress.images];
      if (image.name != first.name || image.step != first.step) break;
      std::string png = read_image(run, image.file);
      if (png.empty()) continue;
      time = std::max(time, image.time);
      pngs.push_back(std::move(png));
      if (!image.caption.empty()) captions.emplace_back(std::to_string(pngs.size()), image.caption);
    }
    if (pngs.empty()) continue;
    const std::string tag = image_tag(run, first.name);
    add(image_event({time, first.step}, tag, pngs, progress.kinds.insert(tag).second));
    if (!captions.empty())
      add_text(run, progress, {time, first.step}, tag + "/captions", table_of("image", "caption", captions));
    count += pngs.size();
  }
  return count;
}

void TensorboardWriter::Impl::add_text(const RunView& run, Progress& progress, Moment moment, const std::string& name,
                                       const std::string& markdown) {
  const std::string tag = text_tag(run, name);
  add(text_event(moment, tag, markdown, progress.kinds.insert(tag).second));
}

void TensorboardWriter::Impl::add_texts(const RunView& run, Progress& progress) {
  for (; progress.confusions < run.confusions.size(); ++progress.confusions) {
    const ConfusionEntry& confusion = run.confusions[progress.confusions];
    // A matrix has no step: those of one name are counted.
    const auto before = std::span(run.confusions).first(progress.confusions);
    const std::int64_t step = std::ranges::count(before, confusion.name, &ConfusionEntry::name);
    add_text(run, progress, {confusion.time, step}, "confusion/" + confusion.name, table_of(confusion));
  }
  if (run.tags == progress.tags) return;
  add_text(run, progress, {progress.versions == 0 ? run.started : run.last_written, progress.versions}, "tags",
           table_of("tag", "value", run.tags));
  progress.tags = run.tags;
  ++progress.versions;
}

void TensorboardWriter::Impl::add_params(const RunView& run, Progress& progress) {
  if (run.params.empty()) return;
  if (!progress.params) add(session_start_event(run));
  progress.params = true;
  if (run.status == Status::running || progress.end) return;
  // At the end, for only then is it known which metrics there are.
  add(experiment_event(run));
  add(session_end_event(run));
  progress.end = true;
}

std::size_t TensorboardWriter::Impl::write(const RunView& run) {
  Progress progress = done_;
  std::size_t count = 0;
  try {
    if (!progress.started && !place_.earlier.empty()) add(restart_event({run.started, lowest_step(run)}));
    progress.started = true;
    count = add_metrics(run, progress) + add_images(run, progress);
    add_texts(run, progress);
    add_params(run, progress);
    put();
  } catch (...) {
    gathered_.clear();
    // Half a record would make a reader stop there for good.
    if (::ftruncate(fd_.get(), size_) != 0) ::unlink(path_.c_str());
    throw;
  }
  size_ = ::lseek(fd_.get(), 0, SEEK_END);
  done_ = std::move(progress);
  for (const std::string& name : place_.earlier) ::unlink((place_.folder + "/" + name).c_str());
  place_.earlier.clear();
  return count;
}

TensorboardWriter::TensorboardWriter(const RunView& run) : impl_(std::make_unique<Impl>(run)) {}
TensorboardWriter::~TensorboardWriter() = default;
TensorboardWriter::TensorboardWriter(TensorboardWriter&&) noexcept = default;
TensorboardWriter& TensorboardWriter::operator=(TensorboardWriter&&) noexcept = default;

std::size_t TensorboardWriter::write(const RunView& run) { return impl_->write(run); }
const std::string& TensorboardWriter::path() const noexcept { return impl_->path_; }

std::string export_tensorboard(const RunView& run) {
  TensorboardWriter writer(run);
  writer.write(run);
  return writer.path();
}

}  // namespace tenon::track
