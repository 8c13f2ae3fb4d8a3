// One HTTP request with a body from memory or from a file, and its whole answer. Never follows a redirect.
#pragma once
#include <cstdint>
#include <string>

namespace tenon::track::mlflow {

struct HttpRequest {
  std::string method, url;
  std::string body;           // JSON, unless `file` is given
  std::string file;           // path of a file to send as the body
  std::string authorization;  // the header's value: "Bearer ..."
  bool fresh = false;         // on a new connection: libcurl repeats by itself what a used one that died did not answer
  std::string user_password;  // "name:password" for basic authentication, without `authorization`
};

struct HttpReply {
  long status = 0;     // 0: no answer
  std::string reason;  // without an answer: why, one line
  std::string body;
  double retry_after = 0;  // seconds that the server asked for
};

/// Throws UsageError in a build without libcurl, IoError when `file` cannot be opened.
[[nodiscard]] HttpReply send(const HttpRequest& request);
/// `text` for a place in a path or query: all but A-Z a-z 0-9 - . _ ~ as %XX.
[[nodiscard]] std::string percent_encoded(const std::string& text);

}  // namespace tenon::track::mlflow
