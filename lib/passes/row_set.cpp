// select: the first row in the device's order that takes a problem, after the user's choice of providers.
#include "lib/passes/row_set.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <set>

#include "tenon/custom_op.hpp"
#include "tenon/error.hpp"
#include "tenon/log.hpp"

namespace tenon {
namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t end = 0; end != std::string::npos; begin = end + 1) {
    end = text.find(separator, begin);
    const std::string part = text.substr(begin, end == std::string::npos ? end : end - begin);
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

bool known_op(const std::string& name) {
  if (name == "*") return true;
  for (op::Kind k = 0; k < op::kinds; ++k)
    if (op::name_of(k) == name) return true;
  static const std::set<std::string> functions = [] {
    std::set<std::string> s;
    for (int f = 0; f <= static_cast<int>(op::UnaryFn::abs); ++f) s.insert(op::name_of(static_cast<op::UnaryFn>(f)));
    for (const char* n :
         {"add", "sub", "mul", "div", "sum", "mean", "max", "min", "max_pool2d", "avg_pool2d", "log_softmax"})
      s.insert(n);
    return s;
  }();
  return functions.contains(name);
}

}  // namespace

std::string row_name(const Kernel& row) {
  std::string name(row.provider);
  if (row.precision != Precision::fp32) name += fmt::format("/{}", name_of(row.precision));
  return name;
}

RowSet::RowSet(const Backend& backend, const Options& run)
    : backend_(&backend),
      threads_(run.threads > 0 ? run.threads : backend.default_threads()),
      precision_(precision_of(run.precision)) {
  const char* environment = std::getenv("TENON_PROVIDERS");
  const std::string providers = run.providers.empty() && environment != nullptr ? environment : run.providers;
  std::set<std::string> known;
  for (const Kernel& k : backend.kernels()) known.insert(std::string(k.provider));
  for (const std::string& rule : split(providers, ',')) {
    const std::size_t equal = rule.find('=');
    const std::string op = equal == std::string::npos ? "*" : rule.substr(0, equal);
    const std::string provider = equal == std::string::npos ? rule : rule.substr(equal + 1);
    if (!known_op(op)) throw UsageError(fmt::format("[provider] no op '{}' in '{}'", op, rule));
    if (!known.contains(provider) && !provider.starts_with("user."))
      throw UsageError(
          fmt::format("[provider] no '{}' on {}; there are: {}", provider, backend.name(), fmt::join(known, ", ")));
    rules_.emplace_back(op, provider);
  }
  // Nothing else stands in for it: whoever asks for fp16 wants its speed or its rounding.
  const auto of_fp16 = [](const Kernel& k) { return k.precision == Precision::fp16; };
  if (precision_ == Precision::fp16 && std::ranges::none_of(backend.kernels(), of_fp16))
    throw UsageError(
        fmt::format("[precision] fp16 runs on CUDA: no processor has products of it that add up in fp32 for {}; "
                    "expected fp32, tf32 or bf16",
                    backend.name()));
  if (run.dtype == DType::f64 && !backend.on_host())
    throw UsageError(
        fmt::format("[dtype] f64 runs on the reference, which is on the CPU; found device {}", backend.name()));
  if (run.dtype == DType::f64 && rules_.empty()) rules_.emplace_back("*", "reference");
  canonical_ = backend.canonical() && precision_ == Precision::fp32;
  for (const auto& [op, provider] : rules_)
    for (const Kernel& k : backend.kernels())
      if (k.provider == provider && !k.canonical) canonical_ = false;
}

std::string RowSet::precision_text() const {
  std::string text = name_of(precision_);
  if (precision_ == Precision::fp32) return canonical_ ? text : text + " (any order)";
  std::string_view wanted;
  for (const auto& [op, provider] : rules_)
    if (op == "*" && wanted.empty()) wanted = provider;
  std::set<Precision, std::greater<>> classes;
  for (const Kernel& k : backend_->kernels())
    if (takes_rows(precision_, k.precision) && (wanted.empty() || k.provider == wanted)) classes.insert(k.precision);
  if (classes.contains(precision_)) return text;
  std::vector<const char*> lower;
  for (const Precision p : classes) lower.push_back(name_of(p));
  return fmt::format("{} (no such kernels {}: {} rows)", text,
                     wanted.empty() ? "on this processor" : fmt::format("in {}", wanted), fmt::join(lower, " and "));
}

std::vector<const Kernel*> RowSet::candidates(op::Kind kind, std::string_view op_name, std::size_t& preferred) const {
  std::vector<const Kernel*> first, rest;
  std::string_view wanted;
  // A rule for the op beats one for all; among equals the first counts.
  for (const auto& [op, provider] : rules_)
    if ((op == op_name || op == op::name_of(kind)) && wanted.empty()) wanted = provider;
  for (const auto& [op, provider] : rules_)
    if (op == "*" && wanted.empty()) wanted = provider;
  for (const Kernel& k : backend_->kernels()) {
    if (k.op != kind || !takes_rows(precision_, k.precision)) continue;
    const bool named = k.provider == wanted;
    // fp32 binds canonical rows unless the user names a provider, or the machine has none.
    if (!named && canonical_ && !k.canonical) continue;
    (named ? first : rest).push_back(&k);
  }
  preferred = wanted.empty() ? first.size() + rest.size() : first.size();
  first.insert(first.end(), rest.begin(), rest.end());
  return first;
}

Match RowSet::bind(Problem problem, const op::AnyOp& any) const {
  problem.threads = threads_;
  Match match;
  const auto attempt = [&](const Kernel& row) {
    Bound bound = row.bind(problem, row);
    if (auto* step = std::get_if<Step>(&bound)) {
      match.row = &row;
      match.step = std::move(*step);
      return true;
    }
    match.refusals.push_back(fmt::format("{}: {}", row_name(row), std::get<Refusal>(bound).why));
    return false;
  };
  if (const auto* custom = std::get_if<op::CustomOp>(&any)) {
    // The user's rows stand before the table; they live as long as the definition does.
    for (const CustomKernel& k : custom->def->kernels) {
      // Which memory a kernel reads is in its name.
      bool excluded = k.provider.starts_with("user.cuda") == backend_->on_host();
      for (const auto& [op, provider] : rules_)
        excluded = excluded || (provider != k.provider && provider == "reference");
      if (excluded) continue;
      auto row = std::make_shared<Kernel>(Kernel{problem.kind, k.provider, false, false, {}, k.bind, nullptr});
      if (attempt(*row)) {
        match.owned_row = row;
        match.row = row.get();
        return match;
      }
    }
  }
  std::size_t preferred = 0;
  const std::vector<const Kernel*> rows = candidates(problem.kind, op::name_of(any), preferred);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!attempt(*rows[i])) continue;
    match.stands_in = i >= preferred;
    return match;
  }
  throw UsageError(
      fmt::format("[{}] no kernel on {} takes {}: {}", op::name_of(any), backend_->name(), problem.str(),
                  match.refusals.empty() ? "no row for this op" : fmt::format("{}", fmt::join(match.refusals, "; "))));
}

std::vector<Match> RowSet::choices(Problem problem, const op::AnyOp& any) const {
  problem.threads = threads_;
  std::vector<Match> found;
  std::vector<std::string> refusals;
  std::size_t preferred = 0;
  // A user's operation has rows of its own, which only the user can compare.
  const bool custom = std::holds_alternative<op::CustomOp>(any);
  const std::vector<const Kernel*> rows = candidates(problem.kind, op::name_of(any), preferred);
  for (std::size_t i = 0; i < std::min(rows.size(), preferred) && !custom; ++i) {
    const Kernel& row = *rows[i];
    if (row.naive || row.provider == "reference" || (precision_ == Precision::fp32 && !row.canonical)) continue;
    Bound bound = row.bind(problem, row);
    if (auto* step = std::get_if<Step>(&bound))
      found.push_back({&row, std::move(*step), {}, false, nullptr});
    else
      refusals.push_back(fmt::format("{}: {}", row_name(row), std::get<Refusal>(bound).why));
  }
  for (Match& m : found) m.refusals = refusals;
  if (found.empty()) found.push_back(bind(problem, any));
  return found;
}

std::string RowSet::providers() const {
  std::string text;
  for (const auto& [op, provider] : rules_) text += fmt::format("{}{}={}", text.empty() ? "" : ",", op, provider);
  return text;
}

bool RowSet::accepts(Problem problem, const op::AnyOp& any) const {
  problem.threads = threads_;
  std::size_t preferred = 0;
  const std::vector<const Kernel*> rows = candidates(problem.kind, op::name_of(any), preferred);
  for (std::size_t i = 0; i < rows.size() && i < preferred; ++i) {
    // A naive row takes everything; it may only decide where the user asked for it.
    if (rows[i]->naive && rules_.empty()) continue;
    if (std::holds_alternative<Step>(rows[i]->bind(problem, *rows[i]))) return true;
  }
  return false;
}

}  // namespace tenon
