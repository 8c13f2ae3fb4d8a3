// One HTTP GET into a callback. Built on libcurl where it was found at configure time (TENON_HAVE_CURL).
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace tenon {

struct HttpRequest {
  std::string url;
  std::uint64_t first_byte = 0;     // Range: bytes=first_byte-, when not 0
  long connect_timeout_ms = 10000;  // name look-up, connection and TLS handshake together
  long stall_seconds = 20;          // give up below 1 KiB/s for so long
};

struct HttpResult {
  enum class Kind {
    ok,
    no_connection,  // name, route, handshake: the server was not reached
    refused,        // a status of 400 or above
    no_range,       // the server cannot resume
    broken,         // cut short, stalled or malformed: what arrived may be resumed
    stopped,        // the callback returned false
  };
  Kind kind = Kind::ok;
  long status = 0;
  std::string reason;  // one line, for `kind` other than ok
};

/// Is this build able to? `http_get` throws IoError when not.
[[nodiscard]] bool have_http() noexcept;

/// Hands over the body piece by piece; `false` from `body` ends the transfer.
[[nodiscard]] HttpResult http_get(const HttpRequest& request,
                                  const std::function<bool(std::span<const std::byte>)>& body);

}  // namespace tenon
