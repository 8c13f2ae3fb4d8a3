// An MLflow server: where it is, who we are, and requests that are tried again while it does not answer.
#pragma once
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "lib/track/mlflow/http.hpp"
#include "lib/track/text.hpp"
#include "tenon/error.hpp"
#include "tenon/track_mlflow.hpp"

namespace tenon::track::mlflow {

struct Address {
  std::string base;           // http://host:5000, without what is secret and without a slash at the end
  std::string authority;      // host:5000
  std::string host;           // without the port
  std::string user_password;  // what the URI had of it
  [[nodiscard]] bool is_this_machine() const;
};
/// Throws UsageError, without the URI's user and password, for anything but http:// and https://.
[[nodiscard]] Address parse_uri(const std::string& uri);

/// What the server refused. `code` is its own: RESOURCE_DOES_NOT_EXIST.
struct Refusal : IoError {
  Refusal(const std::string& message, std::string name) : IoError(message), code(std::move(name)) {}
  std::string code;
};

/// Thrown for what a later attempt may mend, where requests are not tried again by themselves.
struct Passing : IoError {
  Passing(const std::string& message, double seconds) : IoError(message), asked_for(seconds) {}
  double asked_for;  // seconds that the server asks to wait
};

/// The attempts of one thing to do.
class Attempts {
 public:
  Attempts(int most, double patience) : most_(most), patience_(patience) { restart(); }
  void restart();
  /// Waits before the next one; throws IoError with the reason when there is none.
  void wait_or_throw(const Passing& reason);

 private:
  int most_, made_ = 0;
  double patience_, started_ = 0;
};

class Client {
 public:
  explicit Client(const MlflowOptions& options);
  /// `path` without the API's prefix: "mlflow/runs/create". Throws Refusal, IoError without a usable answer.
  Json post(const std::string& path, const std::string& body);
  Json get(const std::string& path, const std::vector<std::pair<std::string, std::string>>& query);
  void put(const std::string& path, const std::string& file);
  /// For what must not be done twice: `done` asks the server whether it is, before each attempt of `act`.
  std::string once(const std::function<std::string()>& done, const std::function<std::string()>& act);

  /// Without further attempts: throws Passing.
  Json post_single(const std::string& path, const std::string& body);
  [[nodiscard]] Attempts attempts() const { return {attempts_, patience_}; }

  [[nodiscard]] const Address& address() const noexcept { return address_; }
  [[nodiscard]] std::int64_t requests() const noexcept { return requests_; }

 private:
  Json call(HttpRequest request, const std::string& path);
  Json attempt(const HttpRequest& request, const std::string& path);

  Address address_;
  std::string authorization_, user_password_;
  int attempts_;
  double patience_;
  bool single_ = false;  // inside once(): a request is not tried again by itself
  std::int64_t requests_ = 0;
};

}  // namespace tenon::track::mlflow
