// The program `tenon`: runs and models from the command line.
#include <fmt/format.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>

#include "lib/cli/commands.hpp"
#include "tenon/error.hpp"
#include "tenon/log.hpp"

namespace {

using namespace tenon;
using cli::Request;

constexpr const char* exit_codes = "Exit codes: 0 done, 2 wrong usage, 5 input or output failed, 1 anything else.";

struct Program {
  CLI::App app{"Runs and models that Tenon keeps track of.", "tenon"};
  Request request;
  std::function<void(const Request&)> chosen;
  bool json = false, csv = false;

  CLI::App* command(CLI::App* parent, const char* name, const char* about, void (*run)(const Request&),
                    bool forms = true) {
    CLI::App* c = parent->add_subcommand(name, about);
    c->add_option("--root", request.root, "Folder of all runs (default: TENON_RUNS, or runs)");
    if (forms) {
      c->add_flag("--json", json, "One JSON document");
      c->add_flag("--csv", csv, "Comma-separated values with a heading")->excludes("--json");
    }
    c->footer(exit_codes);
    c->callback([this, run] { chosen = run; });
    return c;
  }
  void run_of(CLI::App* c) {
    c->add_option("RUN", request.run, "A run's id, the beginning of one, or its folder")->required();
  }
  void model_of(CLI::App* c) { c->add_option("NAME", request.name, "A model's name")->required(); }

  Program() {
    app.footer(exit_codes);
    app.set_version_flag("--version", "tenon " TENON_VERSION);
    app.require_subcommand(1);
    CLI::App* runs = app.add_subcommand("runs", "Look at runs");
    runs->require_subcommand(1);
    command(runs, "ls", "All runs, oldest first", cli::runs_ls);
    run_of(command(runs, "show", "What is known of a run", cli::runs_show));
    CLI::App* diff = command(runs, "diff", "What two runs do not have in common", cli::runs_diff);
    run_of(diff);
    diff->add_option("OTHER", request.other, "The other run")->required();
    CLI::App* metrics = command(runs, "metrics", "Metrics, or every value of one", cli::runs_metrics);
    run_of(metrics);
    metrics->add_option("METRIC", request.metric, "A metric's name");
    run_of(command(runs, "files", "A run's files with size and SHA-256", cli::runs_files));
    CLI::App* rm = command(runs, "rm", "Remove a run that has ended, with its files", cli::runs_rm, false);
    run_of(rm);
    rm->add_flag("--yes", request.yes, "Do not ask");
    run_of(command(runs, "report", "Write report.html anew, and index.html", cli::runs_report, false));
    run_of(command(runs, "tensorboard", "Write an event file for TensorBoard", cli::runs_tensorboard, false));

    CLI::App* models = app.add_subcommand("models", "Look at registered models (folder: TENON_MODELS, or models)");
    models->require_subcommand(1);
    command(models, "ls", "The newest version of every model", cli::models_ls);
    model_of(command(models, "show", "All versions of a model", cli::models_show));
    CLI::App* get = command(models, "get", "Where a version's file is", cli::models_get);
    model_of(get);
    get->add_option("VERSION", request.version, "A version, or an alias (default: the newest)");
    CLI::App* add =
        command(models, "register", "Register a file, and print name, id and version", cli::models_register, false);
    model_of(add);
    add->add_option("FILE", request.file, "The model's file")->required();
    add->add_option("--run", request.run, "The run that made it");
    CLI::App* alias =
        command(models, "alias", "Give a version another name, or take that away", cli::models_alias, false);
    model_of(alias);
    alias->add_option("ALIAS", request.alias, "The other name")->required();
    alias->add_option("VERSION", request.version, "A version, or an alias; without it ALIAS is removed");

    CLI::App* watch = command(&app, "watch", "Follow a run until it ends", cli::watch, false);
    run_of(watch);
    watch->add_flag("--once", request.once, "Say how it stands, and end");
  }
};

int fail(const std::string& message, int code) {
  std::fprintf(stderr, "tenon: %s\n", message.c_str());
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Program program;
    try {
      program.app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      // Help and version are "errors" whose code is 0.
      if (error.get_exit_code() == 0) return program.app.exit(error);
      return fail(fmt::format("{}\nRun tenon --help for the commands.", error.what()),
                  static_cast<int>(ExitCode::usage));
    }
    signal(SIGPIPE, SIG_IGN);
    log_to_stderr();
    program.request.form = program.json ? cli::Form::json : program.csv ? cli::Form::csv : cli::Form::text;
    program.chosen(program.request);
    return 0;
  } catch (const Error& error) {
    return fail(error.what(), static_cast<int>(error.code()));
  } catch (const std::exception& error) {
    return fail(error.what(), 1);
  }
}
