// tenon runs sync: a run for an MLflow server.
#include <fmt/format.h>

#include "lib/cli/commands.hpp"
#include "lib/cli/text.hpp"
#include "lib/track/places.hpp"
#include "tenon/error.hpp"
#include "tenon/track_mlflow.hpp"

namespace tenon::cli {
namespace {

using track::MlflowResult;
using track::RunView;

struct SyncFlags : Options {
  std::string run;
  track::MlflowOptions server;
};

Table table_of(const RunView& run, const MlflowResult& r) {
  return {{"run", "mlflow run", "values", "params", "tags", "files", "requests", "model version"},
          {{run.id, r.run_id, count_cell(r.metrics_sent), count_cell(r.params_sent), count_cell(r.tags_sent),
            count_cell(r.files_sent), count_cell(r.requests), r.model_version}}};
}

Json json_of(const RunView& run, const MlflowResult& r) {
  return {{"run", json_text(run.id)},
          {"mlflow_run", json_text(r.run_id)},
          {"mlflow_experiment", json_text(r.experiment_id)},
          {"values", r.metrics_sent},
          {"params", r.params_sent},
          {"tags", r.tags_sent},
          {"files", r.files_sent},
          {"requests", r.requests},
          {"model_version", r.model_version.empty() ? Json() : json_text(r.model_version)}};
}

int sync(SyncFlags& f) {
  f.server.uri = track::place(f.server.uri, "MLFLOW_TRACKING_URI", "");
  if (f.server.uri.empty()) throw UsageError("[sync] expected --mlflow-uri or MLFLOW_TRACKING_URI, found neither");
  if (f.server.registered_model.empty() != f.server.model_file.empty())
    throw UsageError(fmt::format("[sync] expected --register and --file together, found only {}",
                                 f.server.model_file.empty() ? "--register" : "--file"));
  if (!f.server.alias.empty() && f.server.registered_model.empty())
    throw UsageError("[sync] expected --register with --alias, found none");
  const RunView run = RunView::open(f.run, f.root);
  const MlflowResult sent = track::sync_mlflow(run, f.server);
  if (f.json)
    print_json(json_of(run, sent));
  else if (f.csv)
    print_csv(table_of(run, sent));
  else
    print(fmt::format("Sent {} values, {} params, {} tags, {} files of {} to MLflow run {}{}\n", sent.metrics_sent,
                      sent.params_sent, sent.tags_sent, sent.files_sent, visible(run.id), visible(sent.run_id),
                      sent.model_version.empty() ? ""
                                                 : fmt::format(", {} version {}", visible(f.server.registered_model),
                                                               visible(sent.model_version))));
  return 0;
}

}  // namespace

void add_sync(::CLI::App& runs, Action& action) {
  auto flags = std::make_shared<SyncFlags>();
  track::MlflowOptions& server = flags->server;
  ::CLI::App* command = add_command(runs, "sync",
                                    "Bring an MLflow server up to date with a run; what it has is not sent again.\n"
                                    "Of a run that goes on: what has been logged so far, no files",
                                    flags);
  command->add_option("RUN", flags->run, "Id of a run, the beginning of one, or its folder")->required()->type_name("");
  command
      ->add_option("--mlflow-uri", server.uri,
                   "http://host:5000 or https://host (default: MLFLOW_TRACKING_URI); logs in with\n"
                   "MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
      ->type_name("URI");
  command->add_option("--register", server.registered_model, "Make --file the next version of this model there")
      ->type_name("NAME");
  command->add_option("--file", server.model_file, "File of the run, by its name in outputs/ or its path")
      ->type_name("FILE");
  command->add_option("--alias", server.alias, "Name that version")->type_name("ALIAS");
  command->add_flag("--local-artifacts", server.local_artifacts,
                    "Copy files where the server says, if that is a folder and the server runs on this machine");
  command->add_option("--attempts", server.attempts, "Of a request that fails for a while (default: 5)")
      ->type_name("N")
      ->check(::CLI::Range(1, 1000));
  command->callback([&action, flags] { action = [flags] { return sync(*flags); }; });
}

}  // namespace tenon::cli
