// The only file that knows libcurl; run tracking, which stands without the library, has its own.
#include "lib/data/http_get.hpp"

#include "tenon/error.hpp"

#ifdef TENON_HAVE_CURL
#include <curl/curl.h>
#include <fmt/format.h>

#include <exception>
#include <memory>

namespace tenon {
namespace {

struct Sink {
  const std::function<bool(std::span<const std::byte>)>* body;
  std::exception_ptr error;
};

// An exception must not pass through libcurl's C frames.
std::size_t receive(char* data, std::size_t size, std::size_t count, void* user) {
  auto* sink = static_cast<Sink*>(user);
  const std::size_t bytes = size * count;
  try {
    return (*sink->body)(std::as_bytes(std::span(data, bytes))) ? bytes : 0;
  } catch (...) {
    sink->error = std::current_exception();
    return 0;
  }
}

HttpResult::Kind kind_of(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return HttpResult::Kind::ok;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return HttpResult::Kind::no_connection;
    case CURLE_HTTP_RETURNED_ERROR:
      return HttpResult::Kind::refused;
    case CURLE_RANGE_ERROR:
    case CURLE_BAD_DOWNLOAD_RESUME:
      return HttpResult::Kind::no_range;
    case CURLE_WRITE_ERROR:
      return HttpResult::Kind::stopped;
    default:
      return HttpResult::Kind::broken;
  }
}

}  // namespace

bool have_http() noexcept { return true; }

HttpResult http_get(const HttpRequest& request, const std::function<bool(std::span<const std::byte>)>& body) {
  static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, void (*)(CURL*)> handle(global == CURLE_OK ? curl_easy_init() : nullptr,
                                                      curl_easy_cleanup);
  if (!handle) throw IoError("[download] expected a working libcurl, found that it cannot start");
  CURL* c = handle.get();
  Sink sink{&body, nullptr};
  char text[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(c, CURLOPT_URL, request.url.c_str());
#if LIBCURL_VERSION_NUM >= 0x075500
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
#else
  curl_easy_setopt(c, CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
  curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
  curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(c, CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_USERAGENT, "tenon");
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, request.connect_timeout_ms);
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1024L);
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, request.stall_seconds);
  curl_easy_setopt(c, CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(request.first_byte));
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, receive);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, &sink);
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, text);
  const CURLcode code = curl_easy_perform(c);
  if (sink.error) std::rethrow_exception(sink.error);
  HttpResult result;
  result.kind = kind_of(code);
  curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &result.status);
  // A connection that times out before any answer was not reached; after one, it stalled.
  if (code == CURLE_OPERATION_TIMEDOUT) {
    curl_off_t connected = 0;
    curl_easy_getinfo(c, CURLINFO_PRETRANSFER_TIME_T, &connected);
    if (connected == 0) result.kind = HttpResult::Kind::no_connection;
  }
  if (result.status == 416) result.kind = HttpResult::Kind::no_range;
  if (code != CURLE_OK) result.reason = text[0] != '\0' ? text : curl_easy_strerror(code);
  return result;
}

}  // namespace tenon

#else

namespace tenon {

bool have_http() noexcept { return false; }

HttpResult http_get(const HttpRequest&, const std::function<bool(std::span<const std::byte>)>&) {
  throw IoError("[download] this build has no libcurl: configure with it installed, or name a folder with the files");
}

}  // namespace tenon
#endif
