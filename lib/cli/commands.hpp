// What `tenon` can do, one function a command. They print to stdout and throw the library's errors.
#pragma once
#include <string>

#include "lib/cli/text.hpp"

namespace tenon::cli {

struct Request {
  std::string root;  // of the runs; empty: TENON_RUNS, or `runs`
  Form form = Form::text;
  std::string run, other, name, file, metric, alias, version;
  bool yes = false, once = false;
};

void runs_ls(const Request&);
void runs_show(const Request&);
void runs_diff(const Request&);
void runs_metrics(const Request&);
void runs_files(const Request&);
void runs_rm(const Request&);
void runs_report(const Request&);
void runs_tensorboard(const Request&);

void models_ls(const Request&);
void models_show(const Request&);
void models_get(const Request&);
void models_register(const Request&);
void models_alias(const Request&);

void watch(const Request&);

}  // namespace tenon::cli
