// What goes to an MLflow server without one: names it takes, addresses, the record of what was sent.
#include <filesystem>
#include <fstream>

#include "lib/track/mlflow/client.hpp"
#include "lib/track/mlflow/names.hpp"
#include "lib/track/mlflow/sent.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/idx_files.hpp"

using namespace tenon::track;
using tenon::test::TempFolder;

TEST_CASE("names that MLflow takes stay, others are told apart", "[track]") {
  for (const char* name : {"loss", "epoch/val loss", "a.b-c_d:1", ".hidden", "..."})
    CHECK(mlflow::name_for(name) == name);
  CHECK(mlflow::name_for(std::string(250, 'k')) == std::string(250, 'k'));
  std::map<std::string, std::string> seen;
  for (const std::string& name :
       {std::string(), std::string("a//b"), std::string("../b"), std::string("/b"), std::string("."), std::string("b/"),
        std::string("a/./b"), std::string("x&y"), std::string("x|y"), std::string("\xc3\xa9"), std::string("a\nb"),
        std::string("a\0b", 3), std::string(251, 'k'), std::string(252, 'k')}) {
    const std::string mapped = mlflow::name_for(name);
    CAPTURE(name, mapped);
    CHECK(mapped.size() <= 250);
    CHECK(mlflow::name_for(mapped) == mapped);  // is itself one that it takes
    CHECK(seen.emplace(mapped, name).second);
  }
  CHECK(mlflow::name_for("x&y/z").starts_with("x_y/z-"));
  CHECK(mlflow::artifact_path_for("outputs/a.bin") == "outputs/a.bin");
  CHECK(mlflow::artifact_path_for("outputs/../x").find("..") == std::string::npos);
}

TEST_CASE("texts are cut between characters", "[track]") {
  CHECK(mlflow::text_for("abc", 3) == "abc");
  CHECK(mlflow::text_for("abcdefgh", 6) == "abc...");
  CHECK(mlflow::text_for("ab\xc3\xa9xyz", 6) == "ab...");  // the letter would need a fourth byte
}

TEST_CASE("an address keeps no secret", "[track]") {
  const mlflow::Address a = mlflow::parse_uri("https://user:p%40ss@example.org:5000/prefix//");
  CHECK(a.base == "https://example.org:5000/prefix");
  CHECK(a.authority == "example.org:5000");
  CHECK(a.user_password == "user:p@ss");
  CHECK_FALSE(a.is_this_machine());
  for (const char* uri : {"http://localhost:1", "http://127.0.0.1", "http://[::1]:5000"})
    CHECK(mlflow::parse_uri(uri).is_this_machine());
  CHECK_FALSE(mlflow::parse_uri("http://127.0.0.1.example.org").is_this_machine());
  for (const char* uri : {"", "file:///x", "ftp://user:secret@h", "http://", "http://user:secret@", "http:///x",
                          "http://h/x?secret", "http://h/#", "http://h secret", "http://user:secret@h\n/"}) {
    CAPTURE(uri);
    try {
      (void)mlflow::parse_uri(uri);
      FAIL("accepted");
    } catch (const tenon::UsageError& error) {
      CHECK(std::string(error.what()).find("secret") == std::string::npos);
    }
  }
}

TEST_CASE("what was sent is remembered server by server", "[track]") {
  const TempFolder folder;
  mlflow::Sent sent;
  sent.run_id = "r1";
  sent.points = {{"loss", 9'375}, {"odd \xff", 1}};
  sent.params = {{"b", "1"}, {"a", "\xff"}};
  sent.files = {{"outputs/x", "00"}};
  sent.certain = true;
  mlflow::write_sent(folder.str(), "http://one", sent);
  mlflow::Sent other;
  other.run_id = "r2";
  mlflow::write_sent(folder.str(), "http://two", other);
  const mlflow::Sent again = mlflow::read_sent(folder.str(), "http://one");
  CHECK(again.run_id == "r1");
  CHECK(again.points == sent.points);
  CHECK(again.params == sent.params);
  CHECK(again.files == sent.files);
  CHECK(again.certain);
  CHECK(mlflow::read_sent(folder.str(), "http://two").run_id == "r2");
  CHECK(mlflow::read_sent(folder.str(), "http://three").run_id.empty());
  for (const char* text : {"", "[", "[]", "{\"servers\":7}", "{\"servers\":{\"http://one\":[]}}",
                           "{\"servers\":{\"http://one\":{\"points\":{\"x\":\"y\"},\"certain\":7,\"params\":[]}}}"}) {
    std::ofstream(folder / "mlflow.json") << text;
    const mlflow::Sent damaged = mlflow::read_sent(folder.str(), "http://one");
    CHECK(damaged.run_id.empty());
    CHECK(damaged.points.empty());
    CHECK_FALSE(damaged.certain);
  }
}
