// Names of people as names of folders and files: a user's string never becomes a path.
#pragma once
#include <string>
#include <string_view>

namespace tenon::track {

/// A file name of at most 64 bytes from A-Z a-z 0-9 . _ - that starts with neither . nor -. A name that is one already
/// stays; of any other the unsafe bytes become _, and 8 hex digits of its SHA-256 follow, so that two names keep two
/// folders. (A name that ends like such a one gets its own digits too.)
[[nodiscard]] std::string slug_of(std::string_view name);

/// As slug_of, with the last suffix of at most 16 safe bytes kept behind the digits: `my file.png` -> `my_file-….png`.
[[nodiscard]] std::string file_slug_of(std::string_view name);

/// Throws UsageError for a name that is empty or over 4,096 bytes. `what` is for the message: "experiment".
void check_name(std::string_view what, std::string_view name);

}  // namespace tenon::track
