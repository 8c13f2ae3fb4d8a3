// The commands of `tenon`. Each add_ function describes its flags; what was asked for is done after the whole command
// line has been read, through `Action`.
#pragma once
#include <CLI/App.hpp>
#include <functional>
#include <memory>
#include <string>

#include "lib/cli/output.hpp"

namespace tenon::cli {

using Action = std::function<int()>;  // returns the exit code

void add_runs(::CLI::App& app, Action& action);
void add_sync(::CLI::App& runs, Action& action);  // one of its commands
void add_models(::CLI::App& app, Action& action);
void add_watch(::CLI::App& app, Action& action);

enum class Formats { none, all };

/// A command with the flags that all have. `options` lives as long as the command's action holds it.
template <class Flags>
::CLI::App* add_command(::CLI::App& parent, const char* name, const char* about, const std::shared_ptr<Flags>& options,
                        Formats formats = Formats::all) {
  ::CLI::App* command = parent.add_subcommand(name, about);
  command->add_option("--root", options->root, "Folder of all runs (default: TENON_RUNS, or runs)")->type_name("DIR");
  if (formats == Formats::none) return command;
  auto* json = command->add_flag("--json", options->json, "Print one JSON document");
  command->add_flag("--csv", options->csv, "Print CSV with a header")->excludes(json);
  return command;
}

}  // namespace tenon::cli
