// Addresses, authentication, attempts, and the server's errors as one line.
#include "lib/track/mlflow/client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "lib/io/file.hpp"

namespace tenon::track::mlflow {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool passes(long status) { return status == 408 || status == 429 || status >= 500; }

/// `text` with every %XX as the byte that it stands for.
std::string percent_decoded(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    const bool coded = text[i] == '%' && i + 2 < text.size() &&
                       std::from_chars(&text[i + 1], &text[i + 3], byte, 16).ptr == &text[i + 3];
    out += coded ? static_cast<char>(byte) : text[i];
    if (coded) i += 2;
  }
  return out;
}

/// The server's own words, or what there is instead.
std::string words_of(const HttpReply& reply, std::string& code) {
  const Json json = Json::parse(reply.body, nullptr, false);
  if (json.is_object()) {
    code = string_of(json, "error_code");
    const std::string message = string_of(json, "message");
    if (!message.empty()) return code.empty() ? message : code + ": " + message;
  }
  return reply.body.empty() ? "nothing more" : reply.body.substr(0, 200);
}

}  // namespace

bool Address::is_this_machine() const {
  return host == "localhost" || host == "[::1]" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos);
}

Address parse_uri(const std::string& uri) {
  const auto refuse = [](const char* found) {
    throw UsageError(fmt::format("[mlflow] expected a server such as http://host:5000, found {}", found));
  };
  const std::size_t scheme = uri.starts_with("http://") ? 7 : uri.starts_with("https://") ? 8 : 0;
  if (scheme == 0) refuse("a URI that starts with neither http:// nor https://");
  Address address;
  const std::size_t slash = std::min(uri.find('/', scheme), uri.size());
  address.authority = uri.substr(scheme, slash - scheme);
  if (const std::size_t at = address.authority.rfind('@'); at != std::string::npos) {
    address.user_password = percent_decoded(address.authority.substr(0, at));
    address.authority.erase(0, at + 1);
  }
  address.host = address.authority.starts_with('[') ? address.authority.substr(0, address.authority.find(']') + 1)
                                                    : address.authority.substr(0, address.authority.find(':'));
  std::string path = uri.substr(slash);
  while (path.ends_with('/')) path.pop_back();
  for (const char c : address.authority + path)
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7F || c == '?' || c == '#' || c == '\\')
      refuse("a URI with a query or a character that belongs in none");
  if (address.host.empty() || address.host == "[]") refuse("a URI without a host");
  address.base = uri.substr(0, scheme) + address.authority + path;
  return address;
}

Client::Client(const MlflowOptions& options)
    : address_(parse_uri(options.uri)), attempts_(std::max(1, options.attempts)), patience_(options.patience) {
  const std::string token = variable("MLFLOW_TRACKING_TOKEN"), user = variable("MLFLOW_TRACKING_USERNAME");
  if (token.find_first_of("\r\n") != std::string::npos)
    throw UsageError("[mlflow] expected one line in MLFLOW_TRACKING_TOKEN");
  if (!token.empty())
    authorization_ = "Bearer " + token;
  else
    user_password_ = user.empty() ? address_.user_password : user + ":" + variable("MLFLOW_TRACKING_PASSWORD");
}

void Attempts::restart() {
  made_ = 0;
  started_ = now();
}

void Attempts::wait_or_throw(const Passing& reason) {
  ++made_;
  // 0.5 s, 1 s, 2 s, ... at most 8, or what the server asks for.
  const double pause = std::max(std::min(8.0, 0.5 * std::ldexp(1, made_ - 1)), std::min(reason.asked_for, 30.0));
  if (made_ >= most_ || now() - started_ + pause > patience_)
    throw IoError(fmt::format("{} (after {} attempt{})", reason.what(), made_, made_ == 1 ? "" : "s"));
  std::this_thread::sleep_for(std::chrono::duration<double>(pause));
}

Json Client::attempt(const HttpRequest& request, const std::string& path) {
  ++requests_;
  const HttpReply reply = send(request);
  const std::string where = fmt::format("[mlflow] {} of {}", shown(path), shown(address_.base));
  if (reply.status == 0) throw Passing(fmt::format("{}: {}", where, shown(reply.reason)), 0);
  if (reply.status >= 200 && reply.status < 300) {
    Json json = reply.body.empty() ? Json::object() : Json::parse(reply.body, nullptr, false);
    if (!request.file.empty() || json.is_object()) return json;
    throw IoError(fmt::format("{}: expected JSON, found {}", where, shown(reply.body.substr(0, 80))));
  }
  if (reply.status < 400)
    throw IoError(fmt::format("{}: expected an answer, found a redirect (status {}), which is not followed", where,
                              reply.status));
  std::string code;
  const std::string words = shown(words_of(reply, code)),
                    text = fmt::format("{}: status {}: {}", where, reply.status, words);
  if (passes(reply.status)) throw Passing(text, reply.retry_after);
  throw Refusal(text, code);
}

Json Client::call(HttpRequest request, const std::string& path) {
  request.authorization = authorization_;
  request.user_password = user_password_;
  request.fresh = single_;
  if (single_) return attempt(request, path);
  for (Attempts attempts = this->attempts();;) {
    try {
      return attempt(request, path);
    } catch (const Passing& passing) {
      attempts.wait_or_throw(passing);
    }
  }
}

namespace {

struct Single {
  bool& flag;
  bool before;
  explicit Single(bool& f) : flag(f), before(f) { flag = true; }
  ~Single() { flag = before; }
  Single(const Single&) = delete;
  Single& operator=(const Single&) = delete;
};

}  // namespace

std::string Client::once(const std::function<std::string()>& done, const std::function<std::string()>& act) {
  for (Attempts attempts = this->attempts();;) {
    if (std::string found = done(); !found.empty()) return found;
    try {
      const Single single(single_);
      return act();
    } catch (const Passing& passing) {
      attempts.wait_or_throw(passing);
    }
  }
}

Json Client::post_single(const std::string& path, const std::string& body) {
  const Single single(single_);
  return post(path, body);
}

Json Client::post(const std::string& path, const std::string& body) {
  return call({.method = "POST", .url = address_.base + "/api/2.0/" + path, .body = body}, path);
}

Json Client::get(const std::string& path, const std::vector<std::pair<std::string, std::string>>& query) {
  std::string url = address_.base + "/api/2.0/" + path;
  char separator = '?';
  for (const auto& [name, value] : query) {
    url += separator + name + "=" + percent_encoded(value);
    separator = '&';
  }
  return call({.method = "GET", .url = url}, path);
}

void Client::put(const std::string& path, const std::string& file) {
  call({.method = "PUT", .url = address_.base + "/api/2.0/" + path, .file = file}, path);
}

}  // namespace tenon::track::mlflow
