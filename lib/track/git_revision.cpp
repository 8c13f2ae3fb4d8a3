// Finds .git above a folder, follows HEAD to a commit, and asks git(1) whether files differ from it.
#include "lib/track/git_revision.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "lib/track/files.hpp"
#include "tenon/error.hpp"

extern char** environ;

namespace tenon::track {
namespace {

std::string first_line_of(const std::string& path) {
  if (!is_file(path)) return {};
  const std::string text = read_text(path, 1 << 20);
  return text.substr(0, text.find_first_of("\r\n"));
}

bool is_commit(const std::string& text) {
  return (text.size() == 40 || text.size() == 64) &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string joined(const std::string& base, const std::string& path) {
  return path.starts_with("/") ? path : base + "/" + path;
}

/// The folder with HEAD: .git itself, or where a worktree's .git file points to.
std::string git_folder_of(std::string folder) {
  for (;; folder = parent_of(folder)) {
    const std::string git = folder == "/" ? "/.git" : folder + "/.git";
    if (is_folder(git)) return git;
    constexpr std::string_view word = "gitdir: ";
    const std::string line = first_line_of(git);
    if (line.starts_with(word)) return joined(folder, line.substr(word.size()));
    if (folder == "/" || folder == ".") return {};
  }
}

std::string commit_of(const std::string& git) {
  const std::string head = first_line_of(git + "/HEAD");
  constexpr std::string_view word = "ref: ";
  if (!head.starts_with(word)) return is_commit(head) ? head : "";
  const std::string ref = head.substr(word.size());
  if (!ref.starts_with("refs/") || ref.find("..") != std::string::npos) return {};
  // A worktree keeps its branches in the folder that commondir names.
  const std::string to_common = first_line_of(git + "/commondir");
  const std::string common = to_common.empty() ? git : joined(git, to_common);
  for (const std::string& base : {git, common})
    if (const std::string line = first_line_of(base + "/" + ref); is_commit(line)) return line;
  if (!is_file(common + "/packed-refs")) return {};
  const std::string packed = "\n" + read_text(common + "/packed-refs");
  const std::size_t at = packed.find(" " + ref + "\n");
  if (at == std::string::npos) return {};
  const std::size_t line = packed.rfind('\n', at) + 1;
  const std::string commit = packed.substr(line, at - line);
  return is_commit(commit) ? commit : "";
}

/// Whether `git status` has anything to say. It is ended after 2 seconds: a run must not wait for a large tree.
std::optional<bool> is_dirty(const std::string& folder) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, write_end.get(), 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  // fsmonitor is a program that a repository's own settings may name.
  const char* words[] = {
      "git",         "--no-optional-locks",  "-C",   folder.c_str(), "-c", "core.fsmonitor=false", "status",
      "--porcelain", "--untracked-files=no", nullptr};
  pid_t child = -1;
  const int error = ::posix_spawnp(&child, "git", &actions, nullptr, const_cast<char**>(words), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return std::nullopt;
  write_end = UniqueFd();

  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + std::chrono::seconds(2);
  bool said = false, over = false;
  for (auto left = end - Clock::now(); !over && left.count() > 0; left = end - Clock::now()) {
    pollfd wait{read_end.get(), POLLIN, 0};
    if (::poll(&wait, 1, 1 + static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(left).count())) <=
        0)
      continue;
    char text[4096];
    const ssize_t n = ::read(read_end.get(), text, sizeof text);
    said = said || n > 0;
    over = n <= 0;
  }
  if (!over) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return std::nullopt;
  if (!over || !WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  return said;
}

}  // namespace

Revision revision_of(const std::string& folder) {
  Revision revision;
  try {
    const std::string git = git_folder_of(folder);
    if (git.empty()) return revision;
    revision.commit = commit_of(git);
    if (!revision.commit.empty()) revision.dirty = is_dirty(folder);
  } catch (const Error&) {
    // A repository that cannot be read is no reason not to run.
  }
  return revision;
}

}  // namespace tenon::track
