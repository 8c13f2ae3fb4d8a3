// The source revision that a run writes down, with repositories made up and, where git is installed, with its own.
#include <cstdlib>
#include <filesystem>

#include "lib/track/git_revision.hpp"
#include "tenon/track.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/idx_files.hpp"

using namespace tenon::track;
using tenon::test::TempFolder;
using tenon::test::write_file;

namespace {

std::string value_of(const Pairs& pairs, const std::string& name) {
  for (const auto& [n, value] : pairs)
    if (n == name) return value;
  return "nothing";
}

}  // namespace

TEST_CASE("the revision of the working folder is found without asking", "[track]") {
  const TempFolder folder;
  const std::string commit(40, 'a'), before = std::filesystem::current_path().string();
  std::filesystem::create_directories(folder / "tree/.git/refs/heads/x");
  std::filesystem::create_directories(folder / "tree/src/deep");
  write_file(folder / "tree/.git/HEAD", "ref: refs/heads/x/main\n");
  const auto revision = [&] {
    std::filesystem::current_path(folder / "tree/src/deep");
    const Run run = Experiment("git", {folder / "runs"}).start_run();
    std::filesystem::current_path(before);
    return value_of(RunView::open(run.folder()).environment, "revision");
  };
  CHECK(revision() == "nothing");
  write_file(folder / "tree/.git/packed-refs", "# pack-refs\n" + commit + " refs/heads/x/main\n");
  CHECK(revision() == commit);
  write_file(folder / "tree/.git/refs/heads/x/main", std::string(40, 'b') + "\n");
  CHECK(revision() == std::string(40, 'b'));
  write_file(folder / "tree/.git/HEAD", std::string(64, 'c') + "\n");
  CHECK(revision() == std::string(64, 'c'));
  // A worktree: .git is a file, and the branches are in the folder that it shares.
  write_file(folder / "tree/.git/HEAD", "ref: refs/heads/x/main\n");
  std::filesystem::create_directories(folder / "tree/src/.git_of_worktree");
  write_file(folder / "tree/src/.git", "gitdir: .git_of_worktree\n");
  write_file(folder / "tree/src/.git_of_worktree/HEAD", "ref: refs/heads/x/main\n");
  write_file(folder / "tree/src/.git_of_worktree/commondir", folder / "tree/.git\n");
  CHECK(revision() == std::string(40, 'b'));
}

TEST_CASE("git says whether tracked files were changed", "[track]") {
  if (std::system("git --version > /dev/null 2>&1") != 0) {
    WARN("git is not installed: nothing was checked");
    return;
  }
  const TempFolder folder;
  const auto git = [&](const std::string& words) {
    REQUIRE(std::system(("git -C " + folder.str() + " -c user.name=a -c user.email=a@b -c init.defaultBranch=main " +
                         words + " > /dev/null 2>&1")
                            .c_str()) == 0);
  };
  CHECK(revision_of(folder.str()).commit.empty());
  git("init");
  CHECK(revision_of(folder.str()).commit.empty());  // no commit yet
  write_file(folder / "a", "1");
  git("add a");
  git("commit -m one");
  CHECK(revision_of(folder.str()).commit.size() == 40);
  CHECK(revision_of(folder.str()).dirty == false);
  write_file(folder / "untracked", "1");
  CHECK(revision_of(folder.str()).dirty == false);
  write_file(folder / "a", "22");
  CHECK(revision_of(folder.str()).dirty == true);
  git("add a");
  CHECK(revision_of(folder.str()).dirty == true);
  const std::string before = revision_of(folder.str()).commit;
  git("commit -m two");
  git("gc");
  CHECK(revision_of(folder.str()).commit != before);
  CHECK(revision_of(folder.str()).dirty == false);
}
