// A tiny HTTP server on 127.0.0.1 with one thread: one connection at a time, one GET each. What it answers, and how
// badly, is up to the handler.
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace tenon::test {

struct HttpAsked {
  std::string path;
  std::size_t first_byte = 0;  // from a Range header
  bool ranged = false;
};

struct HttpReply {
  int status = 200;
  std::string body;                           // all of it, also for a range
  std::size_t cut_after = std::string::npos;  // send so many bytes of the body, then ...
  enum class Then { close, stall } then = Then::close;
  bool ignore_range = false;  // answer 200 with everything
  bool state_length = true;   // without Content-Length a cut looks like the end
  bool endless = false;       // repeat the body until the client goes away
};

class LoopbackServer {
 public:
  using Handler = std::function<HttpReply(const HttpAsked&)>;

  explicit LoopbackServer(Handler handler) : handler_(std::move(handler)) {
    setenv("no_proxy", "127.0.0.1", 1);  // a proxy of the machine must not see these
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (listener_ < 0 || bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        listen(listener_, 8) != 0 || getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
        pipe(wake_) != 0)
      throw std::runtime_error("loopback server");
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~LoopbackServer() {
    if (write(wake_[1], "x", 1) != 1) std::abort();
    thread_.join();
    for (const int fd : {listener_, wake_[0], wake_[1]}) close(fd);
  }
  LoopbackServer(const LoopbackServer&) = delete;
  LoopbackServer& operator=(const LoopbackServer&) = delete;

  [[nodiscard]] std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/"; }
  /// The requests so far.
  [[nodiscard]] std::vector<HttpAsked> asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  // False when the server is to stop.
  bool wait_for(int fd, short events, int timeout_ms) {
    pollfd p[2] = {{wake_[0], POLLIN, 0}, {fd, events, 0}};
    while (poll(p, 2, timeout_ms) < 0) {
    }
    return p[0].revents == 0;
  }

  void serve() {
    while (wait_for(listener_, POLLIN, -1)) {
      const int client = accept(listener_, nullptr, nullptr);
      if (client < 0) continue;
      const bool go_on = answer(client);
      close(client);
      if (!go_on) return;
    }
  }

  bool answer(int client) {
    std::string head;
    while (head.find("\r\n\r\n") == std::string::npos) {
      char buffer[4096];
      if (!wait_for(client, POLLIN, -1)) return false;
      const ssize_t n = recv(client, buffer, sizeof buffer, 0);
      if (n <= 0) return true;
      head.append(buffer, static_cast<std::size_t>(n));
    }
    HttpAsked asked;
    const std::size_t path = head.find('/');
    asked.path = head.substr(path + 1, head.find(' ', path) - path - 1);
    if (const std::size_t at = head.find("Range: bytes="); at != std::string::npos) {
      asked.ranged = true;
      asked.first_byte = static_cast<std::size_t>(std::atoll(head.c_str() + at + 13));
    }
    {
      const std::lock_guard lock(mutex_);
      asked_.push_back(asked);
    }
    return reply_to(client, asked, handler_(asked));
  }

  bool reply_to(int client, const HttpAsked& asked, HttpReply reply) {
    std::string body = reply.body, range;
    if (asked.ranged && reply.status == 200 && !reply.ignore_range) {
      const std::size_t total = body.size();
      reply.status = asked.first_byte < total ? 206 : 416;
      range = "Content-Range: bytes " +
              (reply.status == 206 ? std::to_string(asked.first_byte) + "-" + std::to_string(total - 1) : "*") + "/" +
              std::to_string(total) + "\r\n";
      body = reply.status == 206 ? body.substr(asked.first_byte) : "";
    }
    std::string out = "HTTP/1.1 " + std::to_string(reply.status) + " Status\r\nConnection: close\r\n" + range;
    if (reply.state_length && !reply.endless) out += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    out += "\r\n" + body.substr(0, reply.cut_after);
    do {
      if (!send_all(client, out)) return true;
      out = body;
    } while (reply.endless);
    if (reply.cut_after < body.size() && reply.then == HttpReply::Then::stall) {
      // Until the client gives up (its end closes: readable) or the test is over.
      return wait_for(client, POLLIN, 60000);
    }
    shutdown(client, SHUT_WR);
    return true;
  }

  static bool send_all(int client, const std::string& bytes) {
    for (std::size_t done = 0; done < bytes.size();) {
      const ssize_t n = send(client, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
      if (n <= 0) return false;
      done += static_cast<std::size_t>(n);
    }
    return true;
  }

  Handler handler_;
  int listener_ = -1, wake_[2] = {-1, -1};
  int port_ = 0;
  mutable std::mutex mutex_;
  std::vector<HttpAsked> asked_;
  std::thread thread_;
};

}  // namespace tenon::test
