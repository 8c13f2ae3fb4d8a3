// Downloads against a server on the loopback that refuses, stalls, cuts short, lies and forgets; and SHA-256.
#include <fmt/format.h>

#include "lib/data/download.hpp"
#include "lib/data/http_get.hpp"
#include "lib/io/sha256.hpp"
#include "tenon/data.hpp"
#include "tenon/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/idx_files.hpp"
#include "tests/support/loopback_server.hpp"

using namespace tenon;
using namespace tenon::test;
namespace fs = std::filesystem;

TEST_CASE("sha256: the vectors of FIPS 180-4 and its examples", "[data][sha256]") {
  REQUIRE(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  REQUIRE(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  REQUIRE(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  REQUIRE(sha256_hex("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsm"
                     "nopqrstnopqrstu") == "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  REQUIRE(sha256_hex(std::string(1'000'000, 'a')) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("sha256: pieces give what the whole gives, at every length around the block", "[data][sha256]") {
  std::string text;
  for (int length = 0; length < 200; ++length) {
    Sha256 hash;
    for (std::size_t at = 0, piece = 1; at < text.size(); at += piece, piece = piece % 67 + 1)
      hash.update(text.data() + at, std::min(piece, text.size() - at));
    REQUIRE(hash.hex() == sha256_hex(text));
    text += static_cast<char>('a' + length % 26);
  }
}

TEST_CASE("download: mirrors come from the environment", "[data][download]") {
  const Env env("TENON_MNIST_MIRRORS", " http://a/x/, http://b ");
  REQUIRE(mnist_mirrors() == std::vector<std::string>{"http://a/x/", "http://b"});
  const Env none("TENON_MNIST_MIRRORS", nullptr);
  REQUIRE(mnist_mirrors().size() == 2);
}

#ifdef TENON_HAVE_CURL

namespace {

struct Fixture {
  TempFolder folder;
  std::string content = idx_images(40), body = gz(content);
  RemoteFile file{"part/../images.gz", sha256_hex(content), content.size()};
  std::vector<std::string> lines;
  DownloadOptions options;

  Fixture() {
    file.name = "images.gz";
    options.stall_seconds = 1;
    options.connect_timeout_ms = 2000;
    options.log = [this](const std::string& line) { lines.push_back(line); };
  }
  void run() { download_files({&file, 1}, folder / "new", options); }
  [[nodiscard]] std::string target() const { return folder / "new/images.gz"; }
  [[nodiscard]] std::string part() const { return target() + ".part"; }
  [[nodiscard]] bool logged(const std::string& words) const {
    for (const std::string& line : lines)
      if (line.find(words) != std::string::npos) return true;
    return false;
  }
  void left_by_an_earlier_try(const std::string& bytes) {
    fs::create_directories(folder / "new");
    write_file(part(), bytes);
  }
  void check_done() {
    REQUIRE(read_file(target()) == body);
    REQUIRE_FALSE(fs::exists(part()));
  }
};

}  // namespace

TEST_CASE("download: a file arrives, and is not fetched again", "[data][download]") {
  Fixture f;
  LoopbackServer server([&](const HttpAsked&) { return HttpReply{.body = f.body}; });
  f.options.mirrors = {server.url() + "mnist"};  // the slash is added
  f.run();
  f.check_done();
  REQUIRE(server.asked().at(0).path == "mnist/images.gz");
  f.run();
  REQUIRE(server.asked().size() == 1);
}

TEST_CASE("download: 403, then the next mirror", "[data][download]") {
  Fixture f;
  LoopbackServer refuses([](const HttpAsked&) { return HttpReply{.status = 403, .body = "no"}; });
  LoopbackServer server([&](const HttpAsked&) { return HttpReply{.body = f.body}; });
  f.options.mirrors = {refuses.url(), server.url()};
  f.run();
  f.check_done();
  REQUIRE(f.logged("403"));
}

TEST_CASE("download: a mirror that stalls is resumed, and left when it gives nothing", "[data][download]") {
  Fixture f;
  const std::size_t half = f.body.size() / 2;
  LoopbackServer stalls([&](const HttpAsked& a) {
    return HttpReply{.body = f.body, .cut_after = a.ranged ? 0 : half, .then = HttpReply::Then::stall};
  });
  LoopbackServer server([&](const HttpAsked&) { return HttpReply{.body = f.body}; });
  f.options.mirrors = {stalls.url(), server.url()};
  f.run();
  f.check_done();
  REQUIRE(stalls.asked().size() == 2);
  REQUIRE(server.asked().at(0).first_byte == half);
}

TEST_CASE("download: a transfer cut short goes on by Range", "[data][download]") {
  Fixture f;
  const std::size_t cut = f.body.size() / 3;
  LoopbackServer server([&](const HttpAsked& a) {
    return HttpReply{.body = f.body, .cut_after = a.first_byte >= 2 * cut ? std::string::npos : cut};
  });
  f.options.mirrors = {server.url()};
  f.run();
  f.check_done();
  REQUIRE(server.asked().size() == 3);
  REQUIRE(server.asked().at(2).first_byte == 2 * cut);
}

TEST_CASE("download: a server without Range is asked for everything again", "[data][download]") {
  Fixture f;
  f.left_by_an_earlier_try(f.body.substr(0, 100));
  LoopbackServer server([&](const HttpAsked&) { return HttpReply{.body = f.body, .ignore_range = true}; });
  f.options.mirrors = {server.url()};
  f.run();
  f.check_done();
  REQUIRE(server.asked().at(0).ranged);
  REQUIRE_FALSE(server.asked().back().ranged);
}

TEST_CASE("download: what an earlier try left is resumed, or dropped when it does not fit", "[data][download]") {
  Fixture f;
  LoopbackServer server([&](const HttpAsked&) { return HttpReply{.body = f.body}; });
  f.options.mirrors = {server.url()};
  SECTION("a good beginning") {
    f.left_by_an_earlier_try(f.body.substr(0, 100));
    f.run();
    REQUIRE(server.asked().size() == 1);
    REQUIRE(server.asked()[0].first_byte == 100);
  }
  SECTION("all of it") {
    f.left_by_an_earlier_try(f.body);
    f.run();
    REQUIRE(server.asked().size() == 1);
  }
  SECTION("other bytes") {
    f.left_by_an_earlier_try(std::string(100, 'x'));
    f.run();
    REQUIRE(server.asked().size() == 2);
    REQUIRE(server.asked()[1].first_byte == 0);
  }
  SECTION("more than there can be") {
    f.left_by_an_earlier_try(std::string(1 << 20, 'x'));
    f.run();
    REQUIRE(server.asked().size() == 1);
  }
  f.check_done();
}

TEST_CASE("download: other content is never taken", "[data][download]") {
  Fixture f;
  HttpReply reply;
  std::string expected = "SHA-256";
  SECTION("one pixel differs") {
    std::string other = f.content;
    other[500] ^= 1;
    reply.body = gz(other);
  }
  SECTION("an end that looks clean, too early") {
    reply = {.body = f.body, .cut_after = f.body.size() - 9, .state_length = false};
    expected = "truncated";
  }
  SECTION("a page instead of the file") {
    reply.body = "<html>log in</html>";
    expected = "bytes of content";
  }
  SECTION("a byte more") {
    reply.body = f.body + "x";
    expected = "trailing";
  }
  SECTION("without an end") {
    reply = {.body = std::string(1 << 16, 'x'), .endless = true};
    expected = "more than";
  }
  LoopbackServer wrong([&](const HttpAsked&) { return reply; });
  f.options.mirrors = {wrong.url()};
  REQUIRE_THROWS_AS(f.run(), IoError);
  REQUIRE(f.logged(expected));
  REQUIRE(fs::is_empty(f.folder / "new"));
  LoopbackServer right([&](const HttpAsked&) { return HttpReply{.body = f.body}; });
  f.options.mirrors = {wrong.url(), right.url()};
  f.run();
  f.check_done();
}

TEST_CASE("download: a file that is there with other content stays", "[data][download]") {
  Fixture f;
  fs::create_directories(f.folder / "new");
  write_file(f.target(), gz("mine"));
  LoopbackServer server([&](const HttpAsked&) { return HttpReply{.body = f.body}; });
  f.options.mirrors = {server.url()};
  REQUIRE_THROWS_AS(f.run(), DataError);
  REQUIRE(read_file(f.target()) == gz("mine"));
  REQUIRE(server.asked().empty());
}

TEST_CASE("download: nobody answers, or the folder cannot be made", "[data][download]") {
  Fixture f;
  std::string dead;
  {
    LoopbackServer gone([](const HttpAsked&) { return HttpReply{}; });
    dead = gone.url();
  }
  f.options.mirrors = {dead};
  REQUIRE_THROWS_AS(f.run(), IoError);
  f.options.mirrors = {};
  REQUIRE_THROWS_AS(f.run(), IoError);
  f.options.mirrors = {"file:///etc/"};
  REQUIRE_THROWS_AS(f.run(), IoError);
  write_file(f.folder / "file", "");
  REQUIRE_THROWS_AS(download_files({&f.file, 1}, f.folder / "file/sub", f.options), IoError);
}

TEST_CASE("mnist: with nothing named it is downloaded into the cache", "[data][download]") {
  // The same mirror answers for all four files; their hashes are MNIST's, so anything else must be refused.
  const TempFolder cache;
  const Env xdg("XDG_CACHE_HOME", cache.str().c_str()), named("TENON_MNIST", nullptr),
      offline("TENON_OFFLINE", nullptr);
  const fs::path before = fs::current_path();
  fs::current_path(cache.str());  // no ./data here
  LoopbackServer server([&](const HttpAsked&) { return HttpReply{.body = gz(idx_images(3))}; });
  std::string said;
  MnistOptions options{.mirrors = {server.url()}, .synthetic_train = 20, .synthetic_test = 10};
  options.log = [&said](const std::string& line) { said += line + "\n"; };
  const MnistData data = load_mnist(options);
  REQUIRE(data.synthetic);
  REQUIRE(said.find("SYNTHETIC") != std::string::npos);
  REQUIRE(said.find("no mirror gave train-images-idx3-ubyte.gz") != std::string::npos);
  options.download = true;
  REQUIRE_THROWS_AS(load_mnist(options), IoError);
  REQUIRE(server.asked().size() == 2);
  fs::current_path(before);
}

#else

TEST_CASE("download: a build without libcurl says so", "[data][download]") {
  REQUIRE_FALSE(have_http());
  const TempFolder folder;
  REQUIRE_THROWS_AS(download_files(mnist_files(), folder.str(), {.mirrors = {"http://127.0.0.1/"}}), IoError);
}

#endif
