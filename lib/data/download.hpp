// Fetches files whose content is known by its SHA-256, from a list of mirrors, into a folder.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace tenon {

struct RemoteFile {
  std::string name;             // stored under this name, and fetched from mirror + name
  std::string sha256;           // of the content (inflated when it is gzip)
  std::uint64_t content_bytes;  // its exact length
};

struct DownloadOptions {
  std::vector<std::string> mirrors;  // base URLs, tried in order
  long connect_timeout_ms = 10000;
  long stall_seconds = 20;
  std::function<void(const std::string&)> log = nullptr;
};

/// Does `path` hold exactly this content? `found` says what it holds otherwise.
[[nodiscard]] bool verify_content(const std::string& path, const RemoteFile& file, std::string& found);

/// Makes `folder` (and its parents) and puts the files that it lacks there: a temporary file beside the target, resumed
/// when one was left behind; verified, synced, then renamed, so that a file under its final name is always whole.
/// Throws IoError when no mirror gives a file, DataError when there is one of that name with other content, which
/// stays.
void download_files(std::span<const RemoteFile> files, const std::string& folder, const DownloadOptions& options);

/// MNIST's four files, and the mirrors known to serve them.
[[nodiscard]] std::span<const RemoteFile> mnist_files();
[[nodiscard]] std::vector<std::string> mnist_mirrors();  // TENON_MNIST_MIRRORS, else the built-in list

}  // namespace tenon
