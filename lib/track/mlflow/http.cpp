// The only file of run tracking that knows libcurl.
#include "lib/track/mlflow/http.hpp"

#include "tenon/error.hpp"

#ifdef TENON_HAVE_CURL
#include <curl/curl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>

#include "lib/io/file.hpp"
#include "lib/track/files.hpp"

namespace tenon::track::mlflow {
namespace {

constexpr std::size_t max_answer = std::size_t{64} << 20;

// No exception may pass through libcurl's C frames; a short count ends the transfer.
std::size_t receive(char* data, std::size_t size, std::size_t count, void* user) {
  auto& body = *static_cast<std::string*>(user);
  if (body.size() + size * count > max_answer) return 0;
  try {
    body.append(data, size * count);
  } catch (...) {
    return 0;
  }
  return size * count;
}

std::size_t read_file(char* to, std::size_t size, std::size_t count, void* user) {
  for (;;) {
    const ssize_t got = ::read(*static_cast<int*>(user), to, size * count);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return CURL_READFUNC_ABORT;
  }
}

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

}  // namespace

HttpReply send(const HttpRequest& request) {
  static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
  // One handle a thread keeps its connection from request to request.
  thread_local const std::unique_ptr<CURL, void (*)(CURL*)> handle(global == CURLE_OK ? curl_easy_init() : nullptr,
                                                                   curl_easy_cleanup);
  if (!handle) throw IoError("[mlflow] expected a working libcurl, found that it cannot start");
  CURL* c = handle.get();
  curl_easy_reset(c);
  HttpReply reply;
  char text[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(c, CURLOPT_URL, request.url.c_str());
#if LIBCURL_VERSION_NUM >= 0x075500
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
#else
  curl_easy_setopt(c, CURLOPT_PROTOCOLS, static_cast<long>(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
  curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, request.fresh ? 1L : 0L);
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_USERAGENT, "tenon");
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, 10'000L);
  // A transfer may be long, but not stand still; a server may think before it answers.
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, 30L);
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, receive);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, &reply.body);
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, text);

  curl_slist* lines = nullptr;
  if (!request.authorization.empty())
    lines = curl_slist_append(lines, ("Authorization: " + request.authorization).c_str());
  lines = curl_slist_append(lines, "Expect:");
  lines = curl_slist_append(
      lines, request.file.empty() ? "Content-Type: application/json" : "Content-Type: application/octet-stream");
  const std::unique_ptr<curl_slist, FreeList> headers(lines);
  curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers.get());
  if (request.authorization.empty() && !request.user_password.empty()) {
    curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    curl_easy_setopt(c, CURLOPT_USERPWD, request.user_password.c_str());
  }
  UniqueFd fd;
  int number = -1;
  if (!request.file.empty()) {
    fd = UniqueFd(::open(request.file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat about {};
    if (!fd || ::fstat(fd.get(), &about) != 0) fail_io("open", request.file, errno);
    number = fd.get();
    curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(c, CURLOPT_READFUNCTION, read_file);
    curl_easy_setopt(c, CURLOPT_READDATA, &number);
    curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(about.st_size));
  } else if (request.method != "GET") {
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, 60'000L);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, request.body.c_str());
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  } else {
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, 60'000L);
  }
  curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, request.method.c_str());

  const CURLcode code = curl_easy_perform(c);
  if (code != CURLE_OK) {
    reply.reason = text[0] != '\0' ? text : curl_easy_strerror(code);
    return reply;
  }
  curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &reply.status);
  curl_off_t wait = 0;
  if (curl_easy_getinfo(c, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK) reply.retry_after = static_cast<double>(wait);
  return reply;
}

#else

namespace tenon::track::mlflow {

HttpReply send(const HttpRequest&) {
  throw UsageError("[mlflow] this build has no libcurl: install it and configure again");
}

#endif

std::string percent_encoded(const std::string& text) {
  constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
        c == '_' || c == '~') {
      out += c;
    } else {
      out += '%';
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
  }
  return out;
}

}  // namespace tenon::track::mlflow
