// Reads /proc and asks the system's calls.
#include "lib/track/about_process.hpp"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <thread>

#include "lib/io/file.hpp"

namespace tenon::track {
namespace {

/// The front of a file whose size the system does not tell.
std::string front_of(const char* path) {
  std::string text(std::size_t{1} << 18, '\0');
  const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  int error = 0;
  text.resize(fd ? pread_all(fd.get(), text.data(), text.size(), 0, error) : 0);
  return text;
}

std::vector<std::string> words_of_command() {
  std::vector<std::string> words;
  const std::string text = front_of("/proc/self/cmdline");
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\0', at);
    words.push_back(text.substr(at, end - at));
    at = end == std::string::npos ? text.size() : end + 1;
  }
  return words;
}

std::string name_of_cpu() {
  const std::string text = front_of("/proc/cpuinfo");
  constexpr std::string_view word = "model name";
  const std::size_t at = text.find(word);
  if (at == std::string::npos) return {};
  const std::size_t begin = text.find_first_not_of("\t :", at + word.size());
  return begin == std::string::npos ? "" : text.substr(begin, text.find('\n', begin) - begin);
}

}  // namespace

AboutProcess about_process() {
  AboutProcess about;
  about.command_line = words_of_command();
  std::error_code ignored;
  about.working_folder = std::filesystem::current_path(ignored).string();
  char host[256] = {};
  if (::gethostname(host, sizeof host - 1) == 0) about.host = host;
  for (const char* variable : {"USER", "LOGNAME"})
    if (const char* user = std::getenv(variable); user != nullptr && about.user.empty()) about.user = user;
  if (about.user.empty()) about.user = std::to_string(::getuid());
  about.pid = ::getpid();
  utsname system{};
  if (::uname(&system) == 0)
    about.environment.emplace_back("os", std::string(system.sysname) + " " + system.release + " " + system.machine);
  if (const std::string cpu = name_of_cpu(); !cpu.empty()) about.environment.emplace_back("cpu", cpu);
  about.environment.emplace_back("cores", std::to_string(std::thread::hardware_concurrency()));
  return about;
}

}  // namespace tenon::track
