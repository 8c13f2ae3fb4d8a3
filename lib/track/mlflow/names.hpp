// Names and texts as MLflow takes them.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace tenon::track::mlflow {

/// The name itself where MLflow takes it: 1 to 250 of A-Z a-z 0-9 _ - . : / and space, that as a path would be itself
/// (no empty, `.` or `..` part). Otherwise with _ for the bytes it refuses, cut, and - and 8 hex digits of the name's
/// SHA-256. (A current server takes letters of other scripts too; not every server, and not every such character.)
[[nodiscard]] std::string name_for(std::string_view name);
/// The path of an artifact: each part as slug_of and file_slug_of make it.
[[nodiscard]] std::string artifact_path_for(std::string_view path);
/// The text itself where its JSON string has at most `most` bytes; what is cut ends with "...".
[[nodiscard]] std::string text_for(std::string_view text, std::size_t most);

}  // namespace tenon::track::mlflow
