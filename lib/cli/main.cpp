// tenon: runs and models on the command line.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "lib/cli/commands.hpp"
#include "lib/cli/text.hpp"
#include "tenon/error.hpp"
#include "tenon/log.hpp"

namespace {

using namespace tenon;

constexpr const char* exit_codes = "Exit codes: 0 done, 2 wrong usage, 5 input or output failed, 1 anything else.";

/// One line, whatever somebody's names have in them.
int fail(const std::string& message, int code) {
  (void)std::fprintf(stderr, "tenon: %s\n", cli::visible(message).c_str());
  return code;
}

std::string after(const std::string& text, std::string_view mark) {
  const std::size_t at = text.find(mark);
  return at == std::string::npos ? text : text.substr(at + mark.size());
}

/// What a command line that lacks a command has in its place.
std::string missing_command(const CLI::App& app) {
  std::string names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names += (names.empty() ? "" : ", ") + command->get_name();
  const std::vector<std::string> rest = app.remaining();
  return fmt::format("expected one of {}, found {}", names, rest.empty() ? "none" : rest.front());
}

/// The parser's complaint in the words of our own errors.
std::string complaint(const CLI::App& app, const CLI::ParseError& error) {
  std::string command = "tenon";
  const CLI::App* last = &app;
  while (!last->get_subcommands().empty()) {
    last = last->get_subcommands().front();
    command += " " + last->get_name();
  }
  const std::string text = error.what();
  std::string said = text;
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr)
    said = "expected no such word or flag, found " + after(text, ": ");
  else if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr)
    said = text.find("subcommand") != std::string::npos
               ? missing_command(*last)
               : fmt::format("expected {}, found nothing", text.substr(0, text.find(" is required")));
  else if (dynamic_cast<const CLI::ExcludesError*>(&error) != nullptr)
    said = "expected one of --json and --csv, found both";
  return fmt::format("[command line] {}; see {} --help", said, command);
}

int run(int argc, char** argv) {
  CLI::App app("Runs and models that tenon::track keeps", "tenon");
  app.set_help_flag("-h,--help", "Print this help");
  app.set_version_flag("--version", "tenon " TENON_VERSION, "Print the version");
  app.footer(exit_codes);
  app.require_subcommand(1);
  cli::Action action;
  cli::add_runs(app, action);
  cli::add_models(app, action);
  cli::add_watch(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    cli::print(app.help());
    return 0;
  } catch (const CLI::CallForVersion& version) {
    cli::print(fmt::format("{}\n", version.what()));
    return 0;
  } catch (const CLI::ParseError& error) {
    return fail(complaint(app, error), static_cast<int>(ExitCode::usage));
  }
  return action();
}

}  // namespace

int main(int argc, char** argv) {
  log_to_stderr();
  try {
    return run(argc, argv);
  } catch (const Error& error) {
    return fail(error.what(), static_cast<int>(error.code()));
  } catch (const std::bad_alloc&) {
    return fail("[memory] expected more memory, found none", 1);
  } catch (const std::exception& error) {
    return fail(error.what(), 1);
  }
}
