// Reading takes any bytes: size and depth are bounded, and what does not fit is an error that names the place.
#include "lib/runtime/tune_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <nlohmann/json.hpp>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <set>

#include "lib/io/atomic_file.hpp"
#include "lib/io/file.hpp"
#include "tenon/error.hpp"

namespace tenon {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t most_bytes = std::size_t{16} << 20, most_text = 4096;
constexpr int most_depth = 5;

std::string read_all(const std::string& path) {
  const auto fail = [&](const char* why) { throw IoError(fmt::format("[tune] cannot read {}: {}", shown(path), why)); };
  const UniqueFd fd(path.find('\0') == std::string::npos ? ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)
                                                         : -1);
  if (!fd) fail(std::strerror(errno));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) fail(std::strerror(errno));
  if (!S_ISREG(info.st_mode)) fail("expected a regular file");
  // One byte more than allowed tells that there is more.
  std::string text(std::min(static_cast<std::size_t>(info.st_size), most_bytes) + 1, '\0');
  int error = 0;
  text.resize(pread_all(fd.get(), text.data(), text.size(), 0, error));
  if (error != 0) fail(std::strerror(error));
  return text;
}

/// The parts of the file, each with its name in messages.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  [[noreturn]] void refuse(const std::string& expected_and_found) const {
    throw DataError(fmt::format("[tune] {}: expected {}", shown(path_), expected_and_found));
  }

  ordered_json parse(const std::string& text) const {
    if (text.size() > most_bytes) refuse(fmt::format("at most {} bytes, found more", most_bytes));
    try {
      return ordered_json::parse(text, [&](int depth, ordered_json::parse_event_t, ordered_json&) {
        if (depth > most_depth) refuse(fmt::format("at most {} levels of JSON, found more", most_depth));
        return true;
      });
    } catch (const nlohmann::json::exception&) {
      refuse("valid JSON, found something else");
    }
  }

  const ordered_json& field(const ordered_json& object, const char* name) const {
    if (!object.is_object()) refuse(fmt::format("an object with '{}', found {}", name, object.type_name()));
    const auto found = object.find(name);
    if (found == object.end()) refuse(fmt::format("the field '{}', found none", name));
    return *found;
  }
  std::string text(const ordered_json& object, const char* name) const {
    const ordered_json& value = field(object, name);
    if (!value.is_string()) refuse(fmt::format("a string for '{}', found {}", name, value.type_name()));
    std::string s = value.get<std::string>();
    if (s.size() > most_text) refuse(fmt::format("at most {} bytes for '{}', found more", most_text, name));
    return s;
  }

  TuneContext context(const ordered_json& j) const {
    TuneContext c{text(j, "library"), text(j, "device"), 0, text(j, "precision"), text(j, "providers")};
    const ordered_json& threads = field(j, "threads");
    if (!threads.is_number_unsigned() || threads.get<std::uint64_t>() > 1u << 20)
      refuse("a number of threads for 'threads', found something else");
    c.threads = threads.get<int>();
    return c;
  }

  TuneChoice choice(const ordered_json& j) const {
    TuneChoice c{text(j, "problem"), text(j, "row"), {}};
    const ordered_json& us = field(j, "us");
    if (!us.is_object()) refuse(fmt::format("an object for 'us', found {}", us.type_name()));
    for (const auto& [row, value] : us.items()) {
      if (!value.is_number() || !(value.get<double>() >= 0) || std::isinf(value.get<double>()))
        refuse(fmt::format("microseconds for '{}', found something else", shown(row)));
      c.microseconds.emplace_back(row, value.get<double>());
    }
    return c;
  }

 private:
  const std::string& path_;
};

}  // namespace

std::string TuneContext::str() const {
  return fmt::format("'{}', {} threads, {}, providers '{}', library {}", shown(device), threads, shown(precision),
                     shown(providers), shown(library));
}

void write_tune_file(const std::string& path, const TuneFile& file) {
  const TuneContext& c = file.context;
  ordered_json list = ordered_json::array();
  for (const TuneChoice& choice : file.choices) {
    ordered_json us = ordered_json::object();
    for (const auto& [row, microseconds] : choice.microseconds) us[row] = microseconds;
    list.push_back({{"problem", choice.problem}, {"row", choice.row}, {"us", us}});
  }
  const ordered_json all{{"library", c.library},     {"device", c.device},       {"threads", c.threads},
                         {"precision", c.precision}, {"providers", c.providers}, {"choices", list}};
  const std::string text = all.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
  replace_file(path, {&bytes, 1});
}

TuneFile read_tune_file(const std::string& path, const TuneContext& here) {
  const Reader reader(path);
  const ordered_json all = reader.parse(read_all(path));
  TuneFile file{reader.context(all), {}};
  if (!(file.context == here)) return file;
  const ordered_json& list = reader.field(all, "choices");
  if (!list.is_array()) reader.refuse(fmt::format("an array for 'choices', found {}", list.type_name()));
  std::set<std::string> problems;
  for (const ordered_json& j : list) {
    file.choices.push_back(reader.choice(j));
    if (!problems.insert(file.choices.back().problem).second)
      reader.refuse(fmt::format("no problem twice, found '{}' again", shown(file.choices.back().problem)));
  }
  return file;
}

}  // namespace tenon
